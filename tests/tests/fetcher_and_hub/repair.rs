//! Damage to what is published: only the damaged blocks are fetched again, from where the model came from.

use std::fs;
use std::process::Output;

use modelcache_crds::report::{FailureClass, Report};
use pretty_assertions::assert_eq;

use crate::scenario::{MEBIBYTE, MODEL, Trial, WEIGHTS};

async fn run(trial: &Trial, words: &[&str]) -> Output {
    trial.on_the_folder(words).output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_fetches_the_damaged_blocks_and_asks_nobody_for_what_is_sound() {
    let trial = Trial::new().await;
    trial.assert_published(&trial.fetch().await, "a fetch");

    trial.hub.reset_stats();
    let output = run(&trial, &["repair"]).await;
    assert_eq!(trial.assert_published(&output, "nothing to repair").bytes_fetched, 0);
    assert_eq!(trial.hub.stats().requests, 0);

    for offset in [10 * MEBIBYTE + 5, 10 * MEBIBYTE + 900, 17 * MEBIBYTE] {
        trial.damage(offset);
    }
    let output = run(&trial, &["verify"]).await;
    assert_eq!(output.status.code(), Some(40));
    let output = run(&trial, &["repair"]).await;
    let published = trial.assert_published(&output, "damage in two blocks");
    assert_eq!(published.bytes_fetched, 2 << 20);
    let from_cdn = trial
        .hub
        .stats()
        .files
        .values()
        .map(|file| file.bytes_sent)
        .sum::<u64>();
    assert!(from_cdn <= 2 * MEBIBYTE as u64, "{from_cdn} bytes were sent");
    assert_eq!(run(&trial, &["verify"]).await.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_repair_is_told_and_leaves_what_is_there() {
    let trial = Trial::new().await;
    trial.assert_published(&trial.fetch().await, "a fetch");
    trial
        .hub
        .commit_bytes("org/other", "main", [("other.txt", b"other".to_vec())])
        .await
        .unwrap();
    trial.damage(5 * MEBIBYTE);
    let endpoint = trial.hub.endpoint();
    for (source, class) in [
        ("org/other", FailureClass::SourceChanged),
        ("org/none", FailureClass::RepositoryNotFound),
    ] {
        let output = run(&trial, &["repair", "--source", source, "--endpoint", &endpoint]).await;
        assert_eq!(output.status.code(), Some(i32::from(class.exit_code())), "{source}");
        let Report::Failed(failed) = trial.report() else {
            panic!("{:?}", trial.report())
        };
        assert_eq!(
            (failed.class, failed.file.as_deref()),
            (class, Some(WEIGHTS)),
            "{source}"
        );
    }
    fs::remove_dir_all(trial.model().join(".modelcache/sources")).unwrap();
    let output = run(&trial, &["repair"]).await;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("name a source with --source"), "{said}");

    // What was kept of the damaged file when the others failed is not fetched either.
    let output = run(&trial, &["repair", "--source", MODEL, "--endpoint", &endpoint]).await;
    let published = trial.assert_published(&output, "a source that is named");
    assert_eq!(published.bytes_fetched, 1 << 20);
}
