//! What is damaged of a published file is mended block by block: the rest is not fetched again.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use modelcache_fetcher::model::error::FetchError;
use modelcache_fetcher::store::{Store, current};
use modelcache_fetcher::transfer::Outcome;
use rstest::rstest;
use tempfile::TempDir;

use crate::hub::{Answer, BLOCK, Fetch, Hub, PIECE, check};

/// The last block is short.
const SIZE: u64 = 40 * PIECE + 17;
const FILES: &[(&str, u64)] = &[("sub/weights", SIZE), ("config.json", 90)];

/// A revision that is published and then damaged.
struct Room {
    hub: Hub,
    folder: TempDir,
    store: Store,
}

impl Room {
    async fn new(behaviour: impl Fn(&crate::hub::Asked) -> Answer + Send + Sync + 'static) -> Self {
        let hub = Hub::serve(FILES, behaviour).await;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap();
        store.publish("abc", &hub.files, "hub").unwrap();
        Self { hub, folder, store }
    }

    fn weights(&self) -> PathBuf {
        self.folder.path().join("current/sub/weights")
    }

    fn damage(&self, offsets: &[u64]) {
        fs::set_permissions(self.weights(), Permissions::from_mode(0o644)).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(self.weights()).unwrap();
        for offset in offsets {
            let mut byte = [0];
            file.read_exact_at(&mut byte, *offset).unwrap();
            file.write_all_at(&[!byte[0]], *offset).unwrap();
        }
    }

    fn cut(&self, length: u64) {
        fs::set_permissions(self.weights(), Permissions::from_mode(0o644)).unwrap();
        let file = OpenOptions::new().write(true).open(self.weights()).unwrap();
        file.set_len(length).unwrap();
    }

    /// The file that holds the checksums of the weights' blocks.
    fn checksums(&self) -> PathBuf {
        let folder = self.folder.path().join(".modelcache/blocks");
        let mut entries = fs::read_dir(folder).unwrap();
        let path = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "one block needs no checksum of its own");
        path
    }

    async fn fetch_again(&self) -> Outcome {
        Fetch::from(&self.hub)
            .run(&self.hub.files, &self.store, "abc")
            .await
            .unwrap()
    }

    async fn mended(&self) -> Outcome {
        let outcome = self.fetch_again().await;
        let manifest = current(self.folder.path()).unwrap().unwrap();
        self.store.restore(&manifest).unwrap();
        check(&self.hub, self.folder.path());
        assert_eq!(
            fs::metadata(self.weights()).unwrap().permissions().mode() & 0o777,
            0o444
        );
        outcome
    }
}

#[rstest]
#[case::one_byte(&[5 * PIECE + 3], BLOCK)]
#[case::two_blocks(&[0, 20 * PIECE], 2 * BLOCK)]
#[case::two_bytes_of_one_block(&[BLOCK, 2 * BLOCK - 1], BLOCK)]
#[case::the_short_last_block(&[SIZE - 1], 17)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_damaged_blocks_are_fetched_again(#[case] offsets: &[u64], #[case] fetched: u64) {
    let room = Room::new(|_| Answer::Right).await;
    room.damage(offsets);
    let served = room.hub.served();
    let outcome = room.mended().await;
    assert_eq!(room.hub.served() - served, fetched);
    assert_eq!(
        (outcome.bytes_fetched, outcome.bytes_reused),
        (fetched, room.hub.size() - fetched)
    );
    // The checksums are of the mended file, too.
    room.damage(&[7]);
    assert_eq!(room.mended().await.bytes_fetched, BLOCK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_file_that_was_cut_what_is_left_is_kept() {
    let room = Room::new(|_| Answer::Right).await;
    room.cut(10 * BLOCK + 5);
    assert_eq!(room.mended().await.bytes_fetched, SIZE - 10 * BLOCK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_missing_is_fetched_whole() {
    let room = Room::new(|_| Answer::Right).await;
    fs::remove_file(room.weights()).unwrap();
    assert_eq!(room.mended().await.bytes_fetched, SIZE);
}

#[rstest]
#[case::gone(|path: &Path| fs::remove_file(path).unwrap())]
#[case::damaged(|path: &Path| {
    let mut bytes = fs::read(path).unwrap();
    bytes[200] ^= 1;
    fs::write(path, bytes).unwrap();
})]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_checksums_the_file_is_fetched_whole_and_has_them_again(#[case] spoil: fn(&Path)) {
    let room = Room::new(|_| Answer::Right).await;
    spoil(&room.checksums());
    room.damage(&[3 * PIECE]);
    assert_eq!(room.mended().await.bytes_fetched, SIZE);
    room.damage(&[3 * PIECE]);
    assert_eq!(room.mended().await.bytes_fetched, BLOCK);
}

/// Checksums of another file, in good order: they lead astray, but what they lead to is not published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checksums_that_lie_cost_a_fetch_and_nothing_else() {
    let room = Room::new(|_| Answer::Right).await;
    room.damage(&[3 * PIECE]);
    let damaged = fs::read(room.weights()).unwrap();
    let path = room.checksums();
    let mut bytes = fs::read(&path).unwrap();
    let head = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes.truncate(head);
    let block = usize::try_from(BLOCK).unwrap();
    for block in damaged.chunks(block) {
        bytes.extend(crc32c::crc32c(block).to_le_bytes());
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert_eq!(room.mended().await.bytes_fetched, SIZE);
    room.damage(&[3 * PIECE]);
    assert_eq!(room.mended().await.bytes_fetched, BLOCK, "they are right again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_is_stopped_leaves_the_damaged_file_and_the_next_goes_on() {
    let weights = |asked: &crate::hub::Asked| asked.path == "sub/weights" && asked.range.start == 5 * PIECE;
    let room = Room::new(move |asked| {
        // Of the second time on, the block is asked for alone.
        if weights(asked) && asked.range.end == 5 * PIECE + BLOCK {
            Answer::Slow(512, Duration::from_millis(40))
        } else {
            Answer::Right
        }
    })
    .await;
    room.damage(&[5 * PIECE + 3]);
    let damaged = fs::read(room.weights()).unwrap();
    let served = room.hub.served();
    let first = Fetch::from(&room.hub);
    let (stopped, ()) = tokio::join!(first.run(&room.hub.files, &room.store, "abc"), async {
        while room.hub.served() == served {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first.stop.cancel();
    });
    assert!(matches!(stopped, Err(FetchError::Interrupted)), "{stopped:?}");
    assert!(fs::read(room.weights()).unwrap() == damaged, "it is as it was");

    fs::remove_file(room.weights()).unwrap();
    assert_eq!(
        room.mended().await.bytes_fetched,
        BLOCK,
        "what was kept is durable, and no longer needs the damaged file"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checksums_go_with_the_revision_they_are_of() {
    let room = Room::new(|_| Answer::Right).await;
    let manifest = current(room.folder.path()).unwrap().unwrap();
    fs::remove_dir_all(room.folder.path().join(manifest.folder())).unwrap();
    let other = Hub::serve(&[("other", 3 * PIECE)], |_| Answer::Right).await;
    Fetch::from(&other).run(&other.files, &room.store, "def").await.unwrap();
    room.store.publish("def", &other.files, "hub").unwrap();
    let digest = other.files[0].digest.to_string().replace(':', "-");
    assert_eq!(room.checksums().file_name().unwrap().to_str(), Some(digest.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_is_not_current_is_restored_without_becoming_so() {
    let room = Room::new(|_| Answer::Right).await;
    let old = current(room.folder.path()).unwrap().unwrap();
    let other = Hub::serve(&[("other", 3 * PIECE)], |_| Answer::Right).await;
    Fetch::from(&other).run(&other.files, &room.store, "def").await.unwrap();
    room.store.publish("def", &other.files, "hub").unwrap();
    let config = room.folder.path().join(old.folder()).join("config.json");
    fs::remove_file(&config).unwrap();
    assert_eq!(room.fetch_again().await.bytes_fetched, 90);
    room.store.restore(&old).unwrap();
    assert_eq!(fs::read(config).unwrap(), room.hub.content("config.json"));
    assert_eq!(current(room.folder.path()).unwrap().unwrap().revision, "def");
}
