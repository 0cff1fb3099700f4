//! Random damage to the disk between two runs.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

/// Damage to one partial file or its journal, chosen by number.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    file: usize,
    is_journal: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Flips a bit.
    Flip { at: f64, bit: u8 },
    /// Zeroes a range, as a power cut does.
    Zeros { from: f64, to: f64 },
    /// Truncates the file.
    Cut { at: f64 },
    /// Removes the file.
    Remove,
    /// Reorders the records of a journal, or the blocks of a partial file.
    Reorder { by: usize },
    /// Duplicates the content.
    Twice,
}

pub(super) fn any_damage() -> impl Strategy<Value = Damage> {
    let kind = prop_oneof![
        (0.0..1.0, 0_u8..8).prop_map(|(at, bit)| Kind::Flip { at, bit }),
        (0.0..1.0, 0.0..1.0).prop_map(|(from, to)| Kind::Zeros { from, to }),
        (0.0..1.0).prop_map(|at| Kind::Cut { at }),
        Just(Kind::Remove),
        (1_usize..100).prop_map(|by| Kind::Reorder { by }),
        Just(Kind::Twice),
    ];
    (0_usize..4, any::<bool>(), kind).prop_map(|(file, is_journal, kind)| Damage { file, is_journal, kind })
}

impl Damage {
    pub(super) fn apply(&self, root: &Path) {
        let Some(path) = self.target(root) else { return };
        if matches!(self.kind, Kind::Remove) {
            return fs::remove_file(path).unwrap();
        }
        let mut bytes = fs::read(&path).unwrap();
        if bytes.is_empty() {
            return;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let place = |at: f64| (bytes.len() as f64 * at) as usize;
        match self.kind {
            Kind::Flip { at, bit } => {
                let place = place(at);
                bytes[place] ^= 1 << bit;
            }
            Kind::Zeros { from, to } => {
                let (from, to) = (place(from.min(to)), place(from.max(to)));
                bytes[from..to].fill(0);
            }
            Kind::Cut { at } => bytes.truncate(place(at)),
            Kind::Reorder { by } => bytes = reordered(&bytes, self.is_journal, by),
            Kind::Twice => bytes.extend_from_within(..),
            Kind::Remove => {}
        }
        fs::write(path, bytes).unwrap();
    }

    fn target(&self, root: &Path) -> Option<PathBuf> {
        let mut paths: Vec<PathBuf> = fs::read_dir(root.join(".modelcache/partial"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some() == self.is_journal)
            .collect();
        paths.sort();
        (!paths.is_empty()).then(|| paths.swap_remove(self.file % paths.len()))
    }
}

/// Rotates all pieces but the first.
fn reordered(bytes: &[u8], is_journal: bool, by: usize) -> Vec<u8> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = match rest {
            // Kind, length, payload, checksum.
            [_, low, high, ..] if is_journal => 7 + usize::from(u16::from_le_bytes([*low, *high])),
            _ => 4096,
        };
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    let count = pieces.len() - 1;
    if count > 0 {
        pieces[1..].rotate_left(by % count);
    }
    pieces.concat()
}
