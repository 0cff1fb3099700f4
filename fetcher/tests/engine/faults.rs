//! Fetches from servers with faults.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::header::AUTHORIZATION;
use modelcache_crds::report::FailureClass;
use modelcache_fetcher::model::error::FetchError;
use modelcache_fetcher::store::{Abilities, Store, Writes};
use rstest::rstest;

use crate::hub::{Answer, BLOCK, Fetch, Hub, HubSource, PIECE, RangeRequest, check, fetch_and_check};

const FILES: &[(&str, u64)] = &[
    ("empty", 0),
    ("one-byte", 1),
    ("config.json", BLOCK - 1),
    ("a-block", BLOCK),
    ("a-block-and-one", BLOCK + 1),
    ("sub/folder/a-piece", PIECE),
    ("weights.safetensors", 20 * PIECE + 123),
];

fn every_third(answer: Answer) -> impl Fn(&RangeRequest) -> Answer {
    move |request| {
        if request.number % 3 == 1 {
            answer.clone()
        } else {
            Answer::Right
        }
    }
}

async fn failure(hub: &Hub, fetch: &Fetch) -> FetchError {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = fetch.run(&hub.files, &store, "abc").await.unwrap_err();
    assert!(!folder.path().join("current").exists());
    assert!(!error.to_string().contains("secret"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_every_size_arrive_and_no_byte_is_requested_twice() {
    let hub = Hub::serve(FILES, |_| Answer::Right).await;
    let outcome = fetch_and_check(&hub, &Fetch::from(&hub)).await;
    assert_eq!(outcome.bytes_fetched, hub.size());
    assert_eq!(outcome.bytes_reused, 0);
    assert_eq!(hub.served(), hub.size());
    assert!(
        hub.requests()
            .iter()
            .all(|request| request.range.end - request.range.start <= PIECE)
    );
    assert!(
        hub.requests()
            .iter()
            .all(|request| request.headers["accept-encoding"] == "identity")
    );
}

#[rstest]
#[case::server_error(Answer::Status(503, vec![]))]
#[case::server_error_with_pause(Answer::Status(503, vec![("retry-after", "0".to_owned())]))]
#[case::too_many_requests(Answer::Status(429, vec![("retry-after", "0".to_owned())]))]
#[case::expired_address(Answer::Status(403, vec![]))]
#[case::beyond_the_end(Answer::Status(416, vec![("content-range", "bytes */7".to_owned())]))]
#[case::range_with_200(Answer::RangeWith200)]
#[case::shifted(Answer::Shifted)]
#[case::error_page(Answer::ErrorPage)]
#[case::compressed(Answer::Compressed)]
#[case::cut_at_once(Answer::CutAfter(0))]
#[case::cut_in_a_block(Answer::CutAfter(BLOCK + 17))]
#[case::stall_in_a_block(Answer::StallAfter(BLOCK + 17))]
#[case::stall_at_once(Answer::StallAfter(0))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_third_answer_is_wrong_and_every_byte_arrives(#[case] answer: Answer) {
    // A one-byte file has no other range to be shifted to.
    let files: Vec<_> = FILES.iter().copied().filter(|(_, size)| *size > 5 * PIECE).collect();
    let hub = Hub::serve(&files, every_third(answer)).await;
    fetch_and_check(&hub, &Fetch::from(&hub)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_body_is_resumed_where_it_was_cut() {
    let cut = AtomicBool::new(false);
    let hub = Hub::serve(&[("a", PIECE)], move |_| {
        if cut.swap(true, Ordering::Relaxed) {
            Answer::Right
        } else {
            Answer::CutAfter(BLOCK + 17)
        }
    })
    .await;
    fetch_and_check(&hub, &Fetch::from(&hub)).await;
    let ranges: Vec<_> = hub.requests().into_iter().map(|request| request.range).collect();
    assert_eq!(ranges, [0..PIECE, BLOCK + 17..PIECE]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trickling_connection_is_dropped_and_its_bytes_are_kept() {
    let hub = Hub::serve(&[("a", PIECE)], |request| {
        if request.number == 0 {
            // Each pause is far shorter than the stall timeout.
            Answer::Slow(1, Duration::from_millis(50))
        } else {
            Answer::Right
        }
    })
    .await;
    let mut fetch = Fetch::from(&hub);
    // No other connection can steal the piece.
    fetch.settings.connections = 1;
    let begin = Instant::now();
    fetch_and_check(&hub, &fetch).await;
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let ranges: Vec<_> = hub.requests().into_iter().map(|request| request.range).collect();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert!((1..BLOCK).contains(&ranges[1].start), "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_slow_connection_does_not_delay_the_file() {
    let hub = Hub::serve(&[("a", 2 * PIECE)], |request| {
        if request.number == 0 {
            Answer::Slow(1, Duration::from_millis(50))
        } else {
            Answer::Right
        }
    })
    .await;
    let mut fetch = Fetch::from(&hub);
    // So long that the slow connection is not dropped as stalled.
    fetch.settings.stall_timeout = Duration::from_mins(1);
    fetch.settings.retry.attempts = 1;
    fetch_and_check(&hub, &fetch).await;
    let slow = hub.requests().first().map(|request| request.range.clone()).unwrap();
    let again = hub
        .requests()
        .into_iter()
        .skip(1)
        .any(|request| request.range.start == slow.start);
    assert!(again, "the slow range was not requested again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_ranges_is_read_in_one_stream() {
    let hub = Hub::serve(FILES, |_| Answer::Whole).await;
    let fetch = Fetch::from(&hub);
    fetch_and_check(&hub, &fetch).await;
    let last = hub
        .requests()
        .into_iter()
        .rfind(|request| request.path.starts_with("weights"))
        .unwrap();
    assert_eq!(last.range, 0..20 * PIECE + 123);
}

/// Fetches files of several sizes onto a disk with these abilities. Returns the requests.
async fn requests_on_a_disk_that_writes(writes: Writes) -> Vec<RangeRequest> {
    let hub = Hub::serve(&[("one", 12 * PIECE + 5), ("two", 3 * PIECE), ("small", 700)], |_| {
        Answer::Right
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap().with_abilities(Abilities {
        reserves: false,
        writes,
        bypasses_cache: false,
    });
    let fetch = Fetch::from(&hub);
    fetch.run(&hub.files, &store, "abc").await.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&hub, folder.path());
    hub.requests()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_writes_in_order_only_gets_each_file_from_its_start() {
    let requests = requests_on_a_disk_that_writes(Writes::InOrder).await;
    assert_eq!(
        requests.len(),
        3,
        "each file must be requested once, as a whole: {requests:?}"
    );
    assert!(requests.iter().all(|request| request.range.start == 0), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_preallocation_is_still_written_at_many_offsets() {
    let requests = requests_on_a_disk_that_writes(Writes::Anywhere).await;
    assert!(requests.len() >= 17, "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_address_is_located_again_once() {
    let hub = Hub::serve(&[("weights", 20 * PIECE)], |request| {
        if request.number == 5 {
            Answer::Status(403, vec![])
        } else {
            Answer::Right
        }
    })
    .await;
    let fetch = Fetch::from(&hub);
    fetch_and_check(&hub, &fetch).await;
    assert_eq!(fetch.source.located.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let cdn = Hub::serve(&[("weights", 5 * PIECE)], |_| Answer::Right).await;
    let target = format!("http://localhost:{}/0/weights?signature=secret", cdn.address.port());
    let hub = Hub::serve(&[("weights", 5 * PIECE)], move |_| {
        Answer::Status(302, vec![("location", target.clone())])
    })
    .await;
    fetch_and_check(&hub, &Fetch::through(HubSource::with_token(hub.address))).await;
    assert!(
        hub.requests()
            .iter()
            .all(|request| request.headers.contains_key(AUTHORIZATION))
    );
    assert!(!cdn.requests().is_empty());
    assert!(
        cdn.requests()
            .iter()
            .all(|request| !request.headers.contains_key(AUTHORIZATION))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_that_never_end_are_given_up() {
    let hub = Hub::serve(&[("a", 10)], |_| {
        Answer::Status(302, vec![("location", "/0/a".to_owned())])
    })
    .await;
    let error = failure(&hub, &Fetch::from(&hub)).await;
    assert_eq!(error.class(), FailureClass::SourceError);
    assert!(error.to_string().contains("redirects more than 10 times"), "{error}");
}

#[rstest]
#[case::a_file("file:///etc/passwd", "neither https nor http")]
#[case::another_protocol("ftp://hub.invalid/a", "neither https nor http")]
#[case::nowhere("https://", "redirects to an invalid URL")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_an_unsupported_target_is_refused_and_reported(
    #[case] target: &'static str,
    #[case] expected: &str,
) {
    let hub = Hub::serve(&[("a", 10)], |_| {
        Answer::Status(302, vec![("location", target.to_owned())])
    })
    .await;
    let error = failure(&hub, &Fetch::from(&hub)).await;
    assert_eq!(error.class(), FailureClass::SourceError);
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_name_that_does_not_resolve_is_reported() {
    let hub = Hub::serve(&[("a", 10)], |_| {
        Answer::Status(
            302,
            vec![("location", "http://cdn.invalid/a?signature=secret".to_owned())],
        )
    })
    .await;
    let error = failure(&hub, &Fetch::from(&hub)).await;
    assert_eq!(error.class(), FailureClass::SourceUnreachable);
    assert!(error.to_string().contains("check the endpoint's name"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_keeps_the_pause_that_the_server_asks_for() {
    let first = std::sync::Mutex::new(None);
    let early = std::sync::Arc::new(AtomicU64::new(0));
    let hub = Hub::serve(&[("weights", 40 * PIECE)], {
        let early = std::sync::Arc::clone(&early);
        move |request| {
            let mut first = first.lock().unwrap();
            match *first {
                None if request.number < 8 => Answer::Right,
                None => {
                    *first = Some(Instant::now());
                    Answer::Status(429, vec![("retry-after", "1".to_owned())])
                }
                Some(begin) => {
                    // Requests that were in flight when the server request for the pause cannot keep it.
                    if begin.elapsed() > Duration::from_millis(300) && begin.elapsed() < Duration::from_secs(1) {
                        early.fetch_add(1, Ordering::Relaxed);
                    }
                    Answer::Right
                }
            }
        }
    })
    .await;
    fetch_and_check(&hub, &Fetch::from(&hub)).await;
    assert_eq!(early.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_always_fails_is_given_up_with_file_and_offset() {
    let hub = Hub::serve(&[("weights", 4 * PIECE)], |request| {
        if request.range.end > 2 * PIECE {
            Answer::Status(500, vec![])
        } else {
            Answer::Right
        }
    })
    .await;
    let fetch = Fetch::from(&hub);
    let report = failure(&hub, &fetch).await.to_report();
    assert_eq!(report.class, FailureClass::SourceError);
    assert_eq!(report.file.as_deref(), Some("weights"));
    assert!(
        report
            .offset
            .is_some_and(|offset| offset >= i64::try_from(2 * PIECE).unwrap()),
        "{report:?}"
    );
    assert!(report.message.contains("gave up after 8 tries"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bandwidth_cap_holds_over_all_connections_and_does_not_count_as_a_stall() {
    let files = [("a", 1536), ("b", 1537), ("c", 1538), ("d", 1539)];
    let hub = Hub::serve(&files, |_| Answer::Slow(512, Duration::from_millis(1))).await;
    let mut fetch = Fetch::from(&hub);
    fetch.settings.parallel_files = files.len();
    // The share of each connection would count as a stall if the network were so slow.
    fetch.settings.max_bytes_per_second = Some(3000);
    let begin = Instant::now();
    let outcome = fetch_and_check(&hub, &fetch).await;
    let due = Duration::from_secs_f64(hub.size() as f64 / 3000.0);
    let took = begin.elapsed();
    assert!(took >= due.mul_f64(0.95), "{took:?} instead of {due:?}");
    assert_eq!(outcome.bytes_fetched, hub.size());
    assert_eq!(fetch.counted().retries, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_rate_limit_is_reported_with_its_pause() {
    for connections in [1, 8] {
        let hub = Hub::serve(&[("a", 40 * PIECE)], |_| {
            Answer::Status(429, vec![("retry-after", "3600".to_owned())])
        })
        .await;
        let mut fetch = Fetch::from(&hub);
        fetch.settings.connections = connections;
        fetch.settings.retry.retry_after_cap = Duration::from_mins(5);
        let report = failure(&hub, &fetch).await.to_report();
        assert_eq!(report.class, FailureClass::RateLimited);
        assert_eq!(report.retry_after_seconds, Some(3600));
        let requests = hub.requests().len();
        assert!(requests <= connections, "{requests} requests");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_ends_the_fetch_after_one_more_request() {
    let hub = Hub::serve(&[("weights", 4 * PIECE)], |_| Answer::Status(403, vec![])).await;
    let mut fetch = Fetch::through(HubSource::with_token(hub.address));
    fetch.settings.connections = 1;
    let error = failure(&hub, &fetch).await;
    assert_eq!(error.class(), FailureClass::AccessDenied);
    assert_eq!(hub.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_host_is_reported() {
    let hub = Hub::serve(&[("a", 10)], |_| Answer::Right).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = failure(&hub, &Fetch::through(HubSource::new(gone))).await;
    assert_eq!(error.class(), FailureClass::SourceUnreachable);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_found_before_the_first_byte() {
    let mut hub = Hub::serve(&[("weights", 10)], |_| Answer::Right).await;
    hub.files[0].size = 1 << 60;
    let error = failure(&hub, &Fetch::from(&hub)).await;
    assert_eq!(error.class(), FailureClass::DiskFull);
    assert!(error.to_string().contains("needs 1073741824.0Gi more"), "{error}");
    assert!(hub.requests().is_empty());
}
