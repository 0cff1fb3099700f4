//! One connection: takes pieces from the schedule, requests them with retries, and writes what arrives.
//!
//! When a response is cut, every received byte is kept: only the rest of the piece is requested again.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::context::Requests;
use super::gathering::Gathering;
use super::patience::PieceOutcome;
use crate::http::retry::{Backoff, Policy};
use crate::model::error::{FetchError, SourceError};
use crate::transfer::file::active::ActiveFile;
use crate::transfer::origins::steering::Verdict;
use crate::transfer::schedule::shared::{Task, Withdrawal};
use crate::transfer::schedule::{OriginNumber, Piece};

/// Fetches pieces until the fetch ends.
pub(crate) async fn run(requests: Arc<Requests>) {
    // Short pauses: longer ones are up to the origin's own state, and another origin may be available soon.
    let policy = Policy {
        cap: requests.settings.retry.base,
        attempts: u32::MAX,
        ..requests.settings.retry
    };
    let mut backoff = Backoff::new(policy, requests.next_seed());
    loop {
        let slot = tokio::select! {
            biased;
            () = requests.stop.ended() => return,
            slot = requests.origins.slot() => slot,
        };
        let next = tokio::select! {
            biased;
            () = requests.stop.ended() => return,
            next = requests.schedule.next(slot.origin) => next,
        };
        let Some(task) = next else { continue };
        let outcome = {
            let _busy = slot.busy();
            tokio::select! {
                biased;
                () = requests.stop.ended() => return,
                () = task.token.cancelled() => (PieceOutcome::NotNeeded, None),
                fetched = fetch(&requests, slot.origin, &task.piece, &task.file) => fetched,
            }
        };
        let must_back_off = conclude(&requests, slot.origin, &task, outcome);
        requests.schedule.ended(&task.piece);
        if !must_back_off {
            backoff.progressed();
            continue;
        }
        drop(slot);
        // The next origin may fail as fast: the pause prevents a busy loop.
        let pause = backoff.failed(None).unwrap_or(policy.cap);
        tokio::select! {
            biased;
            () = requests.stop.ended() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Acts on the outcome of a piece, with the offset at which it failed. Returns whether the connection must back off.
///
/// With several origins, the failure of one does not end the fetch: the file worker decides about a file that none of them
/// offers any more.
fn conclude(
    requests: &Requests,
    origin: OriginNumber,
    task: &Task<ActiveFile>,
    (outcome, offset): (PieceOutcome, Option<u64>),
) -> bool {
    let (number, file) = (task.piece.file, &task.file);
    match outcome {
        PieceOutcome::Written | PieceOutcome::NotNeeded => false,
        PieceOutcome::Refused => true,
        PieceOutcome::RangesIgnored => {
            if requests.schedule.ignores_ranges(number, origin) {
                tracing::info!(file = %file.remote.path, "server ignores ranges; reading the file in one stream");
            }
            false
        }
        PieceOutcome::Failed(error) if requests.origins.is_single() => {
            requests.stop.fail(FetchError::Source {
                file: Some(file.remote.path.clone()),
                offset,
                source: error,
            });
            true
        }
        PieceOutcome::Failed(error) => {
            requests.progress.retried();
            withdraw(requests, origin, task, offset, error);
            true
        }
        PieceOutcome::Local(error) => {
            requests.stop.fail(error);
            true
        }
    }
}

/// Leaves a failed piece to another origin, or to this one later.
fn withdraw(
    requests: &Requests,
    origin: OriginNumber,
    task: &Task<ActiveFile>,
    offset: Option<u64>,
    error: SourceError,
) {
    tracing::debug!(origin = requests.origins.name(origin), %error, "piece failed at origin");
    if error.class.is_permanent() {
        requests
            .schedule
            .withdraw(task.piece.file, origin, Withdrawal { offset, error });
    } else if requests.origins.failed(origin, &error) == Verdict::Dropped {
        requests.schedule.withdraw_all(origin, &error);
    }
}

/// Fetches a piece, and waits until its blocks are written. Returns the offset that it reached as well.
async fn fetch(
    requests: &Arc<Requests>,
    origin: OriginNumber,
    piece: &Piece,
    file: &Arc<ActiveFile>,
) -> (PieceOutcome, Option<u64>) {
    let mut gathering = Gathering::new(requests, origin, piece, file);
    let outcome = request_with_retries(requests, origin, piece, file, &mut gathering).await;
    gathering.finish_write().await;
    (outcome, Some(gathering.position()))
}

/// Requests a piece, with retries, until it is complete or retries are used up.
async fn request_with_retries(
    requests: &Arc<Requests>,
    origin: OriginNumber,
    piece: &Piece,
    file: &ActiveFile,
    gathering: &mut Gathering<'_>,
) -> PieceOutcome {
    let mut patience = requests.patience();
    while gathering.position() < gathering.end {
        let (before, block) = (gathering.position(), gathering.start);
        let begin = Instant::now();
        let asked = super::ask(requests, origin, file, before..gathering.end, piece.sequential).await;
        let answered = Instant::now();
        let read = match asked {
            Ok(answer) => gathering.read(answer).await,
            Err(error) => Err(error),
        };
        let gained = gathering.position() - before;
        if gained > 0 {
            patience.bytes_arrived();
        }
        if gathering.start > block {
            patience.block_arrived();
        }
        let Err(error) = read else {
            requests.learn_piece_length(answered - begin, gained, answered.elapsed());
            continue;
        };
        if let Some(error) = patience.counted_error(&error) {
            requests.origins.record_failure(origin, error);
        }
        let reason = format!("{error:?}");
        let pause = match patience.on_failure(error, gained > 0, requests.origins.is_shared(origin)) {
            Ok(pause) => pause,
            Err(outcome) => {
                if matches!(outcome, PieceOutcome::Refused) {
                    requests.progress.retried();
                }
                return outcome;
            }
        };
        tracing::debug!(file = %file.remote.path, offset = gathering.position(), reason, ?pause, "retrying");
        requests.progress.retried();
        sleep(pause).await;
    }
    PieceOutcome::Written
}
