//! The power goes while bytes are on their way to the disk: of what was written and not yet synced, anything may be
//! there afterwards, or half of it, or nothing.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::time::Duration;

use modelcache_tests::hub::HubConfig;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::disk_log::{Write, unsynced};
use crate::faulty_disk::FaultyDisk;
use crate::scenario::{MEBIBYTE, Trial, WEIGHTS, after_a_restart, files};

/// Bytes of the model, and how many come a second: a sync begins after a second or two.
const WEIGHTS_BYTES: usize = 48 * MEBIBYTE;
const RATE: u64 = 16 << 20;

/// The file that was written to, unless it is gone.
fn open(write: &Write) -> Option<fs::File> {
    match OpenOptions::new().write(true).open(&write.path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", write.path.display()),
    }
}

/// Leaves of a write what a power cut may leave of it.
fn cut(random: &mut SmallRng, write: &Write) {
    let Some(file) = open(write) else {
        return;
    };
    let sectors = write.length.div_ceil(512);
    let kept = match random.random_range(0..4) {
        0 => return,
        1 => 0,
        _ => (random.random_range(0..=sectors) * 512).min(write.length),
    };
    let end = (write.offset + write.length).min(file.metadata().unwrap().len());
    let from = (write.offset + kept).min(end);
    if write.path.extension().is_some_and(|extension| extension == "journal") && random.random() {
        return file.set_len(from).unwrap();
    }
    let other = [0, 0xaa][random.random_range(0..2)];
    file.write_all_at(&vec![other; usize::try_from(end - from).unwrap()], from)
        .unwrap();
}

#[tokio::test]
async fn after_a_power_cut_only_what_was_not_synced_is_fetched_again() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let trial = Trial::of(HubConfig::default(), files(WEIGHTS_BYTES)).await;
    let faulty = FaultyDisk::compile();
    let log = trial.folder.path().join("log");
    let boot = trial.folder.path().join("boot");
    let mut lost = 0;
    let mut cuts = 0;
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    trial.hub.throttle(Some(RATE));
    while cuts < 6 {
        let _ = fs::remove_file(&log);
        let mut command = trial.command();
        faulty.log(&mut command, &trial.model(), &log);
        let mut command = after_a_restart(&command, &boot);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moment = Duration::from_millis(random.random_range(600..2600));
        if tokio::time::timeout(moment, running.wait()).await.is_ok() {
            break;
        }
        running.kill().await.unwrap();
        cuts += 1;
        let taken = unsynced(&logged());
        for write in &taken {
            cut(&mut random, write);
        }
        // And what a connection holds of a block that is not whole.
        lost += taken.iter().map(|write| write.length).sum::<u64>() + 2 * 2 * MEBIBYTE as u64;
        trial.assert_nothing_wrong_is_published(&format!("seed {seed}, power cut {cuts}"));
    }
    trial.hub.throttle(None);
    let after = format!("seed {seed}, {cuts} power cuts");
    let output = after_a_restart(&trial.command(), &boot).output().await.unwrap();
    trial.assert_published(&output, &after);
    let again = trial.hub.stats().bytes_sent - WEIGHTS_BYTES as u64;
    eprintln!("{again} bytes were fetched again after {cuts} power cuts that took at most {lost}");
    assert!(
        again <= lost,
        "seed {seed}: {again} bytes were fetched again, though at most {lost} were lost"
    );
}

#[tokio::test]
async fn a_power_cut_right_after_a_fetch_takes_nothing_that_is_published() {
    // The weights have a journal, the small files have none.
    let trial = Trial::of(HubConfig::default(), files(WEIGHTS_BYTES)).await;
    let log = trial.folder.path().join("log");
    let faulty = FaultyDisk::compile();
    let mut command = trial.command();
    faulty.log(&mut command, &trial.model(), &log);
    trial.assert_published(&command.output().await.unwrap(), "a fetch");
    let log = fs::read_to_string(&log).unwrap();
    for name in ["config.json", WEIGHTS] {
        assert!(log.contains(&format!("/{name}\n")), "nothing is told of {name}: {log}");
    }
    for write in unsynced(&log) {
        if let Some(file) = open(&write) {
            let nothing = vec![0; usize::try_from(write.length).unwrap()];
            file.write_all_at(&nothing, write.offset).unwrap();
        }
    }
    trial.assert_nothing_wrong_is_published("a power cut");
    let again = trial.assert_published(&trial.fetch().await, "a power cut");
    assert_eq!(again.bytes_fetched, 0, "something of what was published was lost");
}
