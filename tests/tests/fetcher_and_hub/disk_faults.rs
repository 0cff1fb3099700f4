//! Disks that are full, read-only or broken, from the beginning or in the middle.

use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use modelcache_crds::report::FailureClass;
use modelcache_tests::hub::HubConfig;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::faulty_disk::{Errno, Failing, FaultyDisk};
use crate::trial::{SIZE, Trial, after_a_restart, with_mount};

fn failing(call: &'static str, errno: Errno, spare: u32) -> Failing {
    Failing {
        call,
        errno,
        spare,
        times: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_in_the_middle_is_told_by_its_kind_and_what_was_durable_is_kept() {
    let faulty = FaultyDisk::compile();
    let cases = [
        (failing("write", Errno::InputOutput, 5), FailureClass::StorageError),
        (failing("write", Errno::NoSpace, 5), FailureClass::DiskFull),
        (failing("write", Errno::Quota, 0), FailureClass::DiskFull),
        (failing("write", Errno::ReadOnly, 5), FailureClass::StorageReadOnly),
        (failing("sync", Errno::InputOutput, 0), FailureClass::StorageError),
        (failing("sync", Errno::InputOutput, 2), FailureClass::StorageError),
        // Network file systems tell it only then.
        (failing("sync", Errno::NoSpace, 1), FailureClass::DiskFull),
    ];
    for chunk in cases.chunks(4) {
        join_all(chunk.iter().map(async |(failing, class)| {
            let trial = Trial::new().await;
            let after = format!("{failing:?}");
            let mut command = trial.command();
            faulty.fail(&mut command, &trial.model().join(".modelcache/partial"), *failing);
            trial.assert_failed(&command.output().await.unwrap(), *class, &after);
            // The disk is well again.
            let output = trial.fetch().await;
            trial.assert_published(&output, &after);
        }))
        .await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_any_more_is_fetched_again() {
    let trial = Trial::new().await;
    trial.hub.throttle(Some((SIZE / 2) as u64));
    let mut running = trial.command();
    let mut running = running.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while trial.hub.stats().bytes_sent < (SIZE / 2) as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let process = Pid::from_raw(running.id().unwrap().try_into().unwrap()).unwrap();
    // What it has is durable before it ends.
    kill_process(process, Signal::TERM).unwrap();
    assert_eq!(
        running.wait().await.unwrap().code(),
        Some(FailureClass::Interrupted.exit_code().into())
    );

    trial.hub.throttle(None);
    let mut command = trial.command();
    let failing = Failing {
        times: Some(3),
        ..failing("read", Errno::InputOutput, 1)
    };
    let partial = trial.model().join(".modelcache/partial");
    let faulty = FaultyDisk::compile();
    faulty.fail(&mut command, &partial, failing);
    // Otherwise it would not read again what it has hashed.
    let mut restarted = after_a_restart(&command, &trial.folder.path().join("boot"));
    let output = restarted.env("RUST_LOG", "warn").output().await.unwrap();
    let published = trial.assert_published(&output, "a block that cannot be read");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.matches("cannot be read; it is fetched again").count(), 3, "{told}");
    assert!(published.bytes_reused > 2 << 20, "{published:?}");
}

/// The command, with another file system in the place of its folder.
fn on_a_volume(trial: &Trial, options: &str) -> Command {
    std::fs::create_dir_all(trial.model()).unwrap();
    let script = format!(r#"mount -t tmpfs -o {options} none "$1""#);
    with_mount(&trial.command(), &script, &[&trial.model()])
}

#[tokio::test]
async fn a_volume_that_is_too_small_is_told_before_the_first_byte() {
    let trial = Trial::new().await;
    let output = on_a_volume(&trial, "size=8m").output().await.unwrap();
    trial.assert_failed(&output, FailureClass::DiskFull, "a small volume");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("enlarge the volume"), "{told}");
    assert_eq!(trial.hub.stats().bytes_sent, 0);
}

#[tokio::test]
async fn a_volume_that_may_not_be_written_is_told_as_such() {
    let trial = Trial::new().await;
    let output = on_a_volume(&trial, "ro").output().await.unwrap();
    trial.assert_failed(&output, FailureClass::StorageReadOnly, "a read-only volume");
    assert_eq!(trial.hub.stats().bytes_sent, 0);
}

#[tokio::test]
async fn a_volume_of_another_kind_is_fetched_into_as_well() {
    let trial = Trial::with(HubConfig::default()).await;
    // Its files vanish with the namespace, so the program's own word has to do.
    let output = on_a_volume(&trial, "size=64m").output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}
