//! The fetcher's program against a hub that misbehaves: what passes by itself it survives, the rest it tells and publishes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use futures::future::join_all;
use modelcache_crds::report::{FailureClass, Published, Report};
use modelcache_tests::hub::{Fault, Hub, HubConfig, Rule, Signing, Stage};
use pretty_assertions::assert_eq;
use tokio::process::Command;

const MODEL: &str = "org/model";
const WEIGHTS: &str = "model.safetensors";
const MEBIBYTE: usize = 1 << 20;
/// Two pieces and a bit.
const SIZE: usize = 20 * MEBIBYTE;

/// The fetcher's program, built by cargo beside this test.
fn fetcher() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("modelcache-fetcher");
    assert!(
        program.exists(),
        "{} is missing: cargo build -p modelcache-fetcher",
        program.display()
    );
    program
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let weights = (0..SIZE).map(|at| u8::try_from((at * at / 7 + at / 1021) % 251).unwrap());
    vec![
        ("config.json", b"{\"hidden_size\": 7}".to_vec()),
        (WEIGHTS, weights.collect()),
        ("sub/empty.txt", Vec::new()),
        ("sub/tokenizer.json", b"{}".to_vec()),
    ]
}

struct Trial {
    hub: Hub,
    folder: tempfile::TempDir,
}

impl Trial {
    async fn new() -> Self {
        Self::with(HubConfig {
            page_size: 2,
            xet_headers: true,
            ..HubConfig::default()
        })
        .await
    }

    async fn with(config: HubConfig) -> Self {
        let hub = Hub::start(config).await.unwrap();
        hub.commit_bytes(MODEL, "main", files()).await.unwrap();
        Self {
            hub,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(fetcher());
        command
            .args(["fetch", MODEL, "--json", "--quiet", "--stall-timeout", "1"])
            .args(["--connections", "2", "--endpoint", &self.hub.endpoint()])
            .arg("--termination-log")
            .arg(self.folder.path().join("report"))
            .arg(self.model())
            .env_remove("HF_TOKEN")
            .kill_on_drop(true);
        command
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    async fn fetch(&self) -> Output {
        self.command().output().await.unwrap()
    }

    fn report(&self) -> Report {
        let text = std::fs::read_to_string(self.folder.path().join("report")).unwrap();
        Report::from_termination_message(&text).unwrap()
    }

    /// Checks that all files are published as the hub has them, and no other.
    fn assert_published(&self, output: &Output, after: &str) -> Published {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{after}: {:?}\n{said}", output.status);
        let found = contents_below(&self.model().join("current").canonicalize().unwrap());
        let wanted: BTreeMap<String, Vec<u8>> = files()
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        assert!(found == wanted, "{after}: published {:?}", found.keys());
        match self.report() {
            Report::Published(published) => published,
            report => panic!("{after}: {report:?}"),
        }
    }

    /// Checks that the failure is told, and that nothing stands under a final name.
    fn assert_failed(&self, output: &Output, class: FailureClass, after: &str) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(i32::from(class.exit_code())),
            "{after}: {said}"
        );
        match self.report() {
            Report::Failed(failed) => assert_eq!(failed.class, class, "{after}"),
            report => panic!("{after}: {report:?}"),
        }
        assert!(said.contains("error: "), "{after}: {said}");
        assert!(!said.contains("Signature="), "{after}: a signed URL is shown: {said}");
        assert!(
            !self.model().join("current").exists(),
            "{after}: something is published"
        );
        let outside = contents_below(self.folder.path());
        let stray = outside
            .keys()
            .find(|path| !path.starts_with("model/") && *path != "report");
        assert_eq!(stray, None, "{after}");
    }
}

fn contents_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                contents.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    contents
}

fn status(status: u16, headers: &[(&str, &str)]) -> Fault {
    Fault::Status {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: String::new(),
    }
}

async fn survives(rule: Rule) {
    let trial = Trial::new().await;
    let after = format!("{rule:?}");
    trial.hub.fault(rule);
    let output = trial.fetch().await;
    trial.assert_published(&output, &after);
    assert_eq!(trial.hub.stats().credentials_at_cdn, 0, "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_by_itself_is_survived_at_every_part_of_the_hub() {
    for stage in [Stage::Info, Stage::Tree, Stage::Resolve, Stage::Cdn] {
        let rules = [
            Rule::on(stage, "*", status(503, &[])).times(2),
            Rule::on(stage, "*", status(429, &[("retry-after", "1")])).times(1),
            Rule::on(stage, "*", status(429, &[("ratelimit", "\"api\";r=0;t=1")])).times(1),
            Rule::on(stage, "*", status(500, &[])).times(1),
            Rule::on(stage, "*", Fault::Refuse).times(2),
            Rule::on(stage, "*", Fault::Html { status: 200 }).times(1),
            Rule::on(stage, "*", Fault::Html { status: 502 }).times(1),
            Rule::on(stage, "*", Fault::Latency { milliseconds: 300 }),
        ];
        join_all(rules.map(survives)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_goes_wrong_is_fetched_again_and_published_right() {
    let cut = |after: usize| Fault::Cut {
        after_bytes: after as u64,
    };
    let stall = |after: usize| Fault::Stall {
        after_bytes: after as u64,
        seconds: 60,
    };
    let faults = [
        (cut(MEBIBYTE), Some(3)),
        (cut(0), Some(2)),
        (stall(MEBIBYTE), Some(2)),
        (stall(0), Some(1)),
        (Fault::Flip { offset: 5 << 20 }, Some(1)),
        (Fault::ShiftRange { by: 1024 }, Some(2)),
        (Fault::IgnoreRange, None),
        (Fault::IgnoreRange, Some(1)),
        (Fault::Gzip, Some(2)),
        (Fault::Expired, Some(1)),
        (Fault::RedirectLoop, Some(1)),
        (
            Fault::Slow {
                bytes_per_second: 6 << 20,
            },
            None,
        ),
    ];
    for chunk in faults.chunks(4) {
        let rules = chunk.iter().map(|(fault, count)| Rule {
            count: *count,
            ..Rule::on(Stage::Cdn, WEIGHTS, fault.clone())
        });
        join_all(rules.map(survives)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_that_go_wrong_are_fetched_again_and_published_right() {
    let rules = [
        Rule::on(Stage::Resolve, "*.json", Fault::ResolveCache),
        Rule::on(Stage::Resolve, "config.json", Fault::Cut { after_bytes: 3 }).times(2),
        Rule::on(Stage::Resolve, "config.json", Fault::Flip { offset: 3 }).times(1),
        Rule::on(Stage::Resolve, "config.json", Fault::IgnoreRange),
    ];
    join_all(rules.map(survives)).await;
}

#[tokio::test]
async fn urls_that_expire_in_the_middle_are_asked_for_anew() {
    for signing in [Signing::CloudFront, Signing::Aws4] {
        let trial = Trial::with(HubConfig {
            signing,
            url_lifetime_seconds: 2,
            // Four seconds for all.
            bytes_per_second: Some((SIZE / 4) as u64),
            ..HubConfig::default()
        })
        .await;
        let output = trial.fetch().await;
        trial.assert_published(&output, "expiry");
        let stats = trial.hub.stats();
        let located = stats
            .log
            .iter()
            .filter(|request| request.subject == WEIGHTS && request.stage == Stage::Resolve);
        let located = located.count();
        assert!(located < 20, "{located} signed URLs for one file");
    }
}

#[tokio::test]
async fn a_branch_that_moves_in_the_middle_changes_nothing() {
    for stage in [Stage::Tree, Stage::Resolve, Stage::Cdn] {
        let trial = Trial::new().await;
        let other = [("config.json", "{\"other\": 1}"), (WEIGHTS, "other")];
        let commit = trial.hub.commit_bytes(MODEL, "next", other).await.unwrap();
        let (model, branch) = (MODEL.to_owned(), "main".to_owned());
        let moving = Fault::MoveBranch { model, branch, commit };
        trial.hub.fault(Rule::on(stage, "*", moving).times(1));
        let output = trial.fetch().await;
        trial.assert_published(&output, &format!("{stage:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_told_and_nothing_is_published() {
    let extra = |path: &str| {
        let path = path.to_owned();
        (Stage::Tree, Fault::ExtraPath { path }, FailureClass::InvalidListing)
    };
    let coded = |code: &str, number| status(number, &[("x-error-code", code)]);
    let cases = [
        extra("../evil"),
        extra("/evil"),
        extra("sub/../../evil"),
        extra("..\\evil"),
        extra("CONFIG.json"),
        extra("config.json"),
        extra("config.json/below"),
        extra("sub"),
        extra("nul\0byte"),
        (Stage::Tree, Fault::HiddenHashes, FailureClass::AccessDenied),
        (Stage::Resolve, Fault::OtherEtag, FailureClass::SourceChanged),
        (
            Stage::Cdn,
            Fault::Flip { offset: 7 << 20 },
            FailureClass::DigestMismatch,
        ),
        (
            Stage::Info,
            coded("RepoNotFound", 404),
            FailureClass::RepositoryNotFound,
        ),
        (
            Stage::Info,
            coded("RevisionNotFound", 404),
            FailureClass::RevisionNotFound,
        ),
        (Stage::Resolve, coded("EntryNotFound", 404), FailureClass::FileNotFound),
        (Stage::Resolve, coded("GatedRepo", 403), FailureClass::AccessDenied),
    ];
    for chunk in cases.chunks(4) {
        join_all(chunk.iter().map(async |(stage, fault, class)| {
            let trial = Trial::new().await;
            trial.hub.fault(Rule::on(*stage, "*", fault.clone()));
            let output = trial.fetch().await;
            trial.assert_failed(&output, *class, &format!("{fault:?}"));
        }))
        .await;
    }
}

#[tokio::test]
async fn a_fetcher_killed_again_and_again_fetches_little_twice_and_ends_right() {
    let trial = Trial::new().await;
    let (rate, kills) = (2 << 20, 2);
    trial.hub.throttle(Some(rate));
    for _ in 0..kills {
        let mut running = trial
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // What was written is made durable every two seconds.
        let ended = tokio::time::timeout(Duration::from_secs(5), running.wait()).await;
        assert!(ended.is_err(), "it ended before it was killed");
        running.kill().await.unwrap();
    }
    trial.hub.throttle(None);
    let output = trial.fetch().await;
    let published = trial.assert_published(&output, "kills");
    assert!(published.bytes_reused > 0, "{published:?}");
    let sent = trial.hub.stats().bytes_sent;
    let lost = sent - SIZE as u64;
    // Two seconds' bytes and a block of each connection, with some time for a busy machine.
    let most = kills * (3 * rate + 2 * MEBIBYTE as u64);
    eprintln!("{lost} bytes of {SIZE} were fetched again after {kills} kills; {most} would be too many");
    assert!(
        lost < most,
        "{lost} bytes of {SIZE} were fetched again after {kills} kills"
    );

    let output = trial.fetch().await;
    let again = trial.assert_published(&output, "a second run");
    assert_eq!(again.bytes_fetched, 0);
    assert_eq!(trial.hub.stats().bytes_sent, sent);
}

#[tokio::test]
async fn a_second_fetcher_in_the_same_folder_stands_back() {
    let trial = Trial::new().await;
    trial.hub.throttle(Some(8 << 20));
    let first = tokio::spawn(trial.command().output());
    while trial.hub.stats().bytes_sent == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = trial.fetch().await;
    assert_eq!(
        second.status.code(),
        Some(i32::from(FailureClass::StorageBusy.exit_code())),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    trial.hub.throttle(None);
    let first = first.await.unwrap().unwrap();
    trial.assert_published(&first, "the second fetcher");
}
