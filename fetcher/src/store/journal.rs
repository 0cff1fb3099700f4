//! The journal of a partial file: which blocks are durable, so that a killed fetch can resume.
//!
//! Append-only. A record is written after the bytes it describes are synced, and has a checksum, so that a torn or
//! damaged tail is detected and ignored. The first record names the content and the block size; a journal with others is
//! ignored. The other records: a durable block with its checksum; how far the file is hashed, with the state of the
//! hasher; the boot of the machine that writes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::disk::boot::Boot;
use crate::model::digest::ContentDigest;

/// The content and block size of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Digest of the content.
    pub(crate) digest: ContentDigest,
    /// Size of the content in bytes.
    pub(crate) size: u64,
    /// Size of a block in bytes.
    pub(crate) block_bytes: u64,
}

impl Key {
    fn to_payload(self) -> Vec<u8> {
        format!(
            "modelcache journal 1 {} {} {}",
            self.digest, self.size, self.block_bytes
        )
        .into_bytes()
    }

    /// Number of blocks of the content.
    pub(crate) fn blocks(self) -> u64 {
        self.size.div_ceil(self.block_bytes)
    }
}

/// How far a file is hashed, with the state of the hasher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Number of hashed blocks, from the first on.
    pub(crate) blocks: u64,
    /// State of the hasher.
    pub(crate) state: Vec<u8>,
}

/// The content of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Durable blocks and the CRC-32C of each.
    pub(crate) blocks: BTreeMap<u64, u32>,
    /// The last checkpoint whose blocks are all durable.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The boot of the machine that wrote all blocks, or found them as they were written.
    pub(crate) boot: Boot,
}

impl Recovered {
    /// The content of an empty journal.
    pub(crate) const NOTHING: Self = Self {
        blocks: BTreeMap::new(),
        checkpoint: None,
        boot: Boot::UNKNOWN,
    };
}

// Kinds of records.
const KEY: u8 = 0;
const BLOCK: u8 = 1;
const CHECKPOINT: u8 = 2;
const BOOT: u8 = 3;

/// Bytes before the payload of a record: its kind and its length.
const HEADER_BYTES: usize = 3;

/// Bytes after the payload of a record: its checksum.
const CHECKSUM_BYTES: usize = 4;

fn push_record(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let start = out.len();
    out.push(kind);
    // A payload is a key, twelve bytes, the state of a hasher or a boot: far below 64 KiB.
    out.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(payload);
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

fn block_payload(block: u64, checksum: u32) -> [u8; 12] {
    let mut payload = [0; 12];
    payload[..8].copy_from_slice(&block.to_le_bytes());
    payload[8..].copy_from_slice(&checksum.to_le_bytes());
    payload
}

/// The first record in these bytes, if it is intact: its kind, its payload and its length.
fn first_record(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let length = usize::from(u16::from_le_bytes([*bytes.get(1)?, *bytes.get(2)?]));
    let framed = bytes.get(..HEADER_BYTES + length)?;
    let checksum = bytes.get(HEADER_BYTES + length..HEADER_BYTES + length + CHECKSUM_BYTES)?;
    (crc32c::crc32c(framed).to_le_bytes() == checksum).then(|| {
        (
            framed[0],
            &framed[HEADER_BYTES..],
            HEADER_BYTES + length + CHECKSUM_BYTES,
        )
    })
}

/// Replays a journal; returns its content and the number of intact bytes, or `None` for another key.
fn replay(bytes: &[u8], key: Key) -> Option<(Recovered, usize)> {
    let (kind, payload, mut sound) = first_record(bytes)?;
    if kind != KEY || payload != key.to_payload() {
        return None;
    }
    let mut recovered = Recovered::NOTHING;
    while let Some((kind, payload, length)) = first_record(&bytes[sound..]) {
        let numbered = payload
            .split_first_chunk()
            .map(|(number, rest)| (u64::from_le_bytes(*number), rest));
        match (kind, numbered) {
            (BOOT, _) => match std::str::from_utf8(payload) {
                Ok(name) => recovered.boot = Boot::named(name),
                Err(_) => break,
            },
            (BLOCK, Some((block, checksum))) => {
                let (true, Ok(checksum)) = (block < key.blocks(), checksum.try_into()) else {
                    break;
                };
                let checksum = u32::from_le_bytes(checksum);
                // A hash over the previous bytes of the block does not apply to the new ones.
                if recovered
                    .blocks
                    .insert(block, checksum)
                    .is_some_and(|old| old != checksum)
                {
                    recovered.checkpoint.take_if(|seen| block < seen.blocks);
                }
            }
            (CHECKPOINT, Some((blocks, state))) => {
                // Blocks are recorded before the checkpoint that covers them, so counting them is enough.
                let durable = recovered.blocks.range(..blocks).count() as u64;
                if blocks > key.blocks() || durable != blocks {
                    break;
                }
                recovered.checkpoint = Some(Checkpoint {
                    blocks,
                    state: state.to_vec(),
                });
            }
            _ => break,
        }
        sound += length;
    }
    Some((recovered, sound))
}

/// Reads the durable blocks of a journal without opening it for writing.
pub(crate) fn peek(path: &Path, key: Key) -> io::Result<Vec<u64>> {
    let replayed = replay(&std::fs::read(path)?, key);
    let blocks = replayed.map(|(recovered, _)| recovered.blocks.into_keys().collect());
    Ok(blocks.unwrap_or_default())
}

/// A journal that is open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Opens or creates the journal of a content. Records are trusted up to the first with a wrong checksum.
    pub(crate) fn open(path: &Path, key: Key) -> io::Result<(Self, Recovered)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut journal = Self { file };
        if let Some((recovered, sound)) = replay(&bytes, key) {
            // Records after a torn one would never be replayed.
            journal.file.set_len(sound as u64)?;
            journal.file.seek(SeekFrom::End(0))?;
            return Ok((journal, recovered));
        }
        journal.file.set_len(0)?;
        journal.file.rewind()?;
        let mut record = Vec::new();
        push_record(&mut record, KEY, &key.to_payload());
        journal.file.write_all(&record)?;
        journal.file.sync_data()?;
        Ok((journal, Recovered::NOTHING))
    }

    /// Records the boot that writes from here on and that has checked all earlier blocks.
    pub(crate) fn begin(&mut self, boot: &Boot) -> io::Result<()> {
        let mut record = Vec::new();
        push_record(&mut record, BOOT, boot.name().as_bytes());
        self.file.write_all(&record)?;
        self.file.sync_data()
    }

    /// Records durable blocks and a checkpoint. All of their bytes must be synced before.
    pub(crate) fn append(&mut self, blocks: &[(u64, u32)], checkpoint: Option<&Checkpoint>) -> io::Result<()> {
        let mut records = Vec::new();
        for (block, checksum) in blocks {
            push_record(&mut records, BLOCK, &block_payload(*block, *checksum));
        }
        if let Some(checkpoint) = checkpoint {
            let mut payload = checkpoint.blocks.to_le_bytes().to_vec();
            payload.extend_from_slice(&checkpoint.state);
            push_record(&mut records, CHECKPOINT, &payload);
        }
        self.file.write_all(&records)?;
        self.file.sync_data()
    }
}

/// Replays a journal made of these bytes; for the fuzz targets.
///
/// The bytes are records (kind, length of the payload, payload) and then anything, as a disk may hold it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn replay_anything(bytes: &[u8]) {
    let key = Key {
        digest: ContentDigest::Sha256([7; 32]),
        size: 1 << 20,
        block_bytes: 4096,
    };
    let mut journal = Vec::new();
    push_record(&mut journal, KEY, &key.to_payload());
    let mut rest = bytes;
    while let [kind, length, after @ ..] = rest {
        let Some((payload, after)) = after.split_at_checked(usize::from(*length)) else {
            break;
        };
        push_record(&mut journal, *kind, payload);
        rest = after;
    }
    journal.extend_from_slice(rest);
    for bytes in [journal.as_slice(), bytes] {
        let Some((recovered, sound)) = replay(bytes, key) else {
            continue;
        };
        assert!(sound <= bytes.len());
        assert!(recovered.blocks.keys().all(|block| *block < key.blocks()));
        if let Some(Checkpoint { blocks, state }) = recovered.checkpoint {
            assert_eq!(recovered.blocks.range(..blocks).count() as u64, blocks);
            let _ = crate::model::digest::Hasher::resume(&key.digest, &state);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key {
            digest: ContentDigest::Sha256([7; 32]),
            size: 1 << 20,
            block_bytes: 4096,
        }
    }

    fn written(blocks: &[(u64, u32)], checkpoint: Option<&Checkpoint>) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, recovered) = Journal::open(&path, key()).unwrap();
        assert_eq!(recovered, Recovered::NOTHING);
        for block in blocks {
            journal.append(&[*block], None).unwrap();
        }
        journal.append(&[], checkpoint).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn what_was_noted_is_read_back() {
        let checkpoint = Checkpoint {
            blocks: 2,
            state: vec![9; 104],
        };
        let bytes = written(&[(1, 11), (0, 10), (40, 12)], Some(&checkpoint));
        let (recovered, sound) = replay(&bytes, key()).unwrap();
        assert_eq!(recovered.blocks, BTreeMap::from([(0, 10), (1, 11), (40, 12)]));
        assert_eq!(recovered.checkpoint, Some(checkpoint));
        assert_eq!(sound, bytes.len());
    }

    #[test]
    fn the_journal_of_other_content_or_other_blocks_says_nothing() {
        let bytes = written(&[(0, 10)], None);
        assert!(
            replay(
                &bytes,
                Key {
                    digest: ContentDigest::Sha256([8; 32]),
                    ..key()
                }
            )
            .is_none()
        );
        assert!(replay(&bytes, Key { size: 5, ..key() }).is_none());
        assert!(
            replay(
                &bytes,
                Key {
                    block_bytes: 8192,
                    ..key()
                }
            )
            .is_none()
        );
    }

    #[test]
    fn a_checkpoint_over_a_block_that_is_not_durable_is_not_believed() {
        let bytes = written(
            &[(0, 10), (2, 12)],
            Some(&Checkpoint {
                blocks: 3,
                state: vec![9; 104],
            }),
        );
        assert_eq!(replay(&bytes, key()).unwrap().0.checkpoint, None);
    }

    #[test]
    fn a_checkpoint_is_forgotten_when_a_block_it_has_seen_is_written_otherwise() {
        let checkpoint = Checkpoint {
            blocks: 3,
            state: vec![9; 104],
        };
        let rewritten = |block| {
            let mut bytes = written(&[(0, 10), (1, 11), (2, 12), (3, 13)], Some(&checkpoint));
            push_record(&mut bytes, BLOCK, &block_payload(block, 99));
            bytes
        };
        let recovered = |bytes: &[u8]| replay(bytes, key()).unwrap().0.checkpoint;
        assert_eq!(recovered(&rewritten(1)), None);
        assert_eq!(
            recovered(&rewritten(3)),
            Some(checkpoint.clone()),
            "the checkpoint does not cover block 3"
        );

        let mut bytes = rewritten(1);
        let mut payload = 3_u64.to_le_bytes().to_vec();
        payload.extend_from_slice(&checkpoint.state);
        push_record(&mut bytes, CHECKPOINT, &payload);
        assert_eq!(
            recovered(&bytes),
            Some(checkpoint.clone()),
            "a later checkpoint covers the new block"
        );

        let mut same = written(&[(0, 10), (1, 11), (2, 12)], Some(&checkpoint));
        push_record(&mut same, BLOCK, &block_payload(1, 11));
        assert_eq!(recovered(&same), Some(checkpoint.clone()), "nothing changed");
    }

    #[test]
    fn the_last_start_that_was_noted_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let reopened = || Journal::open(&path, key()).unwrap();
        assert_eq!(reopened().1.boot, Boot::UNKNOWN);
        reopened().0.begin(&Boot::named("one")).unwrap();
        reopened().0.append(&[(0, 10)], None).unwrap();
        assert_eq!(reopened().1.boot, Boot::named("one"));
        reopened().0.begin(&Boot::named("two")).unwrap();
        assert_eq!(reopened().1.boot, Boot::named("two"));
        reopened().0.begin(&Boot::UNKNOWN).unwrap();
        assert_eq!(reopened().1.boot, Boot::UNKNOWN);
        assert_eq!(reopened().1.blocks, BTreeMap::from([(0, 10)]));
    }

    #[test]
    fn records_appended_after_a_torn_tail_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut bytes = written(&[(0, 10), (1, 11)], None);
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&path, bytes).unwrap();
        let (mut journal, recovered) = Journal::open(&path, key()).unwrap();
        assert_eq!(recovered.blocks, BTreeMap::from([(0, 10)]));
        journal.append(&[(5, 15)], None).unwrap();
        let (_, recovered) = Journal::open(&path, key()).unwrap();
        assert_eq!(recovered.blocks, BTreeMap::from([(0, 10), (5, 15)]));
    }

    proptest! {
        #[test]
        fn damage_never_makes_a_block_durable_that_was_not_recorded(
            blocks in proptest::collection::vec((0_u64..256, any::<u32>()), 0..40),
            cut in 0.0..1.0, flip in proptest::option::of((0.0..1.0, 0_u8..8)),
        ) {
            // As `append` writes it, but in memory: syncs would take most of the time.
            let mut bytes = Vec::new();
            push_record(&mut bytes, KEY, &key().to_payload());
            for (block, checksum) in &blocks {
                push_record(&mut bytes, BLOCK, &block_payload(*block, *checksum));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a length")]
            let at = |fraction: f64, length: usize| (length as f64 * fraction) as usize;
            bytes.truncate(at(cut, bytes.len() + 1));
            if let Some((place, bit)) = flip && !bytes.is_empty() {
                let place = at(place, bytes.len());
                bytes[place] ^= 1 << bit;
            }
            if let Some((recovered, sound)) = replay(&bytes, key()) {
                prop_assert!(sound <= bytes.len());
                let whole: Vec<_> = blocks.iter().copied().scan(BTreeMap::new(), |seen, (block, crc)| {
                    seen.insert(block, crc);
                    Some(seen.clone())
                }).collect();
                // The recovered blocks are those of some prefix of the records.
                prop_assert!(recovered.blocks.is_empty() || whole.contains(&recovered.blocks));
            }
        }
    }
}
