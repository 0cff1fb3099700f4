//! A hub that misbehaves: what passes by itself is survived, the rest is told and nothing is published.

use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use modelcache_crds::report::FailureClass;
use modelcache_tests::hub::{Fault, HubConfig, Rule, Signing, Stage};
use pretty_assertions::assert_eq;

use crate::scenario::{MEBIBYTE, MODEL, SIZE, Trial, WEIGHTS, files};

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
    trial.hub.fault(rule.clone());
    let output = trial.fetch().await;
    trial.assert_published(&output, &after);
    let stats = trial.hub.stats();
    assert_eq!(stats.credentials_at_cdn, 0, "{after}");
    assert_has_struck(&trial, &rule);
    if let Fault::Flip { .. } = rule.fault {
        let (sent, size) = (stats.files[&rule.path].bytes_sent, files(SIZE)[&rule.path].len() as u64);
        assert!(sent >= 2 * size, "{after}: {sent} bytes were sent of a file of {size}");
    }
}

/// Checks that the one rule of a trial has struck as often as it was to, or at all.
fn assert_has_struck(trial: &Trial, rule: &Rule) {
    let struck = trial.hub.struck();
    match rule.count {
        Some(count) => assert_eq!(struck, [count], "{rule:?}"),
        None => assert!(struck[0] > 0, "{rule:?} struck nothing"),
    }
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
async fn urls_that_expire_before_they_say_are_asked_for_anew() {
    let (requests, connections) = (3, 2);
    let trial = Trial::new().await;
    let fault = Fault::ExpiredAfter { requests };
    trial.hub.fault(Rule::on(Stage::Cdn, WEIGHTS, fault));
    let output = trial.fetch().await;
    trial.assert_published(&output, "expiry");
    let stats = trial.hub.stats();
    let asked = |stage, status| {
        let log = stats.log.iter();
        let asked =
            log.filter(|request| (request.stage, request.status, &*request.subject) == (stage, status, WEIGHTS));
        asked.count() as u64
    };
    let (served, refused, located) = (
        asked(Stage::Cdn, 206),
        asked(Stage::Cdn, 403),
        asked(Stage::Resolve, 302),
    );
    assert_eq!(trial.hub.struck(), [refused]);
    assert!(
        served > 2 * requests,
        "{served} requests were served: too few to expire in the middle"
    );
    // One for the listing perhaps, and for each of them every connection may find it expired, but asks for one anew.
    let least = served.div_ceil(requests);
    assert!(
        (least..=least + 1).contains(&located),
        "{located} URLs for {served} requests"
    );
    assert!(
        (least - 1..=(least - 1) * connections).contains(&refused),
        "{refused} requests were refused, {served} served"
    );
}

#[tokio::test]
async fn urls_that_expire_soon_are_used_once_and_asked_for_anew() {
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
        let rule = Rule::on(stage, "*", moving).times(1);
        trial.hub.fault(rule.clone());
        let output = trial.fetch().await;
        trial.assert_published(&output, &format!("{stage:?}"));
        assert_has_struck(&trial, &rule);
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
            let rule = Rule::on(*stage, "*", fault.clone());
            trial.hub.fault(rule.clone());
            let output = trial.fetch().await;
            trial.assert_failed(&output, *class, &format!("{fault:?}"));
            assert_has_struck(&trial, &rule);
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
