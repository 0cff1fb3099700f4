//! Damage to what is published: only the damaged blocks are fetched again, from where the model came from.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Output;

use modelcache_crds::report::{FailureClass, Report};
use modelcache_tests::program::fetcher;
use pretty_assertions::assert_eq;
use tokio::process::Command;

use crate::trial::{MEBIBYTE, MODEL, SIZE, Trial, WEIGHTS, files};

/// The program on the folder of a trial, and what it said of its end.
async fn run(trial: &Trial, words: &[&str]) -> Output {
    let mut command = Command::new(fetcher().unwrap());
    command
        .args([words[0], trial.model().to_str().unwrap()])
        .args(&words[1..])
        .args(["--quiet", "--json", "--termination-log"])
        .arg(trial.folder.path().join("report"))
        .env_remove("HF_TOKEN")
        // The weights here have no header.
        .env("MODELCACHE_FORMAT_CHECK", "warn")
        .env("HF_ENDPOINT", "https://elsewhere.invalid")
        .kill_on_drop(true);
    command.output().await.unwrap()
}

/// Turns one byte of the published weights over, in place.
fn damage(trial: &Trial, offset: usize) {
    let path = trial.model().join("current").join(WEIGHTS);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[!files(SIZE)[WEIGHTS][offset]], offset as u64)
        .unwrap();
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
        damage(&trial, offset);
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
    damage(&trial, 5 * MEBIBYTE);
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
