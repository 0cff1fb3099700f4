use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use futures::executor::block_on;
use sha2::{Digest, Sha256};

use super::*;
use crate::disk::boot::Boot;
use crate::model::digest::ContentDigest;
use crate::model::path::FilePath;
use crate::store::{Abilities, Writes};
use crate::transfer::file::buffers::Buffers;

const BLOCK: u64 = 4096;

struct Fixture {
    _folder: tempfile::TempDir,
    store: Store,
    remote: RemoteFile,
    content: Vec<u8>,
}

impl Fixture {
    /// A file of ten blocks, the last one short.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let content: Vec<u8> = (0..9 * BLOCK + 100).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let remote = RemoteFile {
            path: FilePath::parse("weights").unwrap(),
            size: content.len() as u64,
            digest: ContentDigest::Sha256(Sha256::digest(&content).into()),
        };
        Self {
            _folder: folder,
            store,
            remote,
            content,
        }
    }

    /// The same on a volume that takes files from their beginning to their end.
    fn in_order(writes: Writes) -> Self {
        let fixture = Self::new();
        let abilities = Abilities {
            reserves: false,
            writes,
            bypasses_cache: false,
        };
        Self {
            store: fixture.store.clone().with_abilities(abilities),
            ..fixture
        }
    }

    /// Bytes of the file on disk.
    fn length(&self) -> u64 {
        fs::metadata(self.store.partial(&self.remote.digest)).unwrap().len()
    }

    fn cut(&self, length: u64) {
        let file = OpenOptions::new()
            .write(true)
            .open(self.store.partial(&self.remote.digest));
        file.unwrap().set_len(length).unwrap();
    }

    fn open(&self) -> Partial {
        Partial::open(
            &self.store,
            &self.remote,
            BLOCK,
            &Buffers::new(BLOCK, 1, 0),
            &CancellationToken::new(),
        )
        .unwrap()
    }

    /// As it is found after a reboot.
    fn open_after_a_start(&self) -> Partial {
        let store = self.store.clone().with_boot(Boot::named("another"));
        Partial::open(
            &store,
            &self.remote,
            BLOCK,
            &Buffers::new(BLOCK, 1, 0),
            &CancellationToken::new(),
        )
        .unwrap()
    }

    /// Writes blocks as connections do.
    fn write(&self, partial: &mut Partial, blocks: &[u64]) {
        let buffers = Buffers::new(BLOCK, 1, 0);
        for block in blocks {
            let start = block * BLOCK;
            let end = start + partial.block_length(*block);
            let at = |offset| usize::try_from(offset).unwrap();
            let bytes = &self.content[at(start)..at(end)];
            partial.disk().write(bytes, start).unwrap();
            let kept = block_on(buffers.get()).keep(0, *block);
            // Whose memory is needed at once, so that it is read back.
            drop(block_on(buffers.get()));
            partial.received(Written {
                block: *block,
                checksum: crc32c::crc32c(bytes),
                origin: 0,
                kept,
                unsynced: None,
            });
        }
    }

    /// What a run leaves that wrote these blocks, hashed as far as it could and made all of it durable.
    fn keep(&self, blocks: &[u64]) {
        let mut partial = self.open();
        self.write(&mut partial, blocks);
        hash_all(&mut partial);
        partial.sync().unwrap();
        partial.finish().unwrap();
    }

    /// Flips a bit on the disk.
    fn damage(&self, at: u64) {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.store.partial(&self.remote.digest))
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
}

fn hash_all(partial: &mut Partial) {
    while partial.hash_next().unwrap().is_some() {}
}

#[test]
fn what_was_synced_is_taken_up_and_the_hash_with_it() {
    let fixture = Fixture::new();
    let mut partial = fixture.open();
    fixture.write(&mut partial, &[0, 1, 2, 5, 9]);
    hash_all(&mut partial);
    partial.sync().unwrap();
    partial.finish().unwrap();
    fixture.write(&mut partial, &[6]);
    drop(partial);

    let mut partial = fixture.open();
    assert_eq!(
        partial.written().collect::<Vec<_>>(),
        [0, 1, 2, 5, 9],
        "6 was never synced"
    );
    assert_eq!((partial.hashed(), partial.written_bytes()), (3, 4 * BLOCK + 100));
    fixture.write(&mut partial, &[3, 4, 6, 7, 8]);
    hash_all(&mut partial);
    assert!(partial.is_hashed());
    assert_eq!(partial.digest(), fixture.remote.digest);
}

#[test]
fn a_damaged_block_beyond_the_hash_is_fetched_again_alone() {
    let fixture = Fixture::new();
    fixture.keep(&[0, 1, 5, 6]);
    fixture.damage(5 * BLOCK + 7);
    let partial = fixture.open();
    assert_eq!(partial.written().collect::<Vec<_>>(), [0, 1, 6]);
    assert_eq!(partial.hashed(), 2);
}

#[test]
fn what_is_hashed_is_not_read_again_while_the_machine_runs() {
    let fixture = Fixture::new();
    fixture.keep(&[0, 1, 2, 5]);
    // Only reading reveals this damage.
    fixture.damage(BLOCK + 7);
    assert_eq!(fixture.open().hashed(), 3);
    let after = fixture.open_after_a_start();
    assert_eq!(
        (after.hashed(), after.written().collect::<Vec<_>>()),
        (0, vec![0, 2, 5])
    );
}

#[test]
fn damage_that_was_found_once_is_not_trusted_by_the_next_run_either() {
    let fixture = Fixture::new();
    fixture.keep(&[0, 1, 2]);
    fixture.damage(BLOCK + 7);
    for _ in 0..2 {
        let after = fixture.open_after_a_start();
        assert_eq!((after.hashed(), after.written().collect::<Vec<_>>()), (0, vec![0, 2]));
    }
}

#[test]
fn what_another_start_found_sound_is_trusted_from_then_on() {
    let fixture = Fixture::new();
    fixture.keep(&[0, 1, 2]);
    assert_eq!(fixture.open_after_a_start().hashed(), 3);
    fixture.damage(BLOCK + 7);
    assert_eq!(fixture.open_after_a_start().hashed(), 3, "it is not read again");
}

#[test]
fn a_damaged_block_that_was_hashed_is_fetched_and_hashed_again() {
    let fixture = Fixture::new();
    fixture.keep(&[0, 1, 2, 3]);
    fixture.damage(BLOCK + 7);
    let mut partial = fixture.open_after_a_start();
    assert_eq!(partial.written().collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(partial.hashed(), 0);
    fixture.write(&mut partial, &[1, 4, 5, 6, 7, 8, 9]);
    hash_all(&mut partial);
    assert_eq!(partial.digest(), fixture.remote.digest);
}

#[test]
fn bytes_of_another_length_are_not_believed_whatever_the_journal_says() {
    let fixture = Fixture::new();
    let mut partial = fixture.open();
    fixture.write(&mut partial, &[0, 1]);
    partial.sync().unwrap();
    partial.finish().unwrap();
    partial.disk().file().set_len(BLOCK).unwrap();
    drop(partial);
    let partial = fixture.open();
    assert_eq!(partial.written_bytes(), 0);
    assert_eq!(partial.disk().file().metadata().unwrap().len(), fixture.remote.size);
}

fn written(partial: &Partial) -> Vec<u64> {
    partial.written().collect()
}

#[test]
fn a_file_that_is_written_in_order_is_taken_up_behind_what_is_durable() {
    let fixture = Fixture::in_order(Writes::InOrder);
    let mut partial = fixture.open();
    fixture.write(&mut partial, &[0, 1, 2]);
    hash_all(&mut partial);
    partial.sync().unwrap();
    partial.finish().unwrap();
    // Never synced, and the last one only half there.
    fixture.write(&mut partial, &[3, 4]);
    drop(partial);
    fixture.cut(4 * BLOCK + 7);

    let mut partial = fixture.open();
    assert_eq!((written(&partial), partial.hashed()), (vec![0, 1, 2], 3));
    assert_eq!(fixture.length(), 3 * BLOCK, "what comes next is written at the end");
    fixture.write(&mut partial, &[3, 4, 5, 6, 7, 8, 9]);
    hash_all(&mut partial);
    assert_eq!(partial.digest(), fixture.remote.digest);
}

#[test]
fn what_a_file_that_is_written_in_order_has_lost_at_its_end_is_missing_whatever_the_journal_says() {
    let fixture = Fixture::in_order(Writes::InOrder);
    fixture.keep(&[0, 1, 2, 3, 4]);
    fixture.cut(3 * BLOCK + 7);
    for _ in 0..2 {
        let partial = fixture.open();
        assert_eq!((written(&partial), partial.hashed()), (vec![0, 1, 2], 0));
        assert_eq!(fixture.length(), 3 * BLOCK);
    }
    // The journal still speaks of what is put there now, and may not be believed without looking.
    fixture.cut(5 * BLOCK);
    assert_eq!(written(&fixture.open()), [0, 1, 2]);
}

#[test]
fn a_file_that_is_written_in_order_is_cut_at_the_first_damaged_block() {
    let fixture = Fixture::in_order(Writes::InOrder);
    fixture.keep(&[0, 1, 2, 3]);
    fixture.damage(BLOCK + 7);
    let mut partial = fixture.open_after_a_start();
    assert_eq!((written(&partial), partial.hashed()), (vec![0], 0));
    assert_eq!(fixture.length(), BLOCK);
    fixture.write(&mut partial, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    hash_all(&mut partial);
    assert_eq!(partial.digest(), fixture.remote.digest);
}

#[test]
fn a_file_that_cannot_be_written_on_or_is_too_long_is_begun_anew() {
    for writes in [Writes::InOrder, Writes::AtOnce] {
        let fixture = Fixture::in_order(writes);
        fixture.keep(&[0, 1, 2]);
        if writes == Writes::InOrder {
            fixture.cut(fixture.remote.size + 1);
        }
        let partial = fixture.open();
        assert_eq!((written(&partial), fixture.length()), (vec![], 0), "{writes:?}");
    }
}

#[test]
fn of_a_file_that_is_written_in_order_nothing_is_taken_over_or_kept_behind_what_is_missing() {
    let fixture = Fixture::in_order(Writes::InOrder);
    let other = fixture.store.root().join("damaged");
    let mut bytes = fixture.content.clone();
    bytes[usize::try_from(2 * BLOCK).unwrap()] ^= 1;
    fs::write(&other, bytes).unwrap();
    let checksums: Vec<_> = fixture.content.chunks(4096).map(crc32c::crc32c).collect();
    let mut partial = fixture.open();
    let taken = partial.reuse_blocks(&File::open(other).unwrap(), &checksums, &CancellationToken::new());
    assert_eq!((taken.unwrap(), written(&partial)), (2, vec![0, 1]));

    fixture.write(&mut partial, &[2, 3, 4, 5, 6, 7, 8, 9]);
    let replaced = partial.distrust(0).unwrap();
    assert_eq!((written(&partial), fixture.length()), (vec![], 0));
    assert_eq!((replaced.bytes, replaced.delivered.len()), (fixture.remote.size, 8));
}

#[test]
fn a_staged_file_is_whole_and_under_its_own_name() {
    let fixture = Fixture::new();
    let mut partial = fixture.open();
    fixture.write(&mut partial, &(0..10).collect::<Vec<_>>());
    let to = fixture.store.staged("id", &FilePath::parse("sub/weights").unwrap());
    partial.stage(&to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), fixture.content);
    assert!(!fixture.store.partial(&fixture.remote.digest).exists());
}
