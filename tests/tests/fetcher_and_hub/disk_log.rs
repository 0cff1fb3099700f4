//! What the faulty disk tells: which writes no sync has made durable, and which blocks of a file were written at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A write of some bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Where the file is now.
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

/// The writes of a log that were not durable when it ended.
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
            // What was written while it was under way may have been too late for it.
            ["sync", path] => {
                let path = Path::new(path);
                pending.retain(|(written, write)| write.path != path || *written > begun[path]);
            }
            // Renamed, it is no more durable than it was; what had the name before is gone.
            ["rename", from, to] => {
                pending.retain(|(_, write)| write.path != Path::new(to));
                for (_, write) in &mut pending {
                    if let Ok(below) = write.path.strip_prefix(from) {
                        // `join` of nothing would append a slash.
                        write.path = Path::new(to).join(below).components().collect();
                    }
                }
            }
            _ => panic!("{text}"),
        }
    }
    pending.into_iter().map(|(_, write)| write).collect()
}

/// The whole blocks of this length that a log tells were written to files below a folder.
pub(crate) fn written(log: &str, below: &Path, block_bytes: u64) -> BTreeSet<u64> {
    blocks_of("write", log, below, block_bytes)
}

/// The same of those that were begun to be written, when writes are delayed.
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
fn a_log_tells_what_a_power_cut_may_take() {
    let log = "write 0 10 /a\nbegin /a\nwrite 10 5 /a\nsync /a\nwrite 0 7 /b\nbegin /b\nwrite 15 5 /a\n";
    let told: Vec<_> = unsynced(log)
        .into_iter()
        .map(|write| (write.path.display().to_string(), write.offset, write.length))
        .collect();
    assert_eq!(
        told,
        [
            ("/a".to_owned(), 10, 5),
            ("/b".to_owned(), 0, 7),
            ("/a".to_owned(), 15, 5)
        ]
    );
}

#[test]
fn what_was_not_synced_is_found_under_the_name_that_its_file_or_folder_has_now() {
    let log = "write 0 9 /s/b\nwrite 0 1 /a\nrename /a /s/a\nwrite 0 2 /s/c\nbegin /s/c\nsync /s/c\nrename /s /r\nwrite 0 3 /n\nrename /n /r/b\n";
    let told: Vec<_> = unsynced(log)
        .into_iter()
        .map(|write| (write.path.display().to_string(), write.length))
        .collect();
    assert_eq!(told, [("/r/a".to_owned(), 1), ("/r/b".to_owned(), 3)]);
}

#[test]
fn a_block_is_written_when_all_of_it_is() {
    let log =
        "write 0 4 /p/a\nwrite 4 3 /p/a\nwrite 7 1 /p/a\nwrite 8 3 /p/a\nwrite 0 8 /p/a.journal\nwrite 16 4 /q/a\n";
    assert_eq!(written(log, Path::new("/p"), 4), BTreeSet::from([0, 1]));
}
