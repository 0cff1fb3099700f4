//! The bandwidth cap of a whole fetch, with paused time. Whether the cap is used in full is tested for the token bucket
//! alone, because the speed of the sockets here depends on the machine.

use std::time::Duration;

use modelcache_fetcher::store::Store;
use rstest::rstest;
use tokio::time::Instant;

use crate::hub::{Answer, Fetch, Hub, check};

const MEBIBYTE: u64 = 1 << 20;

/// Small enough to stay in memory for the hash. Otherwise the fetch would wait for threads, which ignore paused time.
const SIZE: u64 = 20 * MEBIBYTE;

#[rstest]
#[case::one_connection(1, 2 * MEBIBYTE)]
#[case::some_connections(4, 2 * MEBIBYTE)]
#[case::many_connections_on_a_slow_line(16, MEBIBYTE / 10)]
#[tokio::test(start_paused = true)]
async fn a_bandwidth_cap_holds_for_any_number_of_connections(
    #[case] connections: usize,
    #[case] bytes_per_second: u64,
) {
    let hub = Hub::serve(&[("weights", SIZE)], |_| Answer::Right).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut fetch = Fetch::from(&hub);
    fetch.settings.connections = connections;
    fetch.settings.block_bytes = MEBIBYTE;
    fetch.settings.piece_bytes = MEBIBYTE;
    fetch.settings.window_bytes = SIZE;
    fetch.settings.unsynced_bytes = 4 * SIZE;
    fetch.settings.stall_timeout = Duration::from_hours(1);
    fetch.settings.max_bytes_per_second = Some(bytes_per_second);
    let until = async |bytes: u64| {
        while fetch.counted().bytes_received < bytes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Instant::now()
    };
    let transfer = async {
        let first = until(1).await;
        until(SIZE).await - first
    };
    let (fetched, took) = tokio::join!(fetch.run(&hub.files, &store, "abc"), transfer);
    fetched.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&hub, folder.path());
    let due = Duration::from_secs_f64(SIZE as f64 / bytes_per_second as f64);
    assert!(took >= due.mul_f64(0.95), "{took:?} instead of {due:?}");
}
