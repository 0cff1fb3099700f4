//! How much a fetch does at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rstest::rstest;

use crate::hub::{Answer, BLOCK, Fetch, Hub, PIECE, fetch_and_check};

#[rstest]
#[case::one(1)]
#[case::some(4)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_are_made_than_allowed_and_each_is_asked_again_and_again(#[case] connections: usize) {
    let hub = Hub::serve(&[("weights", 80 * PIECE), ("more", 20 * PIECE)], |_| {
        Answer::Slow(PIECE / 2, Duration::from_millis(2))
    })
    .await;
    let mut fetch = Fetch::from(&hub);
    fetch.settings.connections = connections;
    fetch_and_check(&hub, &fetch).await;
    let peers: BTreeSet<_> = hub.asked().iter().map(|asked| asked.peer).collect();
    assert!(peers.len() <= connections, "{} connections", peers.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_files_are_under_way_than_allowed() {
    let names: Vec<String> = (0..8).map(|number| format!("file-{number}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 8 * PIECE)).collect();
    let hub = Hub::serve(&files, |_| Answer::Slow(PIECE / 2, Duration::from_millis(1))).await;
    let mut fetch = Fetch::from(&hub);
    fetch.settings.parallel_files = 3;
    fetch_and_check(&hub, &fetch).await;
    let mut spans: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let asked = hub.asked();
    for asked in &asked {
        let span = spans.entry(asked.path.clone()).or_insert((asked.number, asked.number));
        span.1 = asked.number;
    }
    let under_way = |number: u64| {
        spans
            .values()
            .filter(|(first, last)| (*first..=*last).contains(&number))
            .count()
    };
    let most = asked.iter().map(|asked| under_way(asked.number)).max();
    assert_eq!(most, Some(3));
}

#[rstest]
#[case::small_ones_have_room_of_their_own(3, true)]
#[case::the_cap_is_for_all(0, false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_are_fetched_beside_large_ones(#[case] parallel_small_files: usize, #[case] are_beside: bool) {
    let names: Vec<String> = (0..9).map(|number| format!("small-{number}")).collect();
    let small = names.iter().map(|name| (name.as_str(), BLOCK / 2));
    let large = [("large-0", 40 * PIECE), ("large-1", 40 * PIECE)];
    let hub = Hub::serve(&large.into_iter().chain(small).collect::<Vec<_>>(), |asked| {
        if asked.path == "large-0" || asked.path == "large-1" {
            Answer::Slow(PIECE / 2, Duration::from_millis(2))
        } else {
            Answer::Right
        }
    })
    .await;
    let mut fetch = Fetch::from(&hub);
    (fetch.settings.parallel_files, fetch.settings.parallel_small_files) = (2, parallel_small_files);
    fetch_and_check(&hub, &fetch).await;
    let asked = hub.asked();
    let numbers = |is_meant: fn(&str) -> bool| {
        let meant = asked.iter().filter(move |asked| is_meant(&asked.path));
        meant.map(|asked| asked.number).collect::<Vec<_>>()
    };
    let small = numbers(|path| path.starts_with("small"));
    assert_eq!(small.len(), names.len());
    let done = [numbers(|path| path == "large-0"), numbers(|path| path == "large-1")];
    let first_done = done.iter().filter_map(|numbers| numbers.last()).min();
    let (first_small, last_small) = (small.first(), small.last());
    if are_beside {
        assert!(last_small < first_done, "{last_small:?} {first_done:?}");
    } else {
        assert!(first_small > first_done, "{first_small:?} {first_done:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_at_first_are_made_where_each_brings_little() {
    const SIZE: u64 = 1600 * PIECE;
    const MOST: usize = 44;
    let hub = Hub::serve(&[("weights", SIZE)], |_| Answer::Slow(BLOCK, Duration::from_millis(20))).await;
    let mut fetch = Fetch::from(&hub);
    fetch.settings.connections = MOST;
    fetch.settings.window_bytes = SIZE;
    fetch.settings.unsynced_bytes = 256 * BLOCK;
    fetch_and_check(&hub, &fetch).await;
    let most = hub
        .asked()
        .iter()
        .map(|asked| asked.under_way)
        .max()
        .unwrap_or_default();
    assert!((17..=MOST).contains(&usize::try_from(most).unwrap()), "{most}");
}
