//! Reads the log of the faulty disk: which writes no sync has made durable, and which blocks of a file were written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A write of some bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// The current path of the file.
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Write {
    fn parse(offset: &str, length: &str, path: &str) -> Self {
        Self {
            path: path.into(),
            offset: offset.parse().unwrap(),
            length: length.parse().unwrap(),
        }
    }
}

/// The writes that are not durable at the end of a log.
pub(crate) fn unsynced(log: &str) -> Vec<Write> {
    let mut pending: Vec<(usize, Write)> = Vec::new();
    let mut begun: HashMap<PathBuf, usize> = HashMap::new();
    for (line, text) in log.lines().enumerate() {
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["write", offset, length, path] => pending.push((line, Write::parse(offset, length, path))),
            ["start", ..] => {}
            ["begin", path] => {
                begun.insert(path.into(), line);
            }
            // A sync does not cover writes that were made while it ran.
            ["sync", path] => {
                let path = Path::new(path);
                pending.retain(|(written, write)| write.path != path || *written > begun[path]);
            }
            // A rename does not make writes durable, and it replaces the file that had the name before.
            ["rename", from, to] => {
                pending.retain(|(_, write)| write.path != Path::new(to));
                for (_, write) in &mut pending {
                    if let Ok(below) = write.path.strip_prefix(from) {
                        // `join` with an empty path would append a slash.
                        write.path = Path::new(to).join(below).components().collect();
                    }
                }
            }
            _ => panic!("{text}"),
        }
    }
    pending.into_iter().map(|(_, write)| write).collect()
}

/// The blocks of this length that were completely written to files below a folder.
pub(crate) fn written(log: &str, below: &Path, block_bytes: u64) -> BTreeSet<u64> {
    blocks_of("write", log, below, block_bytes)
}

/// The blocks whose write has started. Only delayed writes log their start.
pub(crate) fn begun(log: &str, below: &Path, block_bytes: u64) -> BTreeSet<u64> {
    blocks_of("start", log, below, block_bytes)
}

fn blocks_of(event: &str, log: &str, below: &Path, block_bytes: u64) -> BTreeSet<u64> {
    let mut bytes = BTreeMap::<u64, u64>::new();
    for text in log.lines() {
        if let [what, offset, length, path] = text.split(' ').collect::<Vec<_>>()[..]
            && what == event
        {
            let write = Write::parse(offset, length, path);
            if write.path.starts_with(below) && write.path.extension().is_none() {
                *bytes.entry(write.offset / block_bytes).or_default() += write.length;
            }
        }
    }
    let whole = bytes.into_iter().filter(|(_, bytes)| *bytes >= block_bytes);
    whole.map(|(block, _)| block).collect()
}

#[test]
fn writes_without_a_later_sync_are_unsynced() {
    let log = "write 0 10 /a\nbegin /a\nwrite 10 5 /a\nsync /a\nwrite 0 7 /b\nbegin /b\nwrite 15 5 /a\n";
    let writes: Vec<_> = unsynced(log)
        .into_iter()
        .map(|write| (write.path.display().to_string(), write.offset, write.length))
        .collect();
    assert_eq!(
        writes,
        [
            ("/a".to_owned(), 10, 5),
            ("/b".to_owned(), 0, 7),
            ("/a".to_owned(), 15, 5)
        ]
    );
}

#[test]
fn unsynced_writes_follow_renames_of_their_file_or_folder() {
    let log = "write 0 9 /s/b\nwrite 0 1 /a\nrename /a /s/a\nwrite 0 2 /s/c\nbegin /s/c\nsync /s/c\nrename /s /r\nwrite 0 3 /n\nrename /n /r/b\n";
    let writes: Vec<_> = unsynced(log)
        .into_iter()
        .map(|write| (write.path.display().to_string(), write.length))
        .collect();
    assert_eq!(writes, [("/r/a".to_owned(), 1), ("/r/b".to_owned(), 3)]);
}

#[test]
fn a_block_is_written_when_all_of_its_bytes_are() {
    let log =
        "write 0 4 /p/a\nwrite 4 3 /p/a\nwrite 7 1 /p/a\nwrite 8 3 /p/a\nwrite 0 8 /p/a.journal\nwrite 16 4 /q/a\n";
    assert_eq!(written(log, Path::new("/p"), 4), BTreeSet::from([0, 1]));
}
