//! Bytes that do not match the listed digest.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::store::Store;
use rstest::rstest;

use crate::hub::{Answer, BLOCK, Fetch, Hub, PIECE, fetch_and_check};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_flips_once_is_found_and_fetched_again() {
    let flipped = AtomicBool::new(false);
    let hub = Hub::serve(&[("weights", 6 * PIECE), ("config.json", 100)], move |request| {
        if request.range.start == 2 * PIECE && !flipped.swap(true, Ordering::Relaxed) {
            Answer::Flipped
        } else {
            Answer::Right
        }
    })
    .await;
    let fetch = Fetch::from(&hub);
    fetch_and_check(&hub, &fetch).await;
    assert_eq!(fetch.counted().bytes_discarded, 6 * PIECE);
    assert_eq!(
        fetch.source.located.load(Ordering::Relaxed),
        3,
        "the file must be located again before it is fetched again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_always_wrong_end_the_fetch_and_are_never_published() {
    let hub = Hub::serve(&[("weights", 2 * PIECE)], |request| {
        if request.range.start == 0 {
            Answer::Flipped
        } else {
            Answer::Right
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap_err();
    assert_eq!(error.class(), FailureClass::DigestMismatch);
    assert!(error.to_string().contains("weights"), "{error}");
    assert_eq!(hub.served(), 3 * hub.size(), "fetched three times");
    assert!(store.publish("abc", &hub.files, "hub").is_err());
    let left = |name: &str| fs::read_dir(folder.path().join(name)).unwrap().count();
    assert_eq!(
        (
            left("revisions"),
            left(".modelcache/staging"),
            left(".modelcache/partial")
        ),
        (0, 0, 0)
    );
    assert!(!folder.path().join("current").exists());
}

/// Wrong bytes with the requested length are found only by the hash.
#[rstest]
#[case::as_long_as_the_file(Answer::PageOfFileLength)]
#[case::as_long_as_the_range(Answer::PageOfRangeLength)]
#[case::half_of_it_twice(Answer::Repeated)]
#[case::more_than_requested(Answer::Longer)]
#[case::less_than_announced(Answer::Shorter(BLOCK + 17))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_of_the_right_length_are_found_and_fetched_again(#[case] answer: Answer) {
    for place in [0, 2 * PIECE] {
        let answer = answer.clone();
        let once = AtomicBool::new(false);
        let hub = Hub::serve(&[("weights", 6 * PIECE), ("config.json", 100)], move |request| {
            if request.range.start == place && !once.swap(true, Ordering::Relaxed) {
                answer.clone()
            } else {
                Answer::Right
            }
        })
        .await;
        fetch_and_check(&hub, &Fetch::from(&hub)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_page_instead_of_every_file_is_never_published() {
    let hub = Hub::serve(&[("config.json", 100)], |_| Answer::PageOfFileLength).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap_err();
    assert_eq!(error.class(), FailureClass::DigestMismatch);
    assert!(store.publish("abc", &hub.files, "hub").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_is_verified_without_a_request() {
    let mut hub = Hub::serve(&[("empty", 0), ("one", 1)], |_| Answer::Right).await;
    hub.files[0].digest = hub.files[1].digest;
    hub.files.truncate(1);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap_err();
    assert_eq!(error.class(), FailureClass::DigestMismatch);
    assert!(hub.requests().is_empty());
}
