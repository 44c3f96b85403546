//! Files written so that a crash leaves the old one or the new one, never half of either, and keys readable by their owner
//! alone from the first byte on.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{AuthorityError, Fault, IssuedChain, Refusal};

/// The most bytes of a file a caller names: a PIN, a request, the settings, one certificate.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Where an issued identity was written, in the form services read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedFiles {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key, mode 0600; absent when the key is elsewhere (a request was given).
    pub key: Option<PathBuf>,
    /// The roots to trust.
    pub bundle: PathBuf,
}

impl IssuedFiles {
    /// Writes `cert.pem`, `key.pem` and `bundle.pem` into `out`, each in one step; the key first, so that a reader who
    /// comes in between sees a pair that does not match and keeps what it had.
    ///
    /// # Errors
    /// [`Fault::Disk`].
    pub fn write(
        out: &Path,
        chain: &IssuedChain,
        key_pem: Option<&str>,
        bundle_pem: &str,
    ) -> Result<Self, AuthorityError> {
        let written = Self::replace(out, chain, key_pem)?;
        write(&written.bundle, bundle_pem.as_bytes(), 0o644)?;
        Ok(written)
    }

    /// Writes `cert.pem` and `key.pem` as [`Self::write`] does, and leaves `bundle.pem` to whoever follows the authority's
    /// bundle with it.
    ///
    /// # Errors
    /// [`Fault::Disk`].
    pub fn replace(out: &Path, chain: &IssuedChain, key_pem: Option<&str>) -> Result<Self, AuthorityError> {
        make_dir(out)?;
        let key = key_pem.map(|pem| write(&out.join("key.pem"), pem.as_bytes(), 0o600)).transpose()?;
        let certificate = write(&out.join("cert.pem"), chain.chain_pem.as_bytes(), 0o644)?;
        Ok(Self { certificate, key, bundle: out.join("bundle.pem") })
    }
}

/// Makes a folder that only its owner may enter, if it is not there yet.
pub(crate) fn make_dir(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| disk("cannot make", path, source))
}

/// Replaces a file in one step, durably.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, Fault> {
    let new = path.with_extension("new");
    let written = write_new(&new, bytes, mode).and_then(|()| fs::rename(&new, path)).and_then(|()| sync_parent(path));
    match written {
        Ok(()) => Ok(path.to_owned()),
        Err(source) => Err(disk("cannot write", path, source)),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if path.exists() {
        fs::remove_file(path)?; // left by a crash; its mode may be another
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the entry of a file in its folder durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(named(parent))?.sync_all())
}

/// The folder, which is called nothing when a file is named without one.
fn named(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Reads a bounded text file the caller named.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, Refusal> {
    let read = || {
        let mut text = Zeroizing::new(String::new());
        let file = File::open(path)?;
        if file.metadata()?.len() > MAX_FILE_BYTES {
            return Err(io::Error::other("the file is far too large"));
        }
        file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| Refusal::Unreadable { path: path.to_owned(), source })
}

pub(crate) fn disk(what: &'static str, path: &Path, source: io::Error) -> Fault {
    Fault::Disk { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{IssuedFiles, MAX_FILE_BYTES, make_dir, read, sync_parent, write};
    use crate::{AuthorityError, Fault, IssuedChain, Refusal};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn chain(text: &str) -> IssuedChain {
        let (serial, sha256) = ("01".to_owned(), "ab".to_owned());
        IssuedChain { chain_pem: text.into(), serial, not_before_unix_s: 0, not_after_unix_s: 1, sha256 }
    }

    #[test]
    fn a_key_is_its_owners_alone_even_where_a_crash_left_something() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("key.new");
        fs::write(&left, "left by a crash, readable by all").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
        let written = IssuedFiles::write(dir.path(), &chain("chain"), Some("key"), "bundle").unwrap();
        let key = written.key.unwrap();
        assert_eq!((mode(&key), fs::read_to_string(&key).unwrap()), (0o600, "key".to_owned()));
        assert_eq!(fs::read_to_string(written.certificate).unwrap(), "chain");
        assert_eq!(fs::read_to_string(written.bundle).unwrap(), "bundle");
        assert!(!left.exists());
    }

    #[test]
    fn issuing_again_replaces_and_a_request_leaves_the_old_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        IssuedFiles::write(dir.path(), &chain("one"), Some("key one"), "bundle").unwrap();
        let again = IssuedFiles::write(dir.path(), &chain("two"), None, "bundle").unwrap();
        assert_eq!(again.key, None);
        let followed = IssuedFiles::replace(dir.path(), &chain("two"), None).unwrap().bundle;
        assert_eq!(fs::read_to_string(followed).unwrap(), "bundle", "it is another's to replace");
        assert_eq!(fs::read_to_string(dir.path().join("cert.pem")).unwrap(), "two");
        assert_eq!(fs::read_to_string(dir.path().join("key.pem")).unwrap(), "key one");
    }

    #[test]
    fn a_new_folder_is_its_owners_alone_and_an_old_one_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        make_dir(&new).unwrap();
        assert_eq!(mode(&new), 0o700);
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        make_dir(&new).unwrap();
        assert_eq!(mode(&new), 0o755);
    }

    #[test]
    fn a_file_that_is_named_without_a_folder_is_in_the_one_where_one_stands() {
        sync_parent(Path::new("file")).unwrap();
        sync_parent(Path::new("/file")).unwrap();
        assert!(sync_parent(Path::new("no/such/folder/file")).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&file.join("below"), b"x", 0o600).unwrap_err();
        assert!(matches!(&error, Fault::Disk { .. }) && error.to_string().contains("file/below"), "{error}");
        let error = IssuedFiles::write(&file, &chain("x"), None, "x").unwrap_err();
        assert!(matches!(error, AuthorityError::Fault(Fault::Disk { .. })));
    }

    #[test]
    fn a_file_to_read_is_there_is_text_and_is_not_huge() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        assert!(matches!(read(&path), Err(Refusal::Unreadable { .. })));
        fs::write(&path, "text").unwrap();
        assert_eq!(read(&path).unwrap().as_str(), "text");
        fs::write(&path, [0xFF, 0xFE]).unwrap();
        assert!(matches!(read(&path), Err(Refusal::Unreadable { .. })));
        fs::write(&path, vec![b'x'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]).unwrap();
        assert!(matches!(read(&path), Err(Refusal::Unreadable { .. })));
    }
}
