//! Fetches of one model from several origins.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modelcache_crds::report::OriginFault;
use modelcache_fetcher::model::error::FetchError;
use modelcache_fetcher::observe::progress::OriginSnapshot;
use modelcache_fetcher::store::Store;
use modelcache_fetcher::transfer::{Origin, Outcome};
use rstest::rstest;

use crate::hub::{Answer, BLOCK, Fetch, Hub, PIECE, RangeRequest, bytes, fetch_and_check, mirror};

const FILES: &[(&str, u64)] = &[("weights", 40 * PIECE + 17), ("config", 100)];

/// The right bytes, but so slowly that every origin delivers some of them.
fn slow(_: &RangeRequest) -> Answer {
    Answer::Slow(PIECE / 2, Duration::from_millis(2))
}

fn from(hub: &Hub, mirrors: Vec<Origin>) -> Fetch {
    let mut fetch = Fetch::from(hub);
    fetch.mirrors = mirrors;
    fetch
}

fn dropped(outcome: &Outcome) -> Vec<&str> {
    outcome
        .origins
        .iter()
        .filter(|origin| origin.dropped().is_some())
        .map(|origin| origin.name.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_one_file_come_from_all_origins() {
    let hub = Hub::serve(FILES, slow).await;
    let twin = Hub::serve(FILES, slow).await;
    let outcome = fetch_and_check(&hub, &from(&hub, vec![mirror("twin", &twin)])).await;
    assert_eq!(dropped(&outcome), [""; 0]);
    for origin in &outcome.origins {
        assert!(origin.bytes >= 5 * PIECE, "{origin:?}");
    }
    assert!(outcome.bytes_fetched < hub.size() + 8 * PIECE);
}

#[rstest]
#[case::a_mirror(false)]
#[case::the_hub(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_sends_wrong_bytes_is_named_and_dropped(#[case] is_hub: bool) {
    let flip = |request: &RangeRequest| {
        if request.range.start == 0 || request.number.is_multiple_of(2) {
            Answer::Flipped
        } else {
            Answer::Right
        }
    };
    let (hub, twin) = if is_hub {
        (Hub::serve(FILES, flip).await, Hub::serve(FILES, slow).await)
    } else {
        (Hub::serve(FILES, slow).await, Hub::serve(FILES, flip).await)
    };
    let outcome = fetch_and_check(&hub, &from(&hub, vec![mirror("twin", &twin)])).await;
    assert_eq!(dropped(&outcome), [if is_hub { "hub" } else { "twin" }]);
    let reason = outcome
        .origins
        .iter()
        .find_map(|origin| Some(origin.dropped()?.to_owned()))
        .unwrap();
    assert!(reason.contains("sent wrong bytes of "), "{reason}");
    let reports: Vec<_> = outcome.origins.iter().map(OriginSnapshot::to_report).collect();
    let faults: Vec<_> = reports.iter().filter_map(|report| report.dropped).collect();
    assert_eq!(faults, [OriginFault::SentWrongBytes]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_from_two_of_three_origins_are_survived() {
    let hub = Hub::serve(FILES, |_| Answer::Flipped).await;
    let (faulty, honest) = (
        Hub::serve(FILES, |_| Answer::Flipped).await,
        Hub::serve(FILES, slow).await,
    );
    let mirrors = vec![mirror("faulty", &faulty), mirror("honest", &honest)];
    let outcome = fetch_and_check(&hub, &from(&hub, mirrors)).await;
    let dropped = dropped(&outcome);
    assert!(!dropped.contains(&"honest"), "{:?}", outcome.origins);
    assert!(
        dropped.contains(&"hub") || dropped.contains(&"faulty"),
        "{:?}",
        outcome.origins
    );
}

#[rstest]
#[case::gone(404)]
#[case::refused(403)]
#[case::broken(500)]
#[case::overloaded(503)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_origin_is_not_used(#[case] status: u16) {
    let hub = Hub::serve(FILES, slow).await;
    let twin = Hub::serve(FILES, move |_| Answer::Status(status, vec![])).await;
    let outcome = fetch_and_check(&hub, &from(&hub, vec![mirror("twin", &twin)])).await;
    assert_eq!(outcome.origins[1].bytes, 0);
    // The endgame may request some bytes twice.
    assert!(outcome.bytes_fetched < hub.size() + 8 * PIECE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_replaces_a_hub_that_fails() {
    let hub = Hub::serve(FILES, |_| Answer::Status(404, vec![])).await;
    let twin = Hub::serve(FILES, slow).await;
    let outcome = fetch_and_check(&hub, &from(&hub, vec![mirror("twin", &twin)])).await;
    assert_eq!(outcome.origins[0].bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_ignores_ranges_is_not_used() {
    let hub = Hub::serve(FILES, slow).await;
    let twin = Hub::serve(FILES, |_| Answer::Whole).await;
    let outcome = fetch_and_check(&hub, &from(&hub, vec![mirror("twin", &twin)])).await;
    assert_eq!(dropped(&outcome), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_ignores_ranges_is_used_when_no_other_is_left() {
    let hub = Hub::serve(FILES, |request| {
        if request.number < 8 {
            slow(request)
        } else {
            Answer::Status(404, vec![])
        }
    })
    .await;
    let twin = Hub::serve(FILES, |_| Answer::Whole).await;
    let mut fetch = from(&hub, vec![mirror("twin", &twin)]);
    // Gives the hub up soon.
    fetch.settings.retry.attempts = 2;
    fetch_and_check(&hub, &fetch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_digest_or_size_is_not_requested() {
    let hub = Hub::serve(FILES, slow).await;
    let other = [("weights", bytes(99, 40 * PIECE + 17)), ("config", bytes(2, 101))];
    let twin = Hub::serve_contents(&other, |_| Answer::Right).await;
    let outcome = fetch_and_check(&hub, &from(&hub, vec![mirror("twin", &twin)])).await;
    assert_eq!((outcome.origins[1].bytes, twin.requests().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_stalls_does_not_delay_the_file() {
    let hub = Hub::serve(FILES, slow).await;
    let twin = Hub::serve(FILES, |_| Answer::StallAfter(10)).await;
    let mut fetch = from(&hub, vec![mirror("twin", &twin)]);
    fetch.settings.stall_timeout = Duration::from_mins(10);
    fetch_and_check(&hub, &fetch).await;
}

/// The twin sent wrong bytes of the weights, so they are fetched again from the hub only. Meanwhile the hub is dropped,
/// because it sent wrong bytes of the tokenizer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_only_trusted_origin_is_dropped_for_another_file_is_fetched_from_the_rest() {
    let files = [("tokenizer", 8 * PIECE), ("weights", 8 * PIECE)];
    let from_twin = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&from_twin);
    let flip_first = |number: usize| if number == 0 { Answer::Flipped } else { Answer::Right };
    let twin = Hub::serve(&files, move |request| {
        if request.path == "tokenizer" {
            // The tokenizer completes after the weights, so that the hub is dropped only then.
            return Answer::Slow(BLOCK / 2, Duration::from_millis(10));
        }
        let mut recorded = recorded.lock().unwrap();
        recorded.push(request.range.clone());
        flip_first(recorded.len() - 1)
    })
    .await;
    let (of_tokenizer, of_weights) = (Mutex::new(0), Mutex::new(0));
    let hub = Hub::serve(&files, move |request| {
        if request.path == "tokenizer" {
            let mut number = of_tokenizer.lock().unwrap();
            *number += 1;
            return flip_first(*number - 1);
        }
        let overlaps = |range: &Range<u64>| range.start < request.range.end && request.range.start < range.end;
        if from_twin.lock().unwrap().iter().any(overlaps) {
            let mut number = of_weights.lock().unwrap();
            *number += 1;
            if *number == 1 {
                // So slow that it does not end during this test.
                return Answer::Slow(1, Duration::from_millis(50));
            }
        }
        Answer::Slow(PIECE / 2, Duration::from_millis(2))
    })
    .await;
    let mut fetch = from(&hub, vec![mirror("twin", &twin)]);
    fetch.settings.stall_timeout = Duration::from_mins(10);
    let outcome = fetch_and_check(&hub, &fetch).await;
    let sent_wrong_bytes = hub.requests().iter().any(|request| request.path == "tokenizer");
    assert_eq!(
        dropped(&outcome).contains(&"hub"),
        sent_wrong_bytes,
        "{:?}",
        outcome.origins
    );
}

async fn fails(fetch: &Fetch, hub: &Hub) -> FetchError {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    fetch.run(&hub.files, &store, "abc").await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_that_all_repeatedly_ask_for_a_pause_are_given_up() {
    let pause = |_: &RangeRequest| Answer::Status(503, vec![("retry-after", "0".to_owned())]);
    let (hub, twin) = (Hub::serve(FILES, pause).await, Hub::serve(FILES, pause).await);
    let mut fetch = from(&hub, vec![mirror("twin", &twin)]);
    fetch.settings.retry.attempts = 2;
    let error = fails(&fetch, &hub).await;
    assert!(!error.class().is_permanent(), "{error}");
    assert!(error.to_string().contains("503"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_that_never_deliver_a_whole_block_are_given_up() {
    let cut = |request: &RangeRequest| {
        if request.number.is_multiple_of(2) {
            Answer::CutAfter(BLOCK / 4)
        } else {
            Answer::Status(500, vec![])
        }
    };
    let files = [("weights", 40 * PIECE)];
    let (hub, twin) = (Hub::serve(&files, cut).await, Hub::serve(&files, cut).await);
    let mut fetch = from(&hub, vec![mirror("twin", &twin)]);
    fetch.settings.retry.attempts = 2;
    let error = fails(&fetch, &hub).await;
    assert!(matches!(error, FetchError::Source { .. }), "{error}");
    let requests = hub.requests().len() + twin.requests().len();
    assert!(requests < 200, "{requests} requests");
}
