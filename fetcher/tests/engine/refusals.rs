//! Servers that are asked too much, and addresses that expire.

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
async fn a_server_that_refuses_all_but_one_connection_is_asked_by_fewer_and_serves_all(
    #[case] status: u16,
    #[case] with_token: bool,
) {
    let hub = Hub::serve(&[("weights", 24 * PIECE), ("more", 8 * PIECE)], move |asked| {
        if asked.under_way == 0 {
            // A piece takes far longer than the refused ones would try again.
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
async fn five_refusals_are_waited_out() {
    let hub = Hub::serve(&[("weights", 8 * PIECE)], |asked| {
        if asked.number < 5 {
            Answer::Status(429, vec![("retry-after", "1".to_owned())])
        } else {
            Answer::Right
        }
    })
    .await;
    fetch_and_check(&hub, &Fetch::from(&hub)).await;
}

/// It asks for a pause each time, so that between two refusals it is always calm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_all_connections_again_and_again_is_given_up() {
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

/// Of a hub that asks for a token, what 403 means is told by asking alone.
#[rstest]
#[case::with_a_token(true)]
#[case::without(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_refuses_all_but_one_connection_is_not_dropped_though_there_is_a_mirror(#[case] with_token: bool) {
    let files: &[(&str, u64)] = &[("weights", 24 * PIECE), ("more", 8 * PIECE)];
    let hub = Hub::serve(files, |asked| {
        if asked.under_way == 0 {
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
async fn addresses_that_expire_after_six_requests_are_located_anew() {
    let used = Mutex::new(std::collections::HashMap::new());
    let hub = Hub::serve(&[("weights", 40 * PIECE + 17)], move |asked| {
        let mut used = used.lock().unwrap();
        let used: &mut u64 = used.entry(asked.address).or_default();
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
    assert_eq!(hub.served(), hub.size(), "no byte was asked for twice");
}

/// Two fetchers of one hub whose window is spent: the hub says so to each when it asks, and each leaves it alone with
/// all its connections for as long as it was told.
#[rstest]
#[case::retry_after(vec![("retry-after", "1".to_owned())])]
#[case::rate_limit(vec![("ratelimit", "\"resolvers\";r=0;t=0".to_owned()), ("retry-after", "60".to_owned())])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_fetchers_each_keep_the_pause_of_a_spent_rate_limit(#[case] headers: Vec<(&'static str, String)>) {
    const PAUSE: Duration = Duration::from_secs(1);
    let early = Arc::new(AtomicU64::new(0));
    let told: Mutex<std::collections::HashMap<String, Instant>> = Mutex::default();
    let hub = Hub::serve(&[("weights", 40 * PIECE)], {
        let early = Arc::clone(&early);
        move |asked| {
            let who = asked.headers["authorization"].to_str().unwrap().to_owned();
            let mut told = told.lock().unwrap();
            match told.get(&who) {
                None if asked.number < 16 => Answer::Right,
                None => {
                    told.insert(who, Instant::now());
                    Answer::Status(429, headers.clone())
                }
                Some(since) => {
                    // Requests that were on their way when the server asked for the pause cannot keep it.
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
        assert!(fetch.counted().retries > 0, "{token} was not told to wait");
    };
    tokio::join!(fetch("one"), fetch("two"));
    assert_eq!(early.load(Ordering::Relaxed), 0);
}
