//! Limits on the concurrency of a fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rstest::rstest;

use crate::hub::{Answer, BLOCK, Fetch, Hub, PIECE, fetch_and_check};

#[rstest]
#[case::one(1)]
#[case::some(4)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_stay_within_the_limit_and_are_reused(#[case] connections: usize) {
    let hub = Hub::serve(&[("weights", 80 * PIECE), ("more", 20 * PIECE)], |_| {
        Answer::Slow(PIECE / 2, Duration::from_millis(2))
    })
    .await;
    let mut fetch = Fetch::from(&hub);
    fetch.settings.connections = connections;
    fetch_and_check(&hub, &fetch).await;
    let requests = hub.requests();
    let peers: BTreeSet<_> = requests.iter().map(|request| request.peer).collect();
    // On a busy machine the next request may be sent before the client has put its connection back into the pool.
    let most = connections + requests.len() / 10;
    assert!(
        peers.len() <= most,
        "{} connections for {} requests",
        peers.len(),
        requests.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn active_files_stay_within_the_limit() {
    let names: Vec<String> = (0..8).map(|number| format!("file-{number}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 8 * PIECE)).collect();
    let hub = Hub::serve(&files, |_| Answer::Slow(PIECE / 2, Duration::from_millis(1))).await;
    let mut fetch = Fetch::from(&hub);
    fetch.settings.parallel_files = 3;
    fetch_and_check(&hub, &fetch).await;
    let mut spans: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let requests = hub.requests();
    for request in &requests {
        let span = spans
            .entry(request.path.clone())
            .or_insert((request.number, request.number));
        span.1 = request.number;
    }
    let active = |number: u64| {
        spans
            .values()
            .filter(|(first, last)| (*first..=*last).contains(&number))
            .count()
    };
    let most = requests.iter().map(|request| active(request.number)).max();
    assert_eq!(most, Some(3));
}

#[rstest]
#[case::small_files_have_their_own_limit(3, true)]
#[case::one_limit_for_all_files(0, false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_are_fetched_next_to_large_ones(#[case] parallel_small_files: usize, #[case] is_concurrent: bool) {
    let names: Vec<String> = (0..9).map(|number| format!("small-{number}")).collect();
    let small = names.iter().map(|name| (name.as_str(), BLOCK / 2));
    let large = [("large-0", 40 * PIECE), ("large-1", 40 * PIECE)];
    let hub = Hub::serve(&large.into_iter().chain(small).collect::<Vec<_>>(), |request| {
        if request.path == "large-0" || request.path == "large-1" {
            Answer::Slow(PIECE / 2, Duration::from_millis(2))
        } else {
            Answer::Right
        }
    })
    .await;
    let mut fetch = Fetch::from(&hub);
    (fetch.settings.parallel_files, fetch.settings.parallel_small_files) = (2, parallel_small_files);
    fetch_and_check(&hub, &fetch).await;
    let requests = hub.requests();
    let numbers = |matches: fn(&str) -> bool| {
        let matching = requests.iter().filter(move |request| matches(&request.path));
        matching.map(|request| request.number).collect::<Vec<_>>()
    };
    let small = numbers(|path| path.starts_with("small"));
    assert_eq!(small.len(), names.len());
    let done = [numbers(|path| path == "large-0"), numbers(|path| path == "large-1")];
    let first_done = done.iter().filter_map(|numbers| numbers.last()).min();
    let (first_small, last_small) = (small.first(), small.last());
    if is_concurrent {
        assert!(last_small < first_done, "{last_small:?} {first_done:?}");
    } else {
        assert!(first_small > first_done, "{first_small:?} {first_done:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_raise_the_number_of_connections() {
    const SIZE: u64 = 1600 * PIECE;
    const MAX_CONNECTIONS: usize = 44;
    let hub = Hub::serve(&[("weights", SIZE)], |_| Answer::Slow(BLOCK, Duration::from_millis(20))).await;
    let mut fetch = Fetch::from(&hub);
    fetch.settings.connections = MAX_CONNECTIONS;
    fetch.settings.window_bytes = SIZE;
    fetch.settings.unsynced_bytes = 256 * BLOCK;
    fetch_and_check(&hub, &fetch).await;
    let most = hub
        .requests()
        .iter()
        .map(|request| request.active_bodies)
        .max()
        .unwrap_or_default();
    assert!(
        (17..=MAX_CONNECTIONS).contains(&usize::try_from(most).unwrap()),
        "{most}"
    );
}
