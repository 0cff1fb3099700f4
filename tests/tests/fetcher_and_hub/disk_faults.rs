//! Disks that are full, read-only or broken, from the beginning or in the middle.

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
use crate::scenario::{MEBIBYTE, SIZE, Trial, WEIGHTS, after_a_restart, contents_below, files, with_mount};

const BLOCK: u64 = MEBIBYTE as u64;

fn failing(call: &'static str, errno: Errno, spare: u32) -> Failing {
    Failing {
        call,
        errno,
        spare,
        times: None,
    }
}

/// Has a fetch stopped in order when this much was sent, and says how many bytes of blocks it has made durable: all that
/// it wrote, before it ended.
async fn stop_in_the_middle(trial: &Trial, faulty: &FaultyDisk) -> u64 {
    let log = trial.folder.path().join("log");
    trial.hub.throttle(Some((SIZE / 2) as u64));
    let mut command = trial.command();
    faulty.log(&mut command, &trial.model(), &log);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while trial.hub.stats().bytes_sent < (SIZE / 2) as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let process = Pid::from_raw(running.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    assert_eq!(
        running.wait().await.unwrap().code(),
        Some(FailureClass::Interrupted.exit_code().into())
    );
    trial.hub.throttle(None);
    let told = fs::read_to_string(&log).unwrap();
    fs::remove_file(log).unwrap();
    let blocks = written(&told, &partials(trial), BLOCK);
    assert!(blocks.len() > 1, "{blocks:?}");
    blocks.len() as u64 * BLOCK
}

fn partials(trial: &Trial) -> PathBuf {
    trial.model().join(".modelcache/partial")
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
            let durable = stop_in_the_middle(&trial, &faulty).await;
            let mut command = trial.command();
            faulty.fail(&mut command, &partials(&trial), *failing);
            if failing.call == "sync" {
                // Slow enough that there is one in the middle, and not at the end only.
                trial.hub.throttle(Some((SIZE / 8) as u64));
            }
            trial.assert_failed(&command.output().await.unwrap(), *class, &after);
            trial.hub.throttle(None);
            // The disk is well again.
            let output = trial.fetch().await;
            let reused = trial.assert_published(&output, &after).bytes_reused.unsigned_abs();
            let weights = reused / BLOCK * BLOCK;
            if (failing.call, failing.spare) == ("sync", 0) {
                assert_eq!(weights, durable, "{after}: nothing more was synced");
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
async fn what_cannot_be_read_any_more_is_fetched_again() {
    let trial = Trial::new().await;
    let faulty = FaultyDisk::compile();
    let durable = stop_in_the_middle(&trial, &faulty).await;
    let mut command = trial.command();
    let failing = Failing {
        times: Some(3),
        ..failing("read", Errno::InputOutput, 1)
    };
    // The journal is read in its own way.
    faulty.fail(&mut command, &weights_under_way(&trial), failing);
    // Otherwise it would not read again what it has hashed.
    let mut restarted = after_a_restart(&command, &trial.folder.path().join("boot"));
    let output = restarted.env("RUST_LOG", "warn").output().await.unwrap();
    let published = trial.assert_published(&output, "a block that cannot be read");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.matches("cannot be read; it is fetched again").count(), 3, "{told}");
    let reused = published.bytes_reused.unsigned_abs() / BLOCK * BLOCK;
    assert_eq!(reused, durable - 3 * BLOCK);
}

/// The weights, as long as they are not staged.
fn weights_under_way(trial: &Trial) -> PathBuf {
    let entries = fs::read_dir(partials(trial))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut weights =
        entries.filter(|path| path.with_extension("journal") != *path && path.metadata().unwrap().len() == SIZE as u64);
    weights.next().unwrap()
}

#[tokio::test]
async fn what_cannot_be_read_back_for_the_hash_is_told_and_the_next_fetch_heals_it() {
    let trial = Trial::new().await;
    let faulty = FaultyDisk::compile();
    let durable = stop_in_the_middle(&trial, &faulty).await;
    // The hash begins anew when a block that it has seen is damaged, and reads back all the others, once they have been
    // read to check them.
    let weights = weights_under_way(&trial);
    let file = OpenOptions::new().write(true).open(&weights).unwrap();
    file.write_all_at(&[!files(SIZE)[WEIGHTS][0]], 0).unwrap();
    let spare = u32::try_from(durable / BLOCK).unwrap();
    let mut command = trial.command();
    faulty.fail(&mut command, &weights, failing("read", Errno::InputOutput, spare));
    let other = tempfile::tempdir().unwrap();
    let mut restarted = after_a_restart(&command, &other.path().join("boot"));
    let output = restarted.output().await.unwrap();
    trial.assert_failed(&output, FailureClass::StorageError, "a read back");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("failed to read {WEIGHTS} (as {}", weights.display())),
        "{said}"
    );

    let published = trial.assert_published(&trial.fetch().await, "a read back");
    assert!(
        published.bytes_reused.unsigned_abs() >= durable - BLOCK,
        "{published:?}"
    );
}

/// Where a call fails that has to do with making a fetched model visible.
struct Late {
    call: &'static str,
    /// Below the folder.
    at: &'static str,
    /// What the message is to name.
    named: &'static str,
    /// Whether the revision stands under its final name by then: it is complete.
    is_in_place: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_when_files_are_staged_or_published_is_told_and_shows_nothing_half_done() {
    let late = |call, at| Late {
        call,
        at,
        named: at,
        is_in_place: false,
    };
    let in_place = |call, at| Late {
        is_in_place: true,
        ..late(call, at)
    };
    let cases = [
        // A file is synced and moved to where proven files wait.
        late("sync", ".modelcache/partial"),
        late("rename", ".modelcache/partial"),
        // What leads back to the source.
        late("write", ".modelcache/sources"),
        late("sync", ".modelcache/sources"),
        late("rename", ".modelcache/sources"),
        // The names of a revision are synced, its manifest is written.
        late("sync", ".modelcache/staging"),
        late("write", ".modelcache/manifests"),
        late("sync", ".modelcache/manifests"),
        late("rename", ".modelcache/manifests"),
        // The revision is moved to its final name, and `current` names it.
        Late {
            named: ".modelcache/staging",
            ..late("rename", "revisions")
        },
        in_place("sync", "revisions"),
        in_place("rename", ".modelcache/current"),
    ];
    let faulty = FaultyDisk::compile();
    for chunk in cases.chunks(4) {
        join_all(chunk.iter().map(async |case| {
            let trial = Trial::new().await;
            let after = format!("{} of {}", case.call, case.at);
            let mut command = trial.command();
            faulty.fail(
                &mut command,
                &trial.model().join(case.at),
                failing(case.call, Errno::InputOutput, 0),
            );
            let output = command.output().await.unwrap();
            trial.assert_failed(&output, FailureClass::StorageError, &after);
            trial.assert_nothing_wrong_is_published(&after);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains(case.named) && said.contains("os error 5"),
                "{after}: {said}"
            );
            let revisions = fs::read_dir(trial.model().join("revisions")).unwrap();
            assert_eq!(revisions.count(), usize::from(case.is_in_place), "{after}");

            // The disk is well again: nothing that was proven is fetched again.
            let published = trial.assert_published(&trial.fetch().await, &after);
            if case.at != ".modelcache/partial" {
                assert!(
                    published.bytes_reused.unsigned_abs() >= SIZE as u64,
                    "{after}: {published:?}"
                );
            }
            assert_eq!(verify(&trial).output().await.unwrap().status.code(), Some(0), "{after}");
        }))
        .await;
    }
}

fn verify(trial: &Trial) -> Command {
    trial.on_the_folder(&["verify"])
}

#[tokio::test]
async fn a_published_file_that_cannot_be_read_is_told_by_verify_and_mended_by_repair() {
    let trial = Trial::new().await;
    trial.assert_published(&trial.fetch().await, "a fetch");
    let faulty = FaultyDisk::compile();
    let published = trial.model().join("current").canonicalize().unwrap().join(WEIGHTS);
    let unreadable = failing("read", Errno::InputOutput, 3);

    let mut command = verify(&trial);
    faulty.fail(&mut command, &published, unreadable);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(FailureClass::StorageError.exit_code().into()),
        "{said}"
    );
    assert!(
        said.contains(&format!("failed to read {}", published.display())),
        "{said}"
    );

    // All of it is found unreadable, and fetched.
    let mut command = trial.on_the_folder(&["repair"]);
    faulty.fail(&mut command, &published, unreadable);
    let repaired = trial.assert_published(&command.output().await.unwrap(), "repair");
    assert!(repaired.bytes_fetched > 0, "{repaired:?}");
    assert_eq!(verify(&trial).output().await.unwrap().status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_on_a_disk_that_fails_leaves_the_published_files_as_they_were_and_the_next_one_ends() {
    let cases = [
        ("write", ".modelcache/partial", ".modelcache/partial"),
        ("sync", ".modelcache/partial", ".modelcache/partial"),
        ("rename", ".modelcache/partial", ".modelcache/partial"),
        ("sync", ".modelcache/staging", ".modelcache/staging"),
        ("rename", ".modelcache/swap", ".modelcache/staging"),
    ];
    let faulty = FaultyDisk::compile();
    join_all(cases.map(async |(call, at, named)| {
        let trial = Trial::new().await;
        let after = format!("{call} of {at}");
        trial.assert_published(&trial.fetch().await, &after);
        trial.damage(5 * MEBIBYTE);
        let current = trial.model().join("current").canonicalize().unwrap();
        let before = contents_below(&current);
        let mut command = trial.on_the_folder(&["repair"]);
        faulty.fail(
            &mut command,
            &trial.model().join(at),
            failing(call, Errno::InputOutput, 0),
        );
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(FailureClass::StorageError.exit_code().into()),
            "{after}: {said}"
        );
        assert!(said.contains(named), "{after}: {said}");
        assert!(contents_below(&current) == before, "{after}");

        let output = trial.on_the_folder(&["repair"]).output().await.unwrap();
        trial.assert_published(&output, &after);
        assert_eq!(verify(&trial).output().await.unwrap().status.code(), Some(0), "{after}");
    }))
    .await;
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
