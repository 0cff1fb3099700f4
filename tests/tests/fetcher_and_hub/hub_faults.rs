//! A faulty hub: the fetcher survives transient faults; it reports permanent ones and publishes nothing.

use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use modelcache_crds::report::FailureClass;
use modelcache_tests::hub::{Fault, HubConfig, Rule, Signing, Stage};
use pretty_assertions::assert_eq;

use crate::scenario::{MEBIBYTE, MODEL, SIZE, Scenario, WEIGHTS, files};

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
    let scenario = Scenario::new().await;
    let after = format!("{rule:?}");
    scenario.hub.fault(rule.clone());
    let output = scenario.fetch().await;
    scenario.assert_published(&output, &after);
    let stats = scenario.hub.stats();
    assert_eq!(stats.credentials_at_cdn, 0, "{after}");
    assert_injected(&scenario, &rule);
    if let Fault::Flip { .. } = rule.fault {
        let (sent, size) = (stats.files[&rule.path].bytes_sent, files(SIZE)[&rule.path].len() as u64);
        assert!(sent >= 2 * size, "{after}: {sent} bytes were sent of a file of {size}");
    }
}

/// Checks that the only rule of a scenario took effect as often as its count, or at least once.
fn assert_injected(scenario: &Scenario, rule: &Rule) {
    let injected = scenario.hub.injected();
    match rule.count {
        Some(count) => assert_eq!(injected, [count], "{rule:?}"),
        None => assert!(injected[0] > 0, "{rule:?} took no effect"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_faults_are_survived_at_every_part_of_the_hub() {
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
async fn a_faulty_body_is_fetched_again_and_published_right() {
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
async fn faulty_small_files_are_fetched_again_and_published_right() {
    let rules = [
        Rule::on(Stage::Resolve, "*.json", Fault::ResolveCache),
        Rule::on(Stage::Resolve, "config.json", Fault::Cut { after_bytes: 3 }).times(2),
        Rule::on(Stage::Resolve, "config.json", Fault::Flip { offset: 3 }).times(1),
        Rule::on(Stage::Resolve, "config.json", Fault::IgnoreRange),
    ];
    join_all(rules.map(survives)).await;
}

#[tokio::test]
async fn urls_that_expire_before_their_stated_time_are_requested_again() {
    let (requests, connections) = (3, 2);
    let scenario = Scenario::new().await;
    let fault = Fault::ExpiredAfter { requests };
    scenario.hub.fault(Rule::on(Stage::Cdn, WEIGHTS, fault));
    let output = scenario.fetch().await;
    scenario.assert_published(&output, "expiry");
    let stats = scenario.hub.stats();
    let count = |stage, status| {
        let log = stats.log.iter();
        let matching =
            log.filter(|request| (request.stage, request.status, &*request.subject) == (stage, status, WEIGHTS));
        matching.count() as u64
    };
    let (served, refused, located) = (
        count(Stage::Cdn, 206),
        count(Stage::Cdn, 403),
        count(Stage::Resolve, 302),
    );
    assert_eq!(scenario.hub.injected(), [refused]);
    assert!(
        served > 2 * requests,
        "only {served} requests were served: too few for an expiry in the middle"
    );
    // The listing may use one URL. Every connection may find a URL expired, but only one of them requests a new URL.
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
async fn urls_that_are_about_to_expire_are_requested_again() {
    for signing in [Signing::CloudFront, Signing::Aws4] {
        let scenario = Scenario::with(HubConfig {
            signing,
            url_lifetime_seconds: 2,
            // Four seconds for all files.
            bytes_per_second: Some((SIZE / 4) as u64),
            ..HubConfig::default()
        })
        .await;
        let output = scenario.fetch().await;
        scenario.assert_published(&output, "expiry");
        let stats = scenario.hub.stats();
        let located = stats
            .log
            .iter()
            .filter(|request| request.subject == WEIGHTS && request.stage == Stage::Resolve);
        let located = located.count();
        assert!(located < 20, "{located} signed URLs for one file");
    }
}

#[tokio::test]
async fn a_branch_that_moves_during_a_fetch_changes_nothing() {
    for stage in [Stage::Tree, Stage::Resolve, Stage::Cdn] {
        let scenario = Scenario::new().await;
        let other = [("config.json", "{\"other\": 1}"), (WEIGHTS, "other")];
        let commit = scenario.hub.commit_bytes(MODEL, "next", other).await.unwrap();
        let (model, branch) = (MODEL.to_owned(), "main".to_owned());
        let moving = Fault::MoveBranch { model, branch, commit };
        let rule = Rule::on(stage, "*", moving).times(1);
        scenario.hub.fault(rule.clone());
        let output = scenario.fetch().await;
        scenario.assert_published(&output, &format!("{stage:?}"));
        assert_injected(&scenario, &rule);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_faults_are_reported_and_nothing_is_published() {
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
            let scenario = Scenario::new().await;
            let rule = Rule::on(*stage, "*", fault.clone());
            scenario.hub.fault(rule.clone());
            let output = scenario.fetch().await;
            scenario.assert_failed(&output, *class, &format!("{fault:?}"));
            assert_injected(&scenario, &rule);
        }))
        .await;
    }
}

#[tokio::test]
async fn a_repeatedly_killed_fetcher_fetches_few_bytes_twice_and_ends_right() {
    let scenario = Scenario::new().await;
    let (rate, kills) = (2 << 20, 2);
    scenario.hub.throttle(Some(rate));
    for _ in 0..kills {
        let mut running = scenario
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The fetcher syncs every two seconds.
        let ended = tokio::time::timeout(Duration::from_secs(5), running.wait()).await;
        assert!(ended.is_err(), "the fetcher ended before the kill");
        running.kill().await.unwrap();
    }
    scenario.hub.throttle(None);
    let output = scenario.fetch().await;
    let published = scenario.assert_published(&output, "kills");
    assert!(published.bytes_reused > 0, "{published:?}");
    let sent = scenario.hub.stats().bytes_sent;
    let lost = sent - SIZE as u64;
    // The bytes of two seconds and a block of each connection, and another second for a busy machine.
    let limit = kills * (3 * rate + 2 * MEBIBYTE as u64);
    eprintln!("{lost} bytes of {SIZE} were fetched again after {kills} kills; the limit is {limit}");
    assert!(
        lost < limit,
        "{lost} bytes of {SIZE} were fetched again after {kills} kills"
    );

    let output = scenario.fetch().await;
    let again = scenario.assert_published(&output, "a second run");
    assert_eq!(again.bytes_fetched, 0);
    assert_eq!(scenario.hub.stats().bytes_sent, sent);
}

#[tokio::test]
async fn a_second_fetcher_in_the_same_folder_exits() {
    let scenario = Scenario::new().await;
    scenario.hub.throttle(Some(8 << 20));
    let first = tokio::spawn(scenario.command().output());
    while scenario.hub.stats().bytes_sent == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = scenario.fetch().await;
    assert_eq!(
        second.status.code(),
        Some(i32::from(FailureClass::StorageBusy.exit_code())),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    scenario.hub.throttle(None);
    let first = first.await.unwrap().unwrap();
    scenario.assert_published(&first, "the second fetcher");
}
