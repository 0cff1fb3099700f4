//! Repair of published files block by block: undamaged blocks are not fetched again.

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

/// The last block is shorter.
const SIZE: u64 = 40 * PIECE + 17;
const FILES: &[(&str, u64)] = &[("sub/weights", SIZE), ("config.json", 90)];

/// A published revision, to be damaged.
struct Scenario {
    hub: Hub,
    folder: TempDir,
    store: Store,
}

impl Scenario {
    async fn new(behaviour: impl Fn(&crate::hub::RangeRequest) -> Answer + Send + Sync + 'static) -> Self {
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

    /// The file with the block checksums of the weights.
    fn checksums(&self) -> PathBuf {
        let folder = self.folder.path().join(".modelcache/blocks");
        let mut entries = fs::read_dir(folder).unwrap();
        let path = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "a file of one block has no checksums");
        path
    }

    async fn fetch_again(&self) -> Outcome {
        Fetch::from(&self.hub)
            .run(&self.hub.files, &self.store, "abc")
            .await
            .unwrap()
    }

    async fn repair(&self) -> Outcome {
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
    let scenario = Scenario::new(|_| Answer::Right).await;
    scenario.damage(offsets);
    let served = scenario.hub.served();
    let outcome = scenario.repair().await;
    assert_eq!(scenario.hub.served() - served, fetched);
    assert_eq!(
        (outcome.bytes_fetched, outcome.bytes_reused),
        (fetched, scenario.hub.size() - fetched)
    );
    // The checksums match the repaired file.
    scenario.damage(&[7]);
    assert_eq!(scenario.repair().await.bytes_fetched, BLOCK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_truncated_file_is_kept() {
    let scenario = Scenario::new(|_| Answer::Right).await;
    scenario.cut(10 * BLOCK + 5);
    assert_eq!(scenario.repair().await.bytes_fetched, SIZE - 10 * BLOCK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_file_is_fetched_completely() {
    let scenario = Scenario::new(|_| Answer::Right).await;
    fs::remove_file(scenario.weights()).unwrap();
    assert_eq!(scenario.repair().await.bytes_fetched, SIZE);
}

#[rstest]
#[case::gone(|path: &Path| fs::remove_file(path).unwrap())]
#[case::damaged(|path: &Path| {
    let mut bytes = fs::read(path).unwrap();
    bytes[200] ^= 1;
    fs::write(path, bytes).unwrap();
})]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_checksums_the_file_is_fetched_completely_and_gets_new_ones(#[case] spoil: fn(&Path)) {
    let scenario = Scenario::new(|_| Answer::Right).await;
    spoil(&scenario.checksums());
    scenario.damage(&[3 * PIECE]);
    assert_eq!(scenario.repair().await.bytes_fetched, SIZE);
    scenario.damage(&[3 * PIECE]);
    assert_eq!(scenario.repair().await.bytes_fetched, BLOCK);
}

/// A valid checksum file for other content. The repair trusts it first, but publishes no wrong bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_checksums_cost_only_a_fetch() {
    let scenario = Scenario::new(|_| Answer::Right).await;
    scenario.damage(&[3 * PIECE]);
    let damaged = fs::read(scenario.weights()).unwrap();
    let path = scenario.checksums();
    let mut bytes = fs::read(&path).unwrap();
    let head = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes.truncate(head);
    let block = usize::try_from(BLOCK).unwrap();
    for block in damaged.chunks(block) {
        bytes.extend(crc32c::crc32c(block).to_le_bytes());
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert_eq!(scenario.repair().await.bytes_fetched, SIZE);
    scenario.damage(&[3 * PIECE]);
    assert_eq!(
        scenario.repair().await.bytes_fetched,
        BLOCK,
        "the checksums must be right again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_repair_leaves_the_damaged_file_and_the_next_one_continues() {
    let weights =
        |request: &crate::hub::RangeRequest| request.path == "sub/weights" && request.range.start == 5 * PIECE;
    let scenario = Scenario::new(move |request| {
        // From the repair on, the request is for this block only.
        if weights(request) && request.range.end == 5 * PIECE + BLOCK {
            Answer::Slow(512, Duration::from_millis(40))
        } else {
            Answer::Right
        }
    })
    .await;
    scenario.damage(&[5 * PIECE + 3]);
    let damaged = fs::read(scenario.weights()).unwrap();
    let served = scenario.hub.served();
    let first = Fetch::from(&scenario.hub);
    let (stopped, ()) = tokio::join!(first.run(&scenario.hub.files, &scenario.store, "abc"), async {
        while scenario.hub.served() == served {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first.stop.cancel();
    });
    assert!(matches!(stopped, Err(FetchError::Interrupted)), "{stopped:?}");
    assert!(
        fs::read(scenario.weights()).unwrap() == damaged,
        "the stopped repair changed the file"
    );

    fs::remove_file(scenario.weights()).unwrap();
    assert_eq!(
        scenario.repair().await.bytes_fetched,
        BLOCK,
        "the kept blocks must be durable without the damaged file"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checksums_are_removed_with_their_revision() {
    let scenario = Scenario::new(|_| Answer::Right).await;
    let manifest = current(scenario.folder.path()).unwrap().unwrap();
    fs::remove_dir_all(scenario.folder.path().join(manifest.folder())).unwrap();
    let other = Hub::serve(&[("other", 3 * PIECE)], |_| Answer::Right).await;
    Fetch::from(&other)
        .run(&other.files, &scenario.store, "def")
        .await
        .unwrap();
    scenario.store.publish("def", &other.files, "hub").unwrap();
    let digest = other.files[0].digest.to_string().replace(':', "-");
    assert_eq!(
        scenario.checksums().file_name().unwrap().to_str(),
        Some(digest.as_str())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restoring_another_revision_does_not_make_it_current() {
    let scenario = Scenario::new(|_| Answer::Right).await;
    let old = current(scenario.folder.path()).unwrap().unwrap();
    let other = Hub::serve(&[("other", 3 * PIECE)], |_| Answer::Right).await;
    Fetch::from(&other)
        .run(&other.files, &scenario.store, "def")
        .await
        .unwrap();
    scenario.store.publish("def", &other.files, "hub").unwrap();
    let config = scenario.folder.path().join(old.folder()).join("config.json");
    fs::remove_file(&config).unwrap();
    assert_eq!(scenario.fetch_again().await.bytes_fetched, 90);
    scenario.store.restore(&old).unwrap();
    assert_eq!(fs::read(config).unwrap(), scenario.hub.content("config.json"));
    assert_eq!(current(scenario.folder.path()).unwrap().unwrap().revision, "def");
}
