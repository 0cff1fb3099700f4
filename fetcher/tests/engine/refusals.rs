//! Servers that refuse requests, and addresses that expire.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::store::Store;
use rstest::rstest;

use crate::hub::{Answer, Fetch, Hub, HubSource, PIECE, check, fetch_and_check, mirror};

#[rstest]
#[case::forbidden(403, false)]
#[case::forbidden_with_a_token(403, true)]
#[case::too_many_requests(429, false)]
#[case::unavailable(503, true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_all_but_one_connection_gets_fewer_and_serves_all(
    #[case] status: u16,
    #[case] with_token: bool,
) {
    let hub = Hub::serve(&[("weights", 24 * PIECE), ("more", 8 * PIECE)], move |request| {
        if request.active_bodies == 0 {
            // A piece takes far longer than the retries of the refused connections.
            Answer::Slow(PIECE / 8, Duration::from_millis(10))
        } else {
            Answer::Status(status, vec![])
        }
    })
    .await;
    let mut fetch = if with_token {
        Fetch::through(HubSource::with_token(hub.address))
    } else {
        Fetch::from(&hub)
    };
    fetch.settings.connections = 8;
    fetch.settings.retry.attempts = 4;
    fetch_and_check(&hub, &fetch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_refusals_are_survived() {
    let hub = Hub::serve(&[("weights", 8 * PIECE)], |request| {
        if request.number < 5 {
            Answer::Status(429, vec![("retry-after", "1".to_owned())])
        } else {
            Answer::Right
        }
    })
    .await;
    fetch_and_check(&hub, &Fetch::from(&hub)).await;
}

/// The server asks for a pause each time, so that there is always a quiet time between two refusals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_repeatedly_refuses_all_connections_is_given_up() {
    let hub = Hub::serve(&[("weights", 40 * PIECE)], |_| {
        Answer::Status(429, vec![("retry-after", "2".to_owned())])
    })
    .await;
    let mut fetch = Fetch::from(&hub);
    fetch.settings.connections = 4;
    fetch.settings.retry.attempts = 3;
    fetch.settings.retry.retry_after_cap = Duration::from_mins(5);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = fetch.run(&hub.files, &store, "abc").await.unwrap_err();
    let report = error.to_report();
    assert_eq!(report.class, FailureClass::RateLimited, "{error}");
    assert_eq!(report.retry_after_seconds, Some(2));
}

/// With a token, a 403 may mean missing access, so the engine tries a single connection.
#[rstest]
#[case::with_a_token(true)]
#[case::without(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_refuses_all_but_one_connection_is_not_dropped_despite_a_mirror(#[case] with_token: bool) {
    let files: &[(&str, u64)] = &[("weights", 24 * PIECE), ("more", 8 * PIECE)];
    let hub = Hub::serve(files, |request| {
        if request.active_bodies == 0 {
            Answer::Slow(PIECE / 8, Duration::from_millis(10))
        } else {
            Answer::Status(403, vec![])
        }
    })
    .await;
    let twin = Hub::serve(&[("config", 100)], |_| Answer::Right).await;
    let mut fetch = if with_token {
        Fetch::through(HubSource::with_token(hub.address))
    } else {
        Fetch::from(&hub)
    };
    fetch.mirrors = vec![mirror("twin", &twin)];
    fetch.settings.connections = 8;
    let outcome = fetch_and_check(&hub, &fetch).await;
    assert!(outcome.origins.iter().all(|origin| origin.dropped().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_expire_after_six_requests_are_located_again() {
    let used = Mutex::new(std::collections::HashMap::new());
    let hub = Hub::serve(&[("weights", 40 * PIECE + 17)], move |request| {
        let mut used = used.lock().unwrap();
        let used: &mut u64 = used.entry(request.address).or_default();
        *used += 1;
        if *used > 6 {
            Answer::Status(403, vec![])
        } else {
            Answer::Right
        }
    })
    .await;
    let fetch = Fetch::from(&hub);
    fetch_and_check(&hub, &fetch).await;
    let located = fetch.source.located.load(Ordering::Relaxed);
    assert!((7..=14).contains(&located), "located {located} times");
    assert_eq!(hub.served(), hub.size(), "bytes were requested twice");
}

/// Two fetchers of one hub whose rate limit is exhausted. Each fetcher gets the response itself, and pauses all its
/// connections for the stated time.
#[rstest]
#[case::retry_after(vec![("retry-after", "1".to_owned())])]
#[case::rate_limit(vec![("ratelimit", "\"resolvers\";r=0;t=0".to_owned()), ("retry-after", "60".to_owned())])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_fetchers_each_keep_the_pause_of_an_exhausted_rate_limit(#[case] headers: Vec<(&'static str, String)>) {
    const PAUSE: Duration = Duration::from_secs(1);
    let early = Arc::new(AtomicU64::new(0));
    let refused: Mutex<std::collections::HashMap<String, Instant>> = Mutex::default();
    let hub = Hub::serve(&[("weights", 40 * PIECE)], {
        let early = Arc::clone(&early);
        move |request| {
            let who = request.headers["authorization"].to_str().unwrap().to_owned();
            let mut refused = refused.lock().unwrap();
            match refused.get(&who) {
                None if request.number < 16 => Answer::Right,
                None => {
                    refused.insert(who, Instant::now());
                    Answer::Status(429, headers.clone())
                }
                Some(since) => {
                    // Requests that were in flight when the server request for the pause cannot keep it.
                    if since.elapsed() > PAUSE / 3 && since.elapsed() < PAUSE {
                        early.fetch_add(1, Ordering::Relaxed);
                    }
                    Answer::Right
                }
            }
        }
    })
    .await;
    let fetch = async |token: &'static str| {
        let mut source = HubSource::with_token(hub.address);
        source
            .headers
            .insert("authorization", axum::http::HeaderValue::from_static(token));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let fetch = Fetch::through(source);
        fetch.run(&hub.files, &store, "abc").await.unwrap();
        store.publish("abc", &hub.files, "hub").unwrap();
        check(&hub, folder.path());
        assert!(
            fetch.counted().retries > 0,
            "the fetcher with token {token} was not refused"
        );
    };
    tokio::join!(fetch("one"), fetch("two"));
    assert_eq!(early.load(Ordering::Relaxed), 0);
}
