//! One revision in several layouts: bytes on disk are not fetched again, and damaged links to them are repaired.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use modelcache_fetcher::observe::progress::Progress;
use modelcache_fetcher::store::verify::{Damage, verify};
use modelcache_fetcher::store::{HubCache, Layout, Store, current, published};
use pretty_assertions::assert_eq;
use tokio_util::sync::CancellationToken;

use crate::hub::{Answer, Fetch, Hub, PIECE, bytes};

const COMMIT: &str = "b45ef6fec89518d314f546fd6c3025367b721684";

fn cache(reference: &str) -> Layout {
    Layout::HuggingFaceCache(HubCache::new("org/name", reference).unwrap())
}

/// A hub, and a folder for its model.
struct Scenario {
    hub: Hub,
    folder: tempfile::TempDir,
}

impl Scenario {
    /// A hub with three files, two of them with the same content.
    async fn new() -> Self {
        let weights = bytes(1, 4 * PIECE);
        let files: [(&str, Bytes); 3] = [
            ("model.safetensors", weights.clone()),
            ("sub/copy.safetensors", weights),
            ("config.json", bytes(2, 90)),
        ];
        Self {
            hub: Hub::serve_contents(&files, |_| Answer::Right).await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Fetches and publishes in a layout. Returns the fetched and the reused bytes.
    async fn fetch(&self, layout: Layout) -> (u64, u64) {
        let store = Store::open(self.folder.path()).unwrap().with_layout(layout);
        let fetch = Fetch::from(&self.hub);
        let outcome = fetch.run(&self.hub.files, &store, COMMIT).await.unwrap();
        store.publish(COMMIT, &self.hub.files, "hub").unwrap();
        let counted = fetch.counted();
        assert_eq!((counted.files_done, counted.bytes_verified), (3, self.hub.size()));
        (outcome.bytes_fetched, outcome.bytes_reused)
    }

    fn current(&self) -> PathBuf {
        self.folder.path().join("current").canonicalize().unwrap()
    }

    fn snapshot(&self) -> PathBuf {
        self.current().join("models--org--name/snapshots").join(COMMIT)
    }

    /// Checks every byte of all files below a folder.
    fn check(&self, folder: &Path) {
        for file in &self.hub.files {
            let read = fs::read(folder.join(file.path.as_str())).unwrap();
            assert!(read == self.hub.content(file.path.as_str()), "{} differs", file.path);
        }
    }

    async fn damages(&self) -> Vec<Damage> {
        let manifest = current(self.folder.path()).unwrap().unwrap();
        let stop = CancellationToken::new();
        verify(self.folder.path(), &manifest, &Progress::default(), stop)
            .await
            .unwrap()
            .damages
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_with_the_same_bytes_share_a_blob_and_a_second_fetch_fetches_nothing() {
    let scenario = Scenario::new().await;
    assert_eq!(scenario.fetch(cache("main")).await, (4 * PIECE + 90, 4 * PIECE));
    scenario.check(&scenario.snapshot());
    let blobs = fs::read_dir(scenario.current().join("models--org--name/blobs")).unwrap();
    assert_eq!(blobs.count(), 2);
    let inode = |path: &str| fs::metadata(scenario.snapshot().join(path)).unwrap().ino();
    let before = inode("model.safetensors");
    assert_eq!(inode("sub/copy.safetensors"), before);
    assert_eq!(scenario.damages().await, []);

    assert_eq!(scenario.fetch(cache("main")).await, (0, scenario.hub.size()));
    assert_eq!(inode("model.safetensors"), before, "the undamaged file was replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_layout_or_reference_is_another_folder_of_the_same_bytes() {
    let scenario = Scenario::new().await;
    scenario.fetch(Layout::AsListed).await;
    scenario.check(&scenario.current());
    let served = scenario.hub.served();
    for reference in ["main", "refs/pr/1"] {
        assert_eq!(scenario.fetch(cache(reference)).await, (0, scenario.hub.size()));
        scenario.check(&scenario.snapshot());
        let kept = scenario.current().join("models--org--name/refs").join(reference);
        assert_eq!(fs::read_to_string(kept).unwrap(), COMMIT);
    }
    assert_eq!(scenario.fetch(Layout::AsListed).await, (0, scenario.hub.size()));
    scenario.check(&scenario.current());
    assert_eq!(scenario.hub.served(), served);
    assert_eq!(published(scenario.folder.path()).unwrap().len(), 3);
    let links = fs::metadata(scenario.current().join("model.safetensors"))
        .unwrap()
        .nlink();
    assert_eq!(
        links, 4,
        "expected two files here and one blob in each of the other layouts"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_links_and_references_are_found_and_repaired_without_a_request() {
    let scenario = Scenario::new().await;
    scenario.fetch(cache("main")).await;
    let reference = scenario.current().join("models--org--name/refs/main");
    let damage: [&dyn Fn(); 3] = [
        &|| fs::remove_file(scenario.snapshot().join("sub/copy.safetensors")).unwrap(),
        &|| {
            let link = scenario.snapshot().join("config.json");
            fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink("model.safetensors", link).unwrap();
        },
        &|| {
            fs::remove_file(&reference).unwrap();
            fs::write(&reference, format!("{COMMIT}\n")).unwrap();
        },
    ];
    for harm in damage {
        harm();
        assert_eq!(scenario.damages().await.len(), 1);
        assert_eq!(scenario.fetch(cache("main")).await, (0, scenario.hub.size()));
        assert_eq!(scenario.damages().await, []);
        scenario.check(&scenario.snapshot());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_damaged_blob_is_fetched_again_and_its_file_is_named() {
    let scenario = Scenario::new().await;
    scenario.fetch(cache("main")).await;
    let blob = scenario.snapshot().join("config.json").canonicalize().unwrap();
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, [b'x'; 90]).unwrap();
    let damages = scenario.damages().await;
    let named: Vec<_> = damages.iter().map(|damage| damage.file.as_str()).collect();
    assert_eq!(named, ["config.json"]);
    assert!(blob.ends_with(damages[0].place.as_str()));
    assert_eq!(scenario.fetch(cache("main")).await, (90, 8 * PIECE));
    assert_eq!(scenario.damages().await, []);
    scenario.check(&scenario.snapshot());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_unpublished_fetch_is_laid_out_without_a_request() {
    let scenario = Scenario::new().await;
    {
        let store = Store::open(scenario.folder.path()).unwrap().with_layout(cache("main"));
        let fetch = Fetch::from(&scenario.hub);
        fetch.run(&scenario.hub.files, &store, COMMIT).await.unwrap();
    }
    assert!(!scenario.folder.path().join("current").exists());
    assert_eq!(scenario.fetch(cache("main")).await, (0, scenario.hub.size()));
    scenario.check(&scenario.snapshot());
}
