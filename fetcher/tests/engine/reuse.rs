//! Published files are verified again, not fetched again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use modelcache_fetcher::store::verify::verify;
use modelcache_fetcher::store::{Store, current, published};
use tokio_util::sync::CancellationToken;

use crate::hub::{Answer, Fetch, Hub, PIECE, bytes, check};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_revision_is_verified_again_and_nothing_is_fetched() {
    let hub = Hub::serve(&[("weights", 4 * PIECE), ("empty", 0), ("config.json", 9)], |_| {
        Answer::Right
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    let inode = fs::metadata(folder.path().join("current/weights")).unwrap().ino();
    let served = hub.served();

    let again = Fetch::from(&hub);
    let outcome = again.run(&hub.files, &store, "abc").await.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    assert_eq!((outcome.bytes_fetched, outcome.bytes_reused), (0, hub.size()));
    assert_eq!(again.counted().bytes_verified, hub.size());
    assert_eq!(hub.served(), served);
    assert_eq!(
        fs::metadata(folder.path().join("current/weights")).unwrap().ino(),
        inode
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_with_the_same_bytes_are_fetched_once() {
    let content = bytes(1, 3 * PIECE);
    let files = [("a", content.clone()), ("b/c", content.clone()), ("d", content)];
    let hub = Hub::serve_contents(&files, |_| Answer::Right).await;
    let fetch = Fetch::from(&hub);
    crate::hub::fetch_and_check(&hub, &fetch).await;
    assert_eq!(hub.served(), 3 * PIECE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_revision_fetches_only_what_changed() {
    let weights = bytes(1, 4 * PIECE);
    let old = Hub::serve_contents(&[("weights", weights.clone()), ("config.json", bytes(2, 9))], |_| {
        Answer::Right
    })
    .await;
    let new = Hub::serve_contents(&[("renamed/weights", weights), ("config.json", bytes(3, 9))], |_| {
        Answer::Right
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    Fetch::from(&old).run(&old.files, &store, "old").await.unwrap();
    store.publish("old", &old.files, "hub").unwrap();
    let outcome = Fetch::from(&new).run(&new.files, &store, "new").await.unwrap();
    let path = store.publish("new", &new.files, "hub").unwrap();
    check(&new, folder.path());
    assert_eq!((outcome.bytes_fetched, outcome.bytes_reused), (9, 4 * PIECE));
    assert!(new.requests().iter().all(|request| request.path == "config.json"));
    assert_eq!(published(folder.path()).unwrap().len(), 2);
    assert_eq!(
        fs::metadata(folder.path().join(path.as_str()).join("renamed/weights"))
            .unwrap()
            .nlink(),
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_published_file_is_found_and_fetched_again_and_the_others_are_kept() {
    let hub = Hub::serve(&[("weights", 4 * PIECE), ("config.json", 90)], |_| Answer::Right).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap();
    let path = store.publish("abc", &hub.files, "hub").unwrap();
    let config = folder.path().join(path.as_str()).join("config.json");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&config, vec![b'x'; 90]).unwrap();
    let manifest = current(folder.path()).unwrap().unwrap();
    let stop = CancellationToken::new;
    let damages = verify(folder.path(), &manifest, &Fetch::from(&hub).progress, stop())
        .await
        .unwrap();
    assert_eq!(damages.damages.len(), 1);

    let outcome = Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap();
    assert_eq!(store.publish("abc", &hub.files, "hub").unwrap(), path);
    check(&hub, folder.path());
    assert_eq!((outcome.bytes_fetched, outcome.bytes_reused), (90, 4 * PIECE));
    assert!(
        verify(folder.path(), &manifest, &Fetch::from(&hub).progress, stop())
            .await
            .unwrap()
            .is_sound()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_unpublished_fetch_is_published_without_a_request() {
    let hub = Hub::serve(&[("weights", 4 * PIECE), ("config.json", 90)], |_| Answer::Right).await;
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open(folder.path()).unwrap();
        Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap();
    }
    let store = Store::open(folder.path()).unwrap();
    let outcome = Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&hub, folder.path());
    assert_eq!((outcome.bytes_fetched, outcome.bytes_reused), (0, hub.size()));
}
