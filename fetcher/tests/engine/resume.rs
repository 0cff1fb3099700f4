//! Interrupted fetches, and what the next fetch reuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::disk::boot::Boot;
use modelcache_fetcher::model::error::FetchError;
use modelcache_fetcher::store::{Abilities, Store, Writes};
use rstest::rstest;

use crate::hub::{Answer, BLOCK, Fetch, Hub, HubSource, PIECE, bytes, check, remote, settings};

const FILES: &[(&str, u64)] = &[("config.json", 700), ("one", 40 * PIECE + 5), ("two", 30 * PIECE)];

/// Slow enough to interrupt the fetch.
fn slow() -> Answer {
    Answer::Slow(BLOCK / 2, Duration::from_millis(2))
}

async fn until_served(hub: &Hub, bytes: u64) {
    let begin = Instant::now();
    while hub.served() < bytes {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "only {} bytes were served",
            hub.served()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Limit of the bytes that are not durable when a fetch is killed: in buffers, or written but not in the journal.
/// Each connection and its socket hold some; each file worker may have one batch waiting and one in progress.
fn in_flight() -> u64 {
    let settings = settings();
    settings.connections as u64 * (BLOCK + 2 * PIECE)
        + 2 * settings.unsynced_bytes
        + settings.parallel_files as u64 * PIECE
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_fetch_ends_at_once_and_the_next_fetches_only_the_rest() {
    let hub = Hub::serve(FILES, |_| slow()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let first = Fetch::from(&hub);
    let half = hub.size() / 2;
    let (stopped, cancelled) = tokio::join!(first.run(&hub.files, &store, "abc"), async {
        until_served(&hub, half).await;
        first.stop.cancel();
        Instant::now()
    });
    assert!(
        cancelled.elapsed() < Duration::from_secs(3),
        "{:?}",
        cancelled.elapsed()
    );
    assert!(matches!(stopped, Err(FetchError::Interrupted)), "{stopped:?}");
    let served = hub.served();

    let second = Fetch::from(&hub);
    let outcome = second.run(&hub.files, &store, "abc").await.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&hub, folder.path());
    assert_eq!(outcome.bytes_fetched + outcome.bytes_reused, hub.size());
    // A stop makes all written bytes durable, so only the bytes in buffers are fetched again.
    let lost = settings().connections as u64 * (BLOCK + 2 * PIECE);
    assert!(
        outcome.bytes_reused >= served - lost,
        "{} of {served} bytes were kept",
        outcome.bytes_reused
    );
}

/// Not a test: the process that [`a_killed_fetch_is_resumed_from_its_durable_bytes`] starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch_to_be_killed() {
    let (Ok(address), Ok(root)) = (
        std::env::var("MODELCACHE_TEST_HUB"),
        std::env::var("MODELCACHE_TEST_ROOT"),
    ) else {
        return;
    };
    let files: Vec<_> = (1..)
        .zip(FILES)
        .map(|(seed, (path, size))| remote(path, &bytes(seed, *size)))
        .collect();
    let in_order = std::env::var_os("MODELCACHE_TEST_IN_ORDER").is_some();
    let store = open(Path::new(&root), in_order);
    let fetch = Fetch::through(HubSource::new(address.parse().unwrap()));
    fetch.run(&files, &store, "abc").await.unwrap();
}

/// Opens a folder. With `in_order`, treats its disk as one that writes files from start to end only.
fn open(root: &Path, in_order: bool) -> Store {
    let store = Store::open(root).unwrap();
    if !in_order {
        return store;
    }
    store.with_abilities(Abilities {
        reserves: false,
        writes: Writes::InOrder,
        bypasses_cache: false,
    })
}

#[rstest]
#[case::on_a_disk_that_writes_anywhere(false)]
#[case::on_a_disk_that_takes_files_in_order_only(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_fetch_is_resumed_from_its_durable_bytes(#[case] in_order: bool) {
    let hub = Hub::serve(FILES, |_| slow()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut killed = Command::new(std::env::current_exe().unwrap());
    killed
        .args(["--exact", "resume::fetch_to_be_killed"])
        .env("MODELCACHE_TEST_HUB", hub.address.to_string())
        .env("MODELCACHE_TEST_ROOT", folder.path())
        .stdout(Stdio::null());
    if in_order {
        killed.env("MODELCACHE_TEST_IN_ORDER", "");
    }
    let mut killed = killed.spawn().unwrap();
    until_served(&hub, hub.size() / 2).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let served = hub.served();
    assert!(served < hub.size(), "the fetch ended before the kill");

    let store = open(folder.path(), in_order);
    let fetch = Fetch::from(&hub);
    let outcome = fetch.run(&hub.files, &store, "abc").await.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&hub, folder.path());
    assert!(outcome.bytes_reused > 0);
    assert!(
        outcome.bytes_reused + in_flight() >= served,
        "{} of {served} bytes were kept",
        outcome.bytes_reused
    );
    assert!(hub.served() <= hub.size() + in_flight());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_on_disk_without_a_journal_are_fetched_again() {
    let hub = Hub::serve(&[("weights", 8 * PIECE)], |_| slow()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let first = Fetch::from(&hub);
    let (stopped, ()) = tokio::join!(first.run(&hub.files, &store, "abc"), async {
        until_served(&hub, 6 * PIECE).await;
        first.stop.cancel();
    });
    assert_eq!(stopped.unwrap_err().class(), FailureClass::Interrupted);
    let partial = folder.path().join(".modelcache/partial");
    for entry in fs::read_dir(partial).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            fs::remove_file(path).unwrap();
        }
    }
    let outcome = Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap();
    assert_eq!(outcome.bytes_reused, 0);
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&hub, folder.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_durable_bytes_are_found_by_the_digest() {
    let hub = Hub::serve(&[("weights", 8 * PIECE)], |_| slow()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let first = Fetch::from(&hub);
    let (stopped, ()) = tokio::join!(first.run(&hub.files, &store, "abc"), async {
        until_served(&hub, 6 * PIECE).await;
        first.stop.cancel();
    });
    assert_eq!(stopped.unwrap_err().class(), FailureClass::Interrupted);
    for entry in fs::read_dir(folder.path().join(".modelcache/partial")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none() {
            let mut damaged = fs::read(&path).unwrap();
            for byte in &mut damaged {
                *byte ^= 0x55;
            }
            fs::write(path, damaged).unwrap();
        }
    }
    let store = store.with_boot(Boot::named("after a power cut"));
    Fetch::from(&hub).run(&hub.files, &store, "abc").await.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&hub, folder.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_between_durable_bytes_is_filled_from_a_server_that_ignores_ranges() {
    const FILE: &[(&str, u64)] = &[("weights", 6 * PIECE)];
    let hub = Hub::serve(FILE, |request| {
        if request.range.start == PIECE {
            Answer::StallAfter(0)
        } else {
            Answer::Right
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut first = Fetch::from(&hub);
    first.settings.stall_timeout = Duration::from_mins(1);
    let (stopped, ()) = tokio::join!(first.run(&hub.files, &store, "abc"), async {
        let begin = Instant::now();
        while first.counted().bytes_received < 5 * PIECE {
            assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", first.counted());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first.stop.cancel();
    });
    assert_eq!(stopped.unwrap_err().class(), FailureClass::Interrupted);

    let whole = Hub::serve(FILE, |_| Answer::Whole).await;
    let second = Fetch::from(&whole);
    second.run(&whole.files, &store, "abc").await.unwrap();
    store.publish("abc", &whole.files, "hub").unwrap();
    check(&whole, folder.path());
    let requests = whole.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.range.end < 6 * PIECE || request.range.start > PIECE),
        "the hole was not requested on its own: {requests:?}"
    );
    assert_eq!(
        second.counted().bytes_fetched(),
        whole.size(),
        "bytes beyond the hole must be discarded"
    );
}
