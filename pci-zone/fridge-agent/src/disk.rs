//! The port to the fridge's disk: a folder of small append-only files. Behind a trait so that a full or failing disk
//! can be put under the agent in a test, and because that is all of a file system the agent may use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// The most bytes that are read of one file; the agent writes far less.
pub const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A folder of append-only files. Calls block; names are the agent's own and hold no path separators.
pub trait Disk: Send + Sync + 'static {
    /// The names of all files, in no order.
    ///
    /// # Errors
    /// As the system says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// The content of a file.
    ///
    /// # Errors
    /// As the system says; [`ErrorKind::FileTooLarge`] beyond [`MAX_FILE_BYTES`].
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Makes the file end with `bytes`, begun at offset `at`: creates it if need be, drops whatever lay behind `at`.
    /// When it returns, the bytes survive a power cut.
    ///
    /// # Errors
    /// As the system says, for one [`ErrorKind::StorageFull`]. What lies behind `at` is then undefined.
    fn append(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file; no error if there is none.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Puts a file aside under another name.
    ///
    /// # Errors
    /// As the system says.
    fn put_aside(&self, name: &str, as_name: &str) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, creating it if need be.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// Makes names that were added or removed survive a power cut.
    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path.join(name))?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > MAX_FILE_BYTES { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn append(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(self.path.join(name))?;
        if file.metadata()?.len() != at {
            file.set_len(at)?;
        }
        file.write_all_at(bytes, at)?;
        file.sync_data()?;
        if at == 0 { self.sync_names() } else { Ok(()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        // Not synced: a name that comes back after a power cut only makes the agent say once more what is known.
        match fs::remove_file(self.path.join(name)) {
            Err(why) if why.kind() != ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        }
    }

    fn put_aside(&self, name: &str, as_name: &str) -> io::Result<()> {
        fs::rename(self.path.join(name), self.path.join(as_name))?;
        self.sync_names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_drops_what_lay_behind_the_offset() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Folder::open(folder.path()).expect("opens");
        disk.append("a", 0, b"one").expect("writes");
        disk.append("a", 3, b"torn tail").expect("writes");
        disk.append("a", 3, b"two").expect("writes");
        assert_eq!(disk.read("a").expect("reads"), b"onetwo");
        assert_eq!(disk.names().expect("lists"), ["a"]);
    }

    #[test]
    fn removing_twice_is_no_error_and_putting_aside_keeps_the_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Folder::open(folder.path()).expect("opens");
        disk.append("a", 0, b"one").expect("writes");
        disk.put_aside("a", "a.corrupt").expect("renames");
        disk.remove("a").expect("nothing there");
        assert_eq!(disk.read("a.corrupt").expect("reads"), b"one");
        disk.remove("a.corrupt").expect("removes");
        disk.remove("a.corrupt").expect("removes");
        assert_eq!(disk.names().expect("lists"), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Folder::open(folder.path()).expect("opens");
        let file = File::create(folder.path().join("big")).expect("creates");
        file.set_len(MAX_FILE_BYTES + 1).expect("sparse");
        assert_eq!(disk.read("big").map_err(|why| why.kind()), Err(ErrorKind::FileTooLarge));
    }
}
