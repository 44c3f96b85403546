//! Files as they lie on the disk, and files that a process holds open wherever they lie.
//!
//! A file is read as bytes, whatever it claims to be; so freed pages of a database and the frames of its write-ahead
//! log are searched, too. One that vanishes meanwhile (a journal that is done with) is not there to leak.

use std::io::ErrorKind;
use std::path::Path;

use single_node::Fault;
use walkdir::WalkDir;

use crate::hunt::{Finds, Hunt};
use crate::places::Process;

/// Searches every file below `root` that `outside` does not name; a place is called by its path below `root`. Returns
/// how many files were read.
///
/// # Errors
/// [`Fault`] when one is there and cannot be read.
pub fn search(hunt: &Hunt, root: &Path, outside: &dyn Fn(&Path) -> bool, finds: &mut Finds) -> Result<usize, Fault> {
    let mut files = 0;
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(why) if why.io_error().is_some_and(|why| why.kind() == ErrorKind::NotFound) => continue,
            Err(why) => return Err(Fault::of("a folder")(why)),
        };
        let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
        if !entry.file_type().is_file() || outside(below) {
            continue;
        }
        match std::fs::read(entry.path()) {
            Ok(bytes) => hunt.search(&below.display().to_string(), 0, &bytes, finds),
            Err(why) if why.kind() == ErrorKind::NotFound => continue,
            Err(why) => return Err(Fault::io("read", entry.path())(why)),
        }
        files += 1;
    }
    Ok(files)
}

/// Searches the plain files that a process holds open and that do not lie below `root`: temporary ones, deleted ones,
/// anonymous ones. Returns how many were read.
///
/// # Errors
/// [`Fault`] when they cannot be read.
pub fn search_open(hunt: &Hunt, process: &Process, root: &Path, finds: &mut Finds) -> Result<usize, Fault> {
    let folder = Path::new("/proc").join(process.pid.to_string()).join("fd");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).map_err(Fault::io("read the folder", &folder))? {
        let link = entry.map_err(Fault::io("read the folder", &folder))?.path();
        let (Ok(target), Ok(metadata)) = (std::fs::read_link(&link), std::fs::metadata(&link)) else { continue };
        let deleted = target.to_string_lossy().ends_with(" (deleted)");
        if !metadata.is_file() || (target.starts_with(root) && !deleted) {
            continue;
        }
        let bytes = std::fs::read(&link).map_err(Fault::io("read", &link))?;
        hunt.search(&format!("{}, open in {}", target.display(), process.name), 0, &bytes, finds);
        files += 1;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::canary::Canary;
    use crate::forms::Form;

    const NUMBER: &str = "36227206271667";

    fn hunt() -> Hunt {
        Hunt::new(&[Canary::new("the card", NUMBER)], &[]).expect("a hunt")
    }

    #[test]
    fn every_file_is_read_but_those_outside() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [("a/b/c", NUMBER), ("a/clean", "nothing"), ("out", NUMBER)] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let mut finds = Finds::default();
        let files = search(&hunt(), folder.path(), &|path| path.starts_with("out"), &mut finds).expect("searched");
        assert_eq!((files, finds.times("a/b/c", "the card", Form::Ascii)), (2, 1));
        assert_eq!(finds.times("out", "the card", Form::Ascii), 0);
    }

    #[test]
    fn a_deleted_file_that_is_still_open_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = tempfile::tempfile_in(folder.path()).expect("a file without a name");
        file.write_all(NUMBER.as_bytes()).expect("written");
        let process = Process { name: "this test".to_owned(), pid: std::process::id() };
        let mut finds = Finds::default();
        search_open(&hunt(), &process, folder.path(), &mut finds).expect("searched");
        assert_eq!(finds.times("", "the card", Form::Ascii), 1, "{finds}");
    }
}
