//! Anything that can go wrong, at random and together: a fetch ends with the right bytes or with a named error, never
//! with wrong bytes where proven ones wait, and never stands still. What is left of it hinders no later fetch.

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

/// Far longer than any of these fetches takes, and far shorter than anybody waits for one that stands still.
const PATIENCE: Duration = Duration::from_mins(1);

/// A fetch with all that befalls it.
#[derive(Clone, Debug)]
struct Ordeal {
    sizes: Vec<u64>,
    /// For each origin, how it answers one request after the other, over and over.
    origins: Vec<Vec<Answer>>,
    /// Stopped after this share of the bytes; then the disk is damaged.
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

fn any_ordeal(origins: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Ordeal> {
    let answers = proptest::collection::vec(any_answer(), 1..12);
    let interruption = (0.0..1.0, proptest::collection::vec(any_damage(), 0..3));
    (
        proptest::collection::vec(any_size(), 1..4),
        proptest::collection::vec(answers, origins),
        proptest::collection::vec(interruption, 0..3),
        any::<u64>(),
    )
        .prop_map(|(sizes, origins, interruptions, seed)| Ordeal {
            sizes,
            origins,
            interruptions,
            seed,
        })
}

impl Ordeal {
    async fn hub(&self, answers: Vec<Answer>) -> Hub {
        let names: Vec<String> = (0..self.sizes.len()).map(|number| format!("file-{number}")).collect();
        let files: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(self.sizes.iter().copied())
            .collect();
        Hub::serve(&files, move |asked| {
            answers[usize::try_from(asked.number).unwrap() % answers.len()].clone()
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

async fn undergo(ordeal: Ordeal) -> Result<(), TestCaseError> {
    let mut hubs = Vec::new();
    for answers in &ordeal.origins {
        hubs.push(ordeal.hub(answers.clone()).await);
    }
    let hub = &hubs[0];
    let mirrors: Vec<_> = hubs[1..].iter().map(|hub| mirror("mirror", hub)).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    for (number, (share, damages)) in ordeal.interruptions.iter().enumerate() {
        let fetch = ordeal.fetch(hub, &mirrors);
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
        let (ended, ()) = tokio::join!(within_patience(fetch.run(&hub.files, &store, "abc")), stop);
        judge(hub, folder.path(), ended?.as_ref().err())?;
        for damage in damages {
            damage.strike(folder.path());
        }
        if !damages.is_empty() {
            // Nothing but a power cut, or another machine, does such things.
            store = store.with_boot(Boot::named(&format!("start {number}")));
        }
    }
    let ended = within_patience(ordeal.fetch(hub, &mirrors).run(&hub.files, &store, "abc")).await?;
    judge(hub, folder.path(), ended.as_ref().err())?;

    // Whatever it came to: from a server that does as it should, all of it can be had in the same folder.
    let honest = ordeal.hub(vec![Answer::Right]).await;
    let ended = within_patience(ordeal.fetch(&honest, &[]).run(&hub.files, &store, "abc")).await?;
    prop_assert!(ended.is_ok(), "{:?}", ended.unwrap_err());
    store.publish("abc", &hub.files, "hub").unwrap();
    check(&honest, folder.path());
    Ok(())
}

/// A fetch that brings nothing for so long is stopped all the same.
const PAUSE: Duration = Duration::from_millis(300);

async fn within_patience(
    fetch: impl Future<Output = Result<Outcome, FetchError>>,
) -> Result<Result<Outcome, FetchError>, TestCaseError> {
    tokio::time::timeout(PATIENCE, fetch)
        .await
        .map_err(|_| TestCaseError::fail("the fetch stands still"))
}

/// An error is one that people are told of, and whatever counts as proven is.
fn judge(hub: &Hub, root: &Path, error: Option<&FetchError>) -> Result<(), TestCaseError> {
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
        prop_assert!(is_right, "{} counts as proven and is wrong", file.path);
        prop_assert!(error.is_some() || staged.is_some(), "{} is missing", file.path);
    }
    if let Some(error) = error {
        prop_assert_ne!(error.class(), FailureClass::Internal, "{}", error);
        prop_assert!(!error.to_string().contains("secret"), "{}", error);
    }
    Ok(())
}

fn undergo_all(cases: u32, ordeals: impl Strategy<Value = Ordeal>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = ProptestConfig {
        cases,
        // A case that fails fails differently each time: making it smaller takes minutes and finds little.
        max_shrink_iters: 8,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&ordeals, |ordeal| runtime.block_on(undergo(ordeal)));
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn a_fetch_from_one_origin_ends_with_the_right_bytes_or_a_named_error_whatever_happens() {
    undergo_all(40, any_ordeal(1));
}

#[test]
fn a_fetch_from_several_origins_ends_with_the_right_bytes_or_a_named_error_whatever_happens() {
    undergo_all(16, any_ordeal(2..4));
}
