//! Stopped again and again, at any moment, in order or by force.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use modelcache_crds::report::FailureClass;
use modelcache_tests::hub::HubConfig;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};

use crate::trial::{MEBIBYTE, Trial, files};

const STOPS: usize = 100;

/// What may be on its way to a fetcher: in the system's buffers of two connections, and in blocks that are not whole.
const ON_THE_WAY: u64 = 2 * (8 + 1) * MEBIBYTE as u64;

/// What a killed fetcher may have to fetch again at most.
const LOST_BY_A_KILL: u64 = 64 * MEBIBYTE as u64;

#[tokio::test(flavor = "multi_thread")]
async fn a_fetcher_stopped_a_hundred_times_at_random_shows_no_wrong_byte_and_ends_right() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let size = 24 * MEBIBYTE;
    let trial = Trial::of(HubConfig::default(), files(size)).await;
    let (mut stops, mut completed, mut may_be_lost, mut reused) = (0, 0, 0, 0);
    while stops < STOPS {
        let rate = [Some(8 << 20), Some(32 << 20), None][random.random_range(0..3)];
        trial.hub.throttle(rate);
        let before = trial.hub.stats().bytes_sent;
        let mut command = trial.command();
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moment = Duration::from_millis(random.random_range(0..500));
        let after = format!("seed {seed}, stop {stops}");
        if let Ok(status) = tokio::time::timeout(moment, running.wait()).await {
            assert!(status.unwrap().success(), "{after}: {:?}", trial.report());
            trial.assert_nothing_wrong_is_published(&after);
            completed += 1;
            fs::remove_dir_all(trial.model()).unwrap();
            continue;
        }
        stops += 1;
        let process = Pid::from_raw(running.id().unwrap().try_into().unwrap()).unwrap();
        let signal = if random.random() { Signal::TERM } else { Signal::KILL };
        kill_process(process, signal).unwrap();
        let status = running.wait().await.unwrap();
        trial.assert_nothing_wrong_is_published(&after);
        let sent = trial.hub.stats().bytes_sent - before;
        if status.success() {
            // It was done when the signal came.
            completed += 1;
            fs::remove_dir_all(trial.model()).unwrap();
        } else if signal == Signal::TERM && status.code() == Some(FailureClass::Interrupted.exit_code().into()) {
            may_be_lost += sent.min(ON_THE_WAY);
        } else {
            // Before the program has set itself up, either signal ends it alike.
            assert_eq!(status.code(), None, "{after}: {:?}", trial.report());
            may_be_lost += sent.min(LOST_BY_A_KILL + ON_THE_WAY);
        }
    }
    trial.hub.throttle(None);
    let output = trial.fetch().await;
    let published = trial.assert_published(&output, &format!("seed {seed}, the end"));
    completed += 1;
    reused += published.bytes_reused;
    let again = trial.hub.stats().bytes_sent - completed * size as u64;
    eprintln!("{completed} fetches, {again} bytes fetched again, {reused} reused by the last one");
    assert!(
        again <= may_be_lost,
        "seed {seed}: {again} bytes were fetched again, {may_be_lost} may be"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetcher_killed_at_full_speed_fetches_at_most_64_mebibytes_again() {
    let seed: u64 = rand::random();
    let size = 384 * MEBIBYTE;
    let trial = Trial::of(HubConfig::default(), files(size)).await;
    let mut command = trial.command();
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let share = SmallRng::seed_from_u64(seed).random_range(0.3..0.7);
    while (trial.hub.stats().bytes_sent as f64) < size as f64 * share {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.kill().await.unwrap();
    trial.assert_nothing_wrong_is_published("a kill");
    let output = trial.fetch().await;
    let published = trial.assert_published(&output, "a kill");
    let again = trial.hub.stats().bytes_sent - size as u64;
    eprintln!(
        "{again} bytes were fetched again, {} were reused",
        published.bytes_reused
    );
    assert!(
        again <= LOST_BY_A_KILL + ON_THE_WAY,
        "seed {seed}: {again} bytes were fetched again"
    );
}
