//! Disks that are full, read-only or broken, from the start or during a fetch.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use modelcache_crds::report::FailureClass;
use modelcache_tests::hub::HubConfig;
use pretty_assertions::assert_eq;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::disk_log::written;
use crate::faulty_disk::{Errno, Failing, FaultyDisk};
use crate::scenario::{MEBIBYTE, SIZE, Scenario, WEIGHTS, after_a_restart, contents_below, files, with_mount};

const BLOCK: u64 = MEBIBYTE as u64;

fn failing(call: &'static str, errno: Errno, spare: u32) -> Failing {
    Failing {
        call,
        errno,
        spare,
        times: None,
    }
}

/// Stops a fetch by SIGTERM when half of the weights are sent. Returns the bytes of the blocks that it made durable,
/// which are all that it wrote.
async fn stop_in_the_middle(scenario: &Scenario, faulty: &FaultyDisk) -> u64 {
    let log = scenario.folder.path().join("log");
    scenario.hub.throttle(Some((SIZE / 2) as u64));
    let mut command = scenario.command();
    faulty.log(&mut command, &scenario.model(), &log);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while scenario.hub.stats().bytes_sent < (SIZE / 2) as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let process = Pid::from_raw(running.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    assert_eq!(
        running.wait().await.unwrap().code(),
        Some(FailureClass::Interrupted.exit_code().into())
    );
    scenario.hub.throttle(None);
    let events = fs::read_to_string(&log).unwrap();
    fs::remove_file(log).unwrap();
    let blocks = written(&events, &partials(scenario), BLOCK);
    assert!(blocks.len() > 1, "{blocks:?}");
    blocks.len() as u64 * BLOCK
}

fn partials(scenario: &Scenario) -> PathBuf {
    scenario.model().join(".modelcache/partial")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_during_a_fetch_is_reported_by_class_and_durable_bytes_are_kept() {
    let faulty = FaultyDisk::compile();
    let cases = [
        (failing("write", Errno::InputOutput, 5), FailureClass::StorageError),
        (failing("write", Errno::NoSpace, 5), FailureClass::DiskFull),
        (failing("write", Errno::Quota, 0), FailureClass::DiskFull),
        (failing("write", Errno::ReadOnly, 5), FailureClass::StorageReadOnly),
        (failing("sync", Errno::InputOutput, 0), FailureClass::StorageError),
        (failing("sync", Errno::InputOutput, 2), FailureClass::StorageError),
        // Network file systems report a full disk only at a sync.
        (failing("sync", Errno::NoSpace, 1), FailureClass::DiskFull),
    ];
    for chunk in cases.chunks(4) {
        join_all(chunk.iter().map(async |(failing, class)| {
            let scenario = Scenario::new().await;
            let after = format!("{failing:?}");
            let durable = stop_in_the_middle(&scenario, &faulty).await;
            let mut command = scenario.command();
            faulty.fail(&mut command, &partials(&scenario), *failing);
            if failing.call == "sync" {
                // Slow enough for a sync before the end of the fetch.
                scenario.hub.throttle(Some((SIZE / 8) as u64));
            }
            scenario.assert_failed(&command.output().await.unwrap(), *class, &after);
            scenario.hub.throttle(None);
            // The disk works again.
            let output = scenario.fetch().await;
            let reused = scenario.assert_published(&output, &after).bytes_reused.unsigned_abs();
            let weights = reused / BLOCK * BLOCK;
            if (failing.call, failing.spare) == ("sync", 0) {
                assert_eq!(weights, durable, "{after}: no further sync succeeded");
            } else {
                assert!(
                    weights >= durable,
                    "{after}: {reused} bytes were reused, {durable} were durable"
                );
            }
        }))
        .await;
    }
}

#[tokio::test]
async fn unreadable_durable_blocks_are_fetched_again() {
    let scenario = Scenario::new().await;
    let faulty = FaultyDisk::compile();
    let durable = stop_in_the_middle(&scenario, &faulty).await;
    let mut command = scenario.command();
    let failing = Failing {
        times: Some(3),
        ..failing("read", Errno::InputOutput, 1)
    };
    // The first read is the journal's.
    faulty.fail(&mut command, &partial_weights(&scenario), failing);
    // Without a restart, the fetcher trusts the hash state and does not read these blocks again.
    let mut restarted = after_a_restart(&command, &scenario.folder.path().join("boot"));
    let output = restarted.env("RUST_LOG", "warn").output().await.unwrap();
    let published = scenario.assert_published(&output, "a block that cannot be read");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        stderr.matches("cannot be read; it is fetched again").count(),
        3,
        "{stderr}"
    );
    let reused = published.bytes_reused.unsigned_abs() / BLOCK * BLOCK;
    assert_eq!(reused, durable - 3 * BLOCK);
}

/// The partial file of the weights.
fn partial_weights(scenario: &Scenario) -> PathBuf {
    let entries = fs::read_dir(partials(scenario))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut weights =
        entries.filter(|path| path.with_extension("journal") != *path && path.metadata().unwrap().len() == SIZE as u64);
    weights.next().unwrap()
}

#[tokio::test]
async fn a_failed_read_back_for_the_hash_is_reported_and_the_next_fetch_recovers() {
    let scenario = Scenario::new().await;
    let faulty = FaultyDisk::compile();
    let durable = stop_in_the_middle(&scenario, &faulty).await;
    // A damaged block that was already hashed restarts the hash. The fetcher first reads all blocks to check them, then
    // reads the others back for the hash.
    let weights = partial_weights(&scenario);
    let file = OpenOptions::new().write(true).open(&weights).unwrap();
    file.write_all_at(&[!files(SIZE)[WEIGHTS][0]], 0).unwrap();
    let spare = u32::try_from(durable / BLOCK).unwrap();
    let mut command = scenario.command();
    faulty.fail(&mut command, &weights, failing("read", Errno::InputOutput, spare));
    let other = tempfile::tempdir().unwrap();
    let mut restarted = after_a_restart(&command, &other.path().join("boot"));
    let output = restarted.output().await.unwrap();
    scenario.assert_failed(&output, FailureClass::StorageError, "a read back");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains(&format!("failed to read {WEIGHTS} (as {}", weights.display())),
        "{stderr}"
    );

    let published = scenario.assert_published(&scenario.fetch().await, "a read back");
    assert!(
        published.bytes_reused.unsigned_abs() >= durable - BLOCK,
        "{published:?}"
    );
}

/// A call that fails while a fetched model is staged or published.
struct FailingCall {
    call: &'static str,
    /// Path below the model's folder.
    at: &'static str,
    /// Path that the message must name.
    named: &'static str,
    /// Whether the revision already has its final name, so it is complete.
    is_in_place: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_while_files_are_staged_or_published_is_reported_and_publishes_nothing_incomplete() {
    let staging = |call, at| FailingCall {
        call,
        at,
        named: at,
        is_in_place: false,
    };
    let in_place = |call, at| FailingCall {
        is_in_place: true,
        ..staging(call, at)
    };
    let cases = [
        // Syncs a file and moves it to staging.
        staging("sync", ".modelcache/partial"),
        staging("rename", ".modelcache/partial"),
        // Records the source of the revision.
        staging("write", ".modelcache/sources"),
        staging("sync", ".modelcache/sources"),
        staging("rename", ".modelcache/sources"),
        // Syncs the names in the revision, and writes its manifest.
        staging("sync", ".modelcache/staging"),
        staging("write", ".modelcache/manifests"),
        staging("sync", ".modelcache/manifests"),
        staging("rename", ".modelcache/manifests"),
        // Moves the revision to its final name, and points `current` at it.
        FailingCall {
            named: ".modelcache/staging",
            ..staging("rename", "revisions")
        },
        in_place("sync", "revisions"),
        in_place("rename", ".modelcache/current"),
    ];
    let faulty = FaultyDisk::compile();
    for chunk in cases.chunks(4) {
        join_all(chunk.iter().map(async |case| {
            let scenario = Scenario::new().await;
            let after = format!("{} of {}", case.call, case.at);
            let mut command = scenario.command();
            faulty.fail(
                &mut command,
                &scenario.model().join(case.at),
                failing(case.call, Errno::InputOutput, 0),
            );
            let output = command.output().await.unwrap();
            scenario.assert_failed(&output, FailureClass::StorageError, &after);
            scenario.assert_nothing_wrong_is_published(&after);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                stderr.contains(case.named) && stderr.contains("os error 5"),
                "{after}: {stderr}"
            );
            let revisions = fs::read_dir(scenario.model().join("revisions")).unwrap();
            assert_eq!(revisions.count(), usize::from(case.is_in_place), "{after}");

            // The disk works again: no verified file is fetched again.
            let published = scenario.assert_published(&scenario.fetch().await, &after);
            if case.at != ".modelcache/partial" {
                assert!(
                    published.bytes_reused.unsigned_abs() >= SIZE as u64,
                    "{after}: {published:?}"
                );
            }
            assert_eq!(
                verify(&scenario).output().await.unwrap().status.code(),
                Some(0),
                "{after}"
            );
        }))
        .await;
    }
}

fn verify(scenario: &Scenario) -> Command {
    scenario.command_on_folder(&["verify"])
}

#[tokio::test]
async fn an_unreadable_published_file_is_reported_by_verify_and_repaired_by_repair() {
    let scenario = Scenario::new().await;
    scenario.assert_published(&scenario.fetch().await, "a fetch");
    let faulty = FaultyDisk::compile();
    let published = scenario.model().join("current").canonicalize().unwrap().join(WEIGHTS);
    let unreadable = failing("read", Errno::InputOutput, 3);

    let mut command = verify(&scenario);
    faulty.fail(&mut command, &published, unreadable);
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(FailureClass::StorageError.exit_code().into()),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!("failed to read {}", published.display())),
        "{stderr}"
    );

    // The unreadable blocks are fetched again.
    let mut command = scenario.command_on_folder(&["repair"]);
    faulty.fail(&mut command, &published, unreadable);
    let repaired = scenario.assert_published(&command.output().await.unwrap(), "repair");
    assert!(repaired.bytes_fetched > 0, "{repaired:?}");
    assert_eq!(verify(&scenario).output().await.unwrap().status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_on_a_failing_disk_leaves_the_published_files_unchanged_and_the_next_one_completes() {
    let cases = [
        ("write", ".modelcache/partial", ".modelcache/partial"),
        ("sync", ".modelcache/partial", ".modelcache/partial"),
        ("rename", ".modelcache/partial", ".modelcache/partial"),
        ("sync", ".modelcache/staging", ".modelcache/staging"),
        ("rename", ".modelcache/swap", ".modelcache/staging"),
    ];
    let faulty = FaultyDisk::compile();
    join_all(cases.map(async |(call, at, named)| {
        let scenario = Scenario::new().await;
        let after = format!("{call} of {at}");
        scenario.assert_published(&scenario.fetch().await, &after);
        scenario.damage(5 * MEBIBYTE);
        let current = scenario.model().join("current").canonicalize().unwrap();
        let before = contents_below(&current);
        let mut command = scenario.command_on_folder(&["repair"]);
        faulty.fail(
            &mut command,
            &scenario.model().join(at),
            failing(call, Errno::InputOutput, 0),
        );
        let output = command.output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(FailureClass::StorageError.exit_code().into()),
            "{after}: {stderr}"
        );
        assert!(stderr.contains(named), "{after}: {stderr}");
        assert!(contents_below(&current) == before, "{after}");

        let output = scenario.command_on_folder(&["repair"]).output().await.unwrap();
        scenario.assert_published(&output, &after);
        assert_eq!(
            verify(&scenario).output().await.unwrap().status.code(),
            Some(0),
            "{after}"
        );
    }))
    .await;
}

/// The fetch command with a tmpfs mounted at the model's folder.
fn on_a_volume(scenario: &Scenario, options: &str) -> Command {
    std::fs::create_dir_all(scenario.model()).unwrap();
    let script = format!(r#"mount -t tmpfs -o {options} none "$1""#);
    with_mount(&scenario.command(), &script, &[&scenario.model()])
}

#[tokio::test]
async fn a_volume_that_is_too_small_is_reported_before_the_first_byte() {
    let scenario = Scenario::new().await;
    let output = on_a_volume(&scenario, "size=8m").output().await.unwrap();
    scenario.assert_failed(&output, FailureClass::DiskFull, "a small volume");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("enlarge the volume"), "{stderr}");
    assert_eq!(scenario.hub.stats().bytes_sent, 0);
}

#[tokio::test]
async fn a_read_only_volume_is_reported() {
    let scenario = Scenario::new().await;
    let output = on_a_volume(&scenario, "ro").output().await.unwrap();
    scenario.assert_failed(&output, FailureClass::StorageReadOnly, "a read-only volume");
    assert_eq!(scenario.hub.stats().bytes_sent, 0);
}

#[tokio::test]
async fn a_fetch_into_a_tmpfs_succeeds() {
    let scenario = Scenario::with(HubConfig::default()).await;
    // The files vanish with the mount namespace, so only the exit status can be checked.
    let output = on_a_volume(&scenario, "size=64m").output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}
