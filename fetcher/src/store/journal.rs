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
mod tests;
