//! The memory of a process, read from outside as a debugger or an intruder with root would.
//!
//! What is read: everything readable that the process can write to or that no file stands behind. What is not: parts of
//! files mapped for reading only, which are the program and its libraries and cannot hold what came later.

use std::fs::File;
use std::os::unix::fs::FileExt;

use single_node::Fault;

use crate::hunt::{Finds, Hunt};
use crate::places::Process;

/// Bytes read at a time.
const CHUNK: usize = 8 << 20;

/// One mapping, as a line of `/proc/PID/maps` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    name: String,
    searched: bool,
}

/// Searches the memory of `process`; a place is called `memory of NAME, MAPPING`, a position is an address. Returns how
/// many bytes were read.
///
/// # Errors
/// [`Fault`] when the memory cannot be read: a search that does not look proves nothing.
pub fn search(hunt: &Hunt, process: &Process, finds: &mut Finds) -> Result<u64, Fault> {
    let refused = |why: std::io::Error| {
        Fault::new(format!(
            "the memory of {} (process {}) cannot be read: {why}. Run this test as root or with CAP_SYS_PTRACE",
            process.name, process.pid
        ))
    };
    let memory = File::open(format!("/proc/{}/mem", process.pid)).map_err(refused)?;
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    let mut unread = Vec::new();
    for mapping in mappings(process).map_err(refused)?.into_iter().filter(|mapping| mapping.searched) {
        match search_mapping(hunt, process, &memory, &mapping, &mut buffer, finds) {
            Ok(read) => bytes += read,
            Err(why) => unread.push((mapping, why)),
        }
    }
    let still_there = mappings(process).map_err(refused)?;
    match unread.into_iter().find(|(mapping, _)| still_there.contains(mapping)) {
        Some((_, why)) => Err(refused(why)),
        None => Ok(bytes),
    }
}

fn search_mapping(
    hunt: &Hunt,
    process: &Process,
    memory: &File,
    mapping: &Mapping,
    buffer: &mut [u8],
    finds: &mut Finds,
) -> std::io::Result<u64> {
    let place = format!("memory of {}, {}", process.name, mapping.name);
    let overlap = u64::try_from(hunt.reach()).unwrap_or(0);
    let mut at = mapping.start;
    while at < mapping.end {
        let wanted = usize::try_from(mapping.end - at).unwrap_or(usize::MAX).min(buffer.len());
        let chunk = buffer.get_mut(..wanted).unwrap_or_default();
        memory.read_exact_at(chunk, at)?;
        hunt.search(&place, at, chunk, finds);
        let next = at + u64::try_from(wanted).unwrap_or(0);
        at = if next < mapping.end { next - overlap } else { next };
    }
    Ok(mapping.end - mapping.start)
}

fn mappings(process: &Process) -> std::io::Result<Vec<Mapping>> {
    let text = std::fs::read_to_string(format!("/proc/{}/maps", process.pid))?;
    Ok(text.lines().filter_map(mapping).collect())
}

/// Reads `start-end rights offset device inode name`.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (rights, inode) = (words.next()?, words.nth(2)?);
    let name = words.next().unwrap_or("anonymous");
    let kernels = ["[vvar", "[vdso", "[vsyscall"].iter().any(|own| name.starts_with(own));
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        name: name.to_owned(),
        searched: rights.starts_with('r') && (rights.contains('w') || inode == "0") && !kernels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_can_write_to_and_what_no_file_stands_behind_is_searched() {
        for (line, searched) in [
            ("55d0a8e00000-55d0a8e21000 rw-p 00000000 00:00 0                          [heap]", true),
            ("7f0a14000000-7f0a14021000 rw-p 00000000 00:00 0", true),
            ("7f0a14021000-7f0a18000000 ---p 00000000 00:00 0", false),
            ("7f0a18000000-7f0a18001000 r--p 00000000 00:00 0", true),
            ("7f0a19000000-7f0a19001000 rw-s 00000000 00:1b 4711     /state/purchase-session.sqlite-shm", true),
            ("55d0a7000000-55d0a7400000 r-xp 00000000 08:01 4711     /usr/bin/cat", false),
            ("55d0a7400000-55d0a7401000 rw-p 00400000 08:01 4711     /usr/bin/cat", true),
            ("7ffd6a9f6000-7ffd6a9fa000 r--p 00000000 00:00 0        [vvar]", false),
            ("7ffd6a9d5000-7ffd6a9f6000 rw-p 00000000 00:00 0        [stack]", true),
        ] {
            assert_eq!(mapping(line).expect("a mapping").searched, searched, "{line}");
        }
        assert_eq!(mapping("no mapping"), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_no_clean_one() {
        let hunt = Hunt::new(&[crate::canary::Canary::new("x", "36227206271667")], &[]).expect("a hunt");
        let process = Process { name: "nobody".to_owned(), pid: u32::MAX };
        let why = search(&hunt, &process, &mut Finds::default()).expect_err("nobody").to_string();
        assert!(why.contains("memory of nobody") && why.contains("as root"), "{why}");
    }
}
