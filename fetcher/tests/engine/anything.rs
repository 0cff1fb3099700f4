//! Random combinations of faults. A fetch ends with the right bytes or with a named error. It never stages wrong bytes,
//! never hangs, and leaves nothing behind that breaks a later fetch.

mod damage;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::disk::boot::Boot;
use modelcache_fetcher::model::error::FetchError;
use modelcache_fetcher::model::remote_file::RemoteFile;
use modelcache_fetcher::store::Store;
use modelcache_fetcher::transfer::{Origin, Outcome};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use self::damage::{Damage, any_damage};
use crate::hub::{Answer, BLOCK, Fetch, Hub, PIECE, check, mirror};

/// Time after which a fetch counts as hanging, far longer than any of these fetches takes.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A fetch with its faults.
#[derive(Clone, Debug)]
struct Scenario {
    sizes: Vec<u64>,
    /// For each origin, the responses that it repeats in a cycle.
    origins: Vec<Vec<Answer>>,
    /// Stops of the fetch, each after a share of the bytes, with the damage to the disk that follows.
    interruptions: Vec<(f64, Vec<Damage>)>,
    seed: u64,
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let status = prop_oneof![
        Just((429, vec![("retry-after", "0".to_owned())])),
        Just((503, vec![("retry-after", "0".to_owned())])),
        proptest::sample::select(vec![400, 401, 403, 404, 408, 410, 412, 416, 500, 502, 503, 204, 304])
            .prop_map(|status| (status, vec![])),
        Just((302, vec![("location", "/7/file-0?again".to_owned())])),
        Just((302, vec![("location", "ftp://elsewhere/a".to_owned())])),
        Just((307, vec![])),
    ];
    let bytes = 0..2 * PIECE;
    prop_oneof![
        20 => Just(Answer::Right),
        2 => (1..PIECE, 0_u64..4).prop_map(|(bytes, pause)| Answer::Slow(bytes, Duration::from_millis(pause))),
        2 => bytes.clone().prop_map(Answer::CutAfter),
        1 => bytes.clone().prop_map(Answer::StallAfter),
        1 => bytes.prop_map(Answer::Shorter),
        1 => Just(Answer::Shifted),
        1 => Just(Answer::RangeWith200),
        1 => Just(Answer::Whole),
        1 => Just(Answer::ErrorPage),
        1 => Just(Answer::PageOfFileLength),
        1 => Just(Answer::PageOfRangeLength),
        1 => Just(Answer::Compressed),
        1 => Just(Answer::Longer),
        1 => Just(Answer::Flipped),
        1 => Just(Answer::Repeated),
        2 => status.prop_map(|(status, headers)| Answer::Status(status, headers)),
    ]
}

fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0),
        1 => 1..BLOCK,
        1 => Just(3 * BLOCK),
        5 => PIECE..12 * PIECE,
    ]
}

fn any_scenario(origins: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Scenario> {
    let answers = proptest::collection::vec(any_answer(), 1..12);
    let interruption = (0.0..1.0, proptest::collection::vec(any_damage(), 0..3));
    (
        proptest::collection::vec(any_size(), 1..4),
        proptest::collection::vec(answers, origins),
        proptest::collection::vec(interruption, 0..3),
        any::<u64>(),
    )
        .prop_map(|(sizes, origins, interruptions, seed)| Scenario {
            sizes,
            origins,
            interruptions,
            seed,
        })
}

impl Scenario {
    async fn hub(&self, answers: Vec<Answer>) -> Hub {
        let names: Vec<String> = (0..self.sizes.len()).map(|number| format!("file-{number}")).collect();
        let files: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(self.sizes.iter().copied())
            .collect();
        Hub::serve(&files, move |request| {
            answers[usize::try_from(request.number).unwrap() % answers.len()].clone()
        })
        .await
    }

    fn fetch(&self, hub: &Hub, mirrors: &[Origin]) -> Fetch {
        let mut fetch = Fetch::from(hub);
        fetch.mirrors = mirrors.to_vec();
        fetch.settings.seed = self.seed;
        fetch.settings.stall_timeout = Duration::from_millis(100);
        fetch.settings.retry.attempts = 3;
        fetch.settings.retry.cap = Duration::from_millis(4);
        fetch
    }
}

async fn run(scenario: Scenario) -> Result<(), TestCaseError> {
    let mut hubs = Vec::new();
    for answers in &scenario.origins {
        hubs.push(scenario.hub(answers.clone()).await);
    }
    let hub = &hubs[0];
    let mirrors: Vec<_> = hubs[1..].iter().map(|hub| mirror("mirror", hub)).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    for (number, (share, damages)) in scenario.interruptions.iter().enumerate() {
        let fetch = scenario.fetch(hub, &mirrors);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a size"
        )]
        let until = (hub.size() as f64 * share) as u64;
        let stop = async {
            let begin = Instant::now();
            while fetch.counted().bytes_verified < until && begin.elapsed() < PAUSE {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            fetch.stop.cancel();
        };
        let (ended, ()) = tokio::join!(with_timeout(fetch.run(&hub.files, &store, "abc")), stop);
        check_end(hub, folder.path(), ended?.as_ref().err())?;
        for damage in damages {
            damage.apply(folder.path());
        }
        if !damages.is_empty() {
            // Such damage happens only in a power cut or on another machine.
            store = store.with_boot(Boot::named(&format!("start {number}")));
        }
    }
    let ended = with_timeout(scenario.fetch(hub, &mirrors).run(&hub.files, &store, "abc")).await?;
    check_end(hub, folder.path(), ended.as_ref().err())?;

    // After all that, a fetch from a correct server into the same folder succeeds.
    let honest = scenario.hub(vec![Answer::Right]).await;
    let ended = with_timeout(scenario.fetch(&honest, &[]).run(&hub.files, &store, "abc")).await?;
    prop_assert!(ended.is_ok(), "{:?}", ended.unwrap_err());
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&honest, folder.path());
    Ok(())
}

/// Time after which a fetch without progress is stopped anyway.
const PAUSE: Duration = Duration::from_millis(300);

async fn with_timeout(
    fetch: impl Future<Output = Result<Outcome, FetchError>>,
) -> Result<Result<Outcome, FetchError>, TestCaseError> {
    tokio::time::timeout(TIMEOUT, fetch)
        .await
        .map_err(|_| TestCaseError::fail("the fetch hangs"))
}

/// Checks that an error has a class and shows no secret, and that every staged file has the right bytes.
fn check_end(hub: &Hub, root: &Path, error: Option<&FetchError>) -> Result<(), TestCaseError> {
    prop_assert!(!root.join("current").exists());
    let revisions = fs::read_dir(root.join(".modelcache/staging")).unwrap();
    let revisions: Vec<_> = revisions.map(|entry| entry.unwrap().path()).collect();
    let staged = |file: &RemoteFile| {
        revisions
            .iter()
            .find_map(|revision| fs::read(revision.join(file.path.as_str())).ok())
    };
    for file in &hub.files {
        let staged = staged(file);
        let is_right = staged
            .as_ref()
            .is_none_or(|bytes| bytes == hub.content(file.path.as_str()));
        prop_assert!(is_right, "{} is staged with wrong bytes", file.path);
        prop_assert!(error.is_some() || staged.is_some(), "{} is missing", file.path);
    }
    if let Some(error) = error {
        prop_assert_ne!(error.class(), FailureClass::Internal, "{}", error);
        prop_assert!(!error.to_string().contains("secret"), "{}", error);
    }
    Ok(())
}

fn run_all(cases: u32, scenarios: impl Strategy<Value = Scenario>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = ProptestConfig {
        cases,
        // A failing case depends on timing, so shrinking takes minutes and finds little.
        max_shrink_iters: 8,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&scenarios, |scenario| runtime.block_on(run(scenario)));
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn a_fetch_from_one_origin_ends_with_the_right_bytes_or_a_named_error_whatever_happens() {
    run_all(40, any_scenario(1));
}

#[test]
fn a_fetch_from_several_origins_ends_with_the_right_bytes_or_a_named_error_whatever_happens() {
    run_all(16, any_scenario(2..4));
}
