//! The committed inputs, one file each, in a folder per parser.

use std::fs;
use std::path::Path;

/// One file.
pub(crate) fn file(corpus: &Path, target: &str, name: &str) -> Result<Vec<u8>, String> {
    let path = corpus.join(target).join(name);
    fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// All inputs of a parser, in the order of their names.
pub(crate) fn of(corpus: &Path, target: &str) -> Result<Vec<Vec<u8>>, String> {
    let folder = corpus.join(target);
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let entries = fs::read_dir(&folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    let inputs = paths.iter().map(fs::read).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if inputs.is_empty() { Err(format!("{} is empty", folder.display())) } else { Ok(inputs) }
}
