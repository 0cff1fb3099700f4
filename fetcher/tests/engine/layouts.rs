//! One revision in several layouts: bytes on disk are not fetched again, and what leads to them is mended as they are.

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

/// A hub, and a folder that its model is fetched into.
struct Room {
    hub: Hub,
    folder: tempfile::TempDir,
}

impl Room {
    /// Three files, of which two have the same bytes.
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

    /// Fetches and publishes in a layout; the bytes that came and those that were there.
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

    /// Checks that every file is to be read below a folder, byte by byte.
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
async fn files_with_the_same_bytes_share_a_blob_and_a_second_fetch_brings_nothing() {
    let room = Room::new().await;
    assert_eq!(room.fetch(cache("main")).await, (4 * PIECE + 90, 4 * PIECE));
    room.check(&room.snapshot());
    let blobs = fs::read_dir(room.current().join("models--org--name/blobs")).unwrap();
    assert_eq!(blobs.count(), 2);
    let inode = |path: &str| fs::metadata(room.snapshot().join(path)).unwrap().ino();
    let before = inode("model.safetensors");
    assert_eq!(inode("sub/copy.safetensors"), before);
    assert_eq!(room.damages().await, []);

    assert_eq!(room.fetch(cache("main")).await, (0, room.hub.size()));
    assert_eq!(inode("model.safetensors"), before, "what is sound stays as it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_layout_or_reference_is_another_folder_of_the_same_bytes() {
    let room = Room::new().await;
    room.fetch(Layout::AsListed).await;
    room.check(&room.current());
    let served = room.hub.served();
    for reference in ["main", "refs/pr/1"] {
        assert_eq!(room.fetch(cache(reference)).await, (0, room.hub.size()));
        room.check(&room.snapshot());
        let kept = room.current().join("models--org--name/refs").join(reference);
        assert_eq!(fs::read_to_string(kept).unwrap(), COMMIT);
    }
    assert_eq!(room.fetch(Layout::AsListed).await, (0, room.hub.size()));
    room.check(&room.current());
    assert_eq!(room.hub.served(), served);
    assert_eq!(published(room.folder.path()).unwrap().len(), 3);
    let links = fs::metadata(room.current().join("model.safetensors")).unwrap().nlink();
    assert_eq!(links, 4, "two files here, one blob in each of the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_links_and_references_are_found_and_mended_without_a_byte() {
    let room = Room::new().await;
    room.fetch(cache("main")).await;
    let reference = room.current().join("models--org--name/refs/main");
    let damage: [&dyn Fn(); 3] = [
        &|| fs::remove_file(room.snapshot().join("sub/copy.safetensors")).unwrap(),
        &|| {
            let link = room.snapshot().join("config.json");
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
        assert_eq!(room.damages().await.len(), 1);
        assert_eq!(room.fetch(cache("main")).await, (0, room.hub.size()));
        assert_eq!(room.damages().await, []);
        room.check(&room.snapshot());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_blob_is_found_under_the_name_of_its_file_and_fetched_again_alone() {
    let room = Room::new().await;
    room.fetch(cache("main")).await;
    let blob = room.snapshot().join("config.json").canonicalize().unwrap();
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, [b'x'; 90]).unwrap();
    let damages = room.damages().await;
    let named: Vec<_> = damages.iter().map(|damage| damage.file.as_str()).collect();
    assert_eq!(named, ["config.json"]);
    assert!(blob.ends_with(damages[0].place.as_str()));
    assert_eq!(room.fetch(cache("main")).await, (90, 8 * PIECE));
    assert_eq!(room.damages().await, []);
    room.check(&room.snapshot());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_was_complete_but_not_published_is_laid_out_without_a_byte() {
    let room = Room::new().await;
    {
        let store = Store::open(room.folder.path()).unwrap().with_layout(cache("main"));
        let fetch = Fetch::from(&room.hub);
        fetch.run(&room.hub.files, &store, COMMIT).await.unwrap();
    }
    assert!(!room.folder.path().join("current").exists());
    assert_eq!(room.fetch(cache("main")).await, (0, room.hub.size()));
    room.check(&room.snapshot());
}
