//! Damage to published files: the fetcher fetches only the damaged blocks again, from the model's source.

use std::fs;
use std::process::Output;

use modelcache_crds::report::{FailureClass, Report};
use pretty_assertions::assert_eq;

use crate::scenario::{MEBIBYTE, MODEL, Scenario, WEIGHTS};

async fn run(scenario: &Scenario, arguments: &[&str]) -> Output {
    scenario.command_on_folder(arguments).output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_fetches_the_damaged_blocks_only() {
    let scenario = Scenario::new().await;
    scenario.assert_published(&scenario.fetch().await, "a fetch");

    scenario.hub.reset_stats();
    let output = run(&scenario, &["repair"]).await;
    assert_eq!(scenario.assert_published(&output, "nothing to repair").bytes_fetched, 0);
    assert_eq!(scenario.hub.stats().requests, 0);

    for offset in [10 * MEBIBYTE + 5, 10 * MEBIBYTE + 900, 17 * MEBIBYTE] {
        scenario.damage(offset);
    }
    let output = run(&scenario, &["verify"]).await;
    assert_eq!(output.status.code(), Some(40));
    let output = run(&scenario, &["repair"]).await;
    let published = scenario.assert_published(&output, "damage in two blocks");
    assert_eq!(published.bytes_fetched, 2 << 20);
    let from_cdn = scenario
        .hub
        .stats()
        .files
        .values()
        .map(|file| file.bytes_sent)
        .sum::<u64>();
    assert!(from_cdn <= 2 * MEBIBYTE as u64, "{from_cdn} bytes were sent");
    assert_eq!(run(&scenario, &["verify"]).await.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_repair_is_reported_and_leaves_the_files_unchanged() {
    let scenario = Scenario::new().await;
    scenario.assert_published(&scenario.fetch().await, "a fetch");
    scenario
        .hub
        .commit_bytes("org/other", "main", [("other.txt", b"other".to_vec())])
        .await
        .unwrap();
    scenario.damage(5 * MEBIBYTE);
    let endpoint = scenario.hub.endpoint();
    for (source, class) in [
        ("org/other", FailureClass::SourceChanged),
        ("org/none", FailureClass::RepositoryNotFound),
    ] {
        let output = run(&scenario, &["repair", "--source", source, "--endpoint", &endpoint]).await;
        assert_eq!(output.status.code(), Some(i32::from(class.exit_code())), "{source}");
        let Report::Failed(failed) = scenario.report() else {
            panic!("{:?}", scenario.report())
        };
        assert_eq!(
            (failed.class, failed.file.as_deref()),
            (class, Some(WEIGHTS)),
            "{source}"
        );
    }
    fs::remove_dir_all(scenario.model().join(".modelcache/sources")).unwrap();
    let output = run(&scenario, &["repair"]).await;
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("name a source with --source"), "{stderr}");

    // The blocks that the failed repairs kept are not fetched again.
    let output = run(&scenario, &["repair", "--source", MODEL, "--endpoint", &endpoint]).await;
    let published = scenario.assert_published(&output, "repair from the named source");
    assert_eq!(published.bytes_fetched, 1 << 20);
}
