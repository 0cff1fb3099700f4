//! The power goes while bytes are on their way to the disk: of what was written and not yet synced, anything may be
//! there afterwards, or half of it, or nothing.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use modelcache_tests::hub::HubConfig;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::faulty_disk::FaultyDisk;
use crate::trial::{MEBIBYTE, Trial, after_a_restart, files};

/// Bytes of the model, and how many come a second: a sync begins after a second or two.
const WEIGHTS_BYTES: usize = 48 * MEBIBYTE;
const RATE: u64 = 16 << 20;

/// A write that no sync has made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unsynced {
    path: PathBuf,
    offset: u64,
    length: u64,
}

/// What a log tells of writes that were not durable when it ended.
fn unsynced(log: &str) -> Vec<Unsynced> {
    let mut pending: Vec<(usize, Unsynced)> = Vec::new();
    let mut begun = HashMap::new();
    for (line, text) in log.lines().enumerate() {
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["write", offset, length, path] => pending.push((
                line,
                Unsynced {
                    path: path.into(),
                    offset: offset.parse().unwrap(),
                    length: length.parse().unwrap(),
                },
            )),
            ["begin", path] => {
                begun.insert(path.to_owned(), line);
            }
            // What was written while it was under way may have been too late for it.
            ["sync", path] => {
                pending.retain(|(written, write)| write.path != Path::new(path) || *written > begun[path]);
            }
            _ => panic!("{text}"),
        }
    }
    pending.into_iter().map(|(_, write)| write).collect()
}

/// Leaves of a write what a power cut may leave of it.
fn cut(random: &mut SmallRng, write: &Unsynced) {
    // It may have been renamed or removed since, which is told nowhere; then it was synced before.
    let Ok(file) = OpenOptions::new().write(true).open(&write.path) else {
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

#[test]
fn a_log_tells_what_a_power_cut_may_take() {
    let log = "write 0 10 /a\nbegin /a\nwrite 10 5 /a\nsync /a\nwrite 0 7 /b\nbegin /b\nwrite 15 5 /a\n";
    let told: Vec<_> = unsynced(log)
        .into_iter()
        .map(|write| (write.path.display().to_string(), write.offset, write.length))
        .collect();
    assert_eq!(
        told,
        [
            ("/a".to_owned(), 10, 5),
            ("/b".to_owned(), 0, 7),
            ("/a".to_owned(), 15, 5)
        ]
    );
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
        let taken = unsynced(&fs::read_to_string(&log).unwrap_or_default());
        for write in &taken {
            cut(&mut random, write);
        }
        // And what a connection holds of a block that is not whole.
        lost += taken.iter().map(|write| write.length).sum::<u64>() + 2 * 2 * MEBIBYTE as u64;
        trial.assert_nothing_wrong_is_published(&format!("seed {seed}, power cut {cuts}"));
    }
    trial.hub.throttle(None);
    let output = after_a_restart(&trial.command(), &boot).output().await.unwrap();
    trial.assert_published(&output, &format!("seed {seed}, {cuts} power cuts"));
    let again = trial.hub.stats().bytes_sent - WEIGHTS_BYTES as u64;
    eprintln!("{again} bytes were fetched again after {cuts} power cuts that took at most {lost}");
    assert!(
        again <= lost,
        "seed {seed}: {again} bytes were fetched again, though at most {lost} were lost"
    );
}
