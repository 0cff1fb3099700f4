//! One connection: takes pieces from the schedule, asks for them as often as patience allows, and writes what arrives.
//!
//! What was received is kept when an answer is cut, down to the byte: only the rest of a piece is asked for again.

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
    // Longer pauses are for the origin that fails; another one may be asked soon.
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
        let is_setback = conclude(&requests, slot.origin, &task, outcome);
        requests.schedule.ended(&task.piece);
        if !is_setback {
            backoff.progressed();
            continue;
        }
        drop(slot);
        // The next origin may fail as fast: none is asked without end.
        let pause = backoff.failed(None).unwrap_or(policy.cap);
        tokio::select! {
            biased;
            () = requests.stop.ended() => return,
            () = sleep(pause) => {}
        }
    }
}

/// What follows from how a piece ended, at an offset where it failed: whether it is a setback for the connection. Of
/// several origins, no failure of one ends the fetch: what happens to a file that none of them offers any more is for its
/// worker to say.
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
                tracing::info!(file = %file.remote.path, "the server ignores ranges; reading the file in one stream");
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

/// What failed is fetched from another origin, or from this one later.
fn withdraw(
    requests: &Requests,
    origin: OriginNumber,
    task: &Task<ActiveFile>,
    offset: Option<u64>,
    error: SourceError,
) {
    tracing::debug!(origin = requests.origins.name(origin), %error, "an origin failed");
    if error.class.is_permanent() {
        requests
            .schedule
            .withdraw(task.piece.file, origin, Withdrawal { offset, error });
    } else if requests.origins.failed(origin, &error) == Verdict::Dropped {
        requests.schedule.withdraw_all(origin, &error);
    }
}

/// Fetches a piece. When it returns, nothing of it is being written any more. Returns the offset of a failure as well.
async fn fetch(
    requests: &Arc<Requests>,
    origin: OriginNumber,
    piece: &Piece,
    file: &Arc<ActiveFile>,
) -> (PieceOutcome, Option<u64>) {
    let mut gathering = Gathering::new(requests, origin, piece, file);
    let outcome = gather(requests, origin, piece, file, &mut gathering).await;
    gathering.settle().await;
    (outcome, Some(gathering.position()))
}

/// Asks for a piece as often as that helps.
async fn gather(
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
        if let Some(error) = patience.counted(&error) {
            requests.origins.record_failure(origin, error);
        }
        let reason = format!("{error:?}");
        let pause = match patience.after(error, gained > 0, requests.origins.is_shared(origin)) {
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
