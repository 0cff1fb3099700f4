//! A power cut during writes: bytes that are written and not yet synced may be complete, partial or missing afterwards.

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
use crate::scenario::{MEBIBYTE, Scenario, WEIGHTS, after_a_restart, files};

/// Bytes of the model, and bytes per second: the first sync starts after one or two seconds.
const WEIGHTS_BYTES: usize = 48 * MEBIBYTE;
const RATE: u64 = 16 << 20;

/// Opens the file of a write, if it still exists.
fn open(write: &Write) -> Option<fs::File> {
    match OpenOptions::new().write(true).open(&write.path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", write.path.display()),
    }
}

/// Damages a write as a power cut might.
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
async fn after_a_power_cut_only_unsynced_bytes_are_fetched_again() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let scenario = Scenario::of(HubConfig::default(), files(WEIGHTS_BYTES)).await;
    let faulty = FaultyDisk::compile();
    let log = scenario.folder.path().join("log");
    let boot = scenario.folder.path().join("boot");
    let mut lost = 0;
    let mut cuts = 0;
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    scenario.hub.throttle(Some(RATE));
    while cuts < 6 {
        let _ = fs::remove_file(&log);
        let mut command = scenario.command();
        faulty.log(&mut command, &scenario.model(), &log);
        let mut command = after_a_restart(&command, &boot);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moment = Duration::from_millis(random.random_range(600..2600));
        if tokio::time::timeout(moment, running.wait()).await.is_ok() {
            break;
        }
        running.kill().await.unwrap();
        cuts += 1;
        let damaged = unsynced(&logged());
        for write in &damaged {
            cut(&mut random, write);
        }
        // Each connection also loses the block that it has not received completely.
        lost += damaged.iter().map(|write| write.length).sum::<u64>() + 2 * 2 * MEBIBYTE as u64;
        scenario.assert_nothing_wrong_is_published(&format!("seed {seed}, power cut {cuts}"));
    }
    scenario.hub.throttle(None);
    let after = format!("seed {seed}, {cuts} power cuts");
    let output = after_a_restart(&scenario.command(), &boot).output().await.unwrap();
    scenario.assert_published(&output, &after);
    let again = scenario.hub.stats().bytes_sent - WEIGHTS_BYTES as u64;
    eprintln!("{again} bytes were fetched again after {cuts} power cuts that lost at most {lost}");
    assert!(
        again <= lost,
        "seed {seed}: {again} bytes were fetched again, though at most {lost} were lost"
    );
}

#[tokio::test]
async fn a_power_cut_right_after_a_fetch_loses_no_published_file() {
    // The weights have a journal, the small files do not.
    let scenario = Scenario::of(HubConfig::default(), files(WEIGHTS_BYTES)).await;
    let log = scenario.folder.path().join("log");
    let faulty = FaultyDisk::compile();
    let mut command = scenario.command();
    faulty.log(&mut command, &scenario.model(), &log);
    scenario.assert_published(&command.output().await.unwrap(), "a fetch");
    let log = fs::read_to_string(&log).unwrap();
    for name in ["config.json", WEIGHTS] {
        assert!(
            log.contains(&format!("/{name}\n")),
            "the log does not contain {name}: {log}"
        );
    }
    for write in unsynced(&log) {
        if let Some(file) = open(&write) {
            let nothing = vec![0; usize::try_from(write.length).unwrap()];
            file.write_all_at(&nothing, write.offset).unwrap();
        }
    }
    scenario.assert_nothing_wrong_is_published("a power cut");
    let again = scenario.assert_published(&scenario.fetch().await, "a power cut");
    assert_eq!(again.bytes_fetched, 0, "published bytes were lost");
}
