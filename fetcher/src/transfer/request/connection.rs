//! One connection: takes pieces from the board, asks for them as often as it must, and writes what arrives.
//!
//! What was received is kept when an answer is cut, down to the byte: only the rest of a piece is asked for again.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Answer;
use crate::http::retry::{Backoff, Policy};
use crate::model::error::{FetchError, SourceError};
use crate::transfer::file::active::{ActiveFile, Written};
use crate::transfer::file::buffers::Buffer;
use crate::transfer::origins::steering::Verdict;
use crate::transfer::request;
use crate::transfer::schedule::shared::{Next, Task};
use crate::transfer::schedule::{FileNumber, OriginNumber, Piece};
use crate::transfer::{Run, Trouble};

/// Bytes per second below which a connection counts as stalled. A byte now and then would keep a dead connection for
/// days; a new one gets past it. Low, so that a slow line is not mistaken for it.
const SLOWEST: f64 = 1024.0;

/// Fetches pieces until nothing is left to fetch, or everything ends.
pub(crate) async fn run(run: Arc<Run>) {
    // Longer pauses are for the origin that fails; another one may be asked soon.
    let policy = Policy {
        cap: run.settings.retry.base,
        attempts: u32::MAX,
        ..run.settings.retry
    };
    let mut backoff = Backoff::new(policy, run.next_seed());
    loop {
        let slot = tokio::select! {
            biased;
            () = run.halt.cancelled() => return,
            () = run.board.closed() => return,
            slot = run.origins.slot() => slot,
        };
        let task = match run.board.next(slot.origin).await {
            Next::Task(task) => task,
            Next::Nothing => continue,
            Next::End => return,
        };
        let fetched = {
            let _busy = slot.busy();
            tokio::select! {
                biased;
                () = run.halt.cancelled() => return,
                () = task.needless.cancelled() => Ok(Done::Needless),
                fetched = fetch(&run, slot.origin, &task.piece, &task.file) => fetched,
            }
        };
        let ended = end(&run, slot.origin, &task, fetched);
        run.board.ended(&task.piece);
        let pause = match ended {
            Ok(End::Well) => {
                backoff.progressed();
                continue;
            }
            // The next origin may fail as fast: nobody is to be asked without end.
            Ok(End::SetBack) => backoff.failed(None).unwrap_or(policy.cap),
            Err(error) => {
                run.fail(error);
                return;
            }
        };
        drop(slot);
        tokio::select! {
            biased;
            () = run.halt.cancelled() => return,
            () = run.board.closed() => return,
            () = sleep(pause) => {}
        }
    }
}

/// How the work on a piece ended, for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    /// Its origin failed or refused, and this or another one is asked again.
    SetBack,
}

/// What follows from how the work on a piece ended. Where there are several origins, no failure of one ends anything:
/// what becomes of a file that nobody offers any more is for its lane to say.
fn end(run: &Run, origin: OriginNumber, task: &Task, fetched: Result<Done, FetchError>) -> Result<End, FetchError> {
    let file = task.piece.file;
    match fetched {
        Ok(Done::Written | Done::Needless) => Ok(End::Well),
        Ok(Done::Refused) => Ok(End::SetBack),
        Ok(Done::RangesIgnored) => {
            if run.board.ignores_ranges(file, origin) {
                tracing::info!(file = %task.file.remote.path, "the server ignores ranges; the file is read in one stream");
            }
            Ok(End::Well)
        }
        Err(failure @ FetchError::Source { .. }) if !run.origins.is_single() => {
            run.progress.retried();
            set_back(run, origin, file, failure);
            Ok(End::SetBack)
        }
        Err(error) => Err(error),
    }
}

/// What failed is to be had from another origin, or from this one later.
fn set_back(run: &Run, origin: OriginNumber, file: FileNumber, failure: FetchError) {
    let FetchError::Source { source: error, .. } = &failure else {
        return;
    };
    tracing::debug!(origin = run.origins.name(origin), %error, "an origin failed");
    if error.class.is_permanent() {
        run.board.withdraw(file, origin, failure);
    } else if run.origins.failed(origin, error) == Verdict::GivenUp {
        run.board.withdraw_all(origin, error);
    }
}

/// How the work on a piece ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Every byte of it is written.
    Written,
    /// Its server does not do pieces.
    RangesIgnored,
    /// Somebody else has it, or its origin is to rest.
    Needless,
    /// Its server is asked by too many connections; one that is served takes it.
    Refused,
}

/// Fetches a piece. When it returns, nothing of it is being written any more.
async fn fetch(
    run: &Arc<Run>,
    origin: OriginNumber,
    piece: &Piece,
    file: &Arc<ActiveFile>,
) -> Result<Done, FetchError> {
    let mut gathering = Gathering {
        run,
        origin,
        piece,
        file,
        start: file.bytes(&piece.blocks).start,
        end: file.bytes(&piece.blocks).end,
        buffer: None,
        unsynced: None,
        in_hand: 0,
        writing: None,
    };
    let gathered = gather(&mut gathering).await;
    gathering.settle().await;
    gathered
}

/// Asks for a piece as often as that helps.
async fn gather(gathering: &mut Gathering<'_>) -> Result<Done, FetchError> {
    let Gathering {
        run,
        origin,
        piece,
        file,
        ..
    } = *gathering;
    let mut backoff = Backoff::new(run.settings.retry, run.next_seed());
    let mut relocated = false;
    // Since the last block: of one that is never whole nothing stays.
    let (mut cuts, mut blocks_from) = (0, gathering.start);
    while gathering.position() < gathering.end {
        let before = gathering.position();
        let begin = Instant::now();
        let asked = request::ask(run, origin, file, before..gathering.end, piece.sequential).await;
        let answered = Instant::now();
        let read = match asked {
            Ok(answer) => gathering.read(answer).await,
            Err(trouble) => Err(trouble),
        };
        if read.is_ok() {
            run.learn_piece_length(answered - begin, gathering.position() - before, answered.elapsed());
        }
        if gathering.position() > before {
            backoff.progressed();
            relocated = false;
        }
        match &read {
            Err(Trouble::Permanent(error) | Trouble::Again(error)) => run.origins.troubled(origin, error),
            // The first time it may only have expired.
            Err(Trouble::Relocate(error)) if relocated => run.origins.troubled(origin, error),
            Ok(()) | Err(_) => {}
        }
        let failed = |source| FetchError::Source {
            file: Some(file.remote.path.clone()),
            offset: Some(gathering.position()),
            source,
        };
        let error = match read {
            Ok(()) => continue,
            Err(Trouble::RangesIgnored) => return Ok(Done::RangesIgnored),
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::Permanent(error)) => return Err(failed(error)),
            Err(Trouble::Relocate(error) | Trouble::Forbidden(error)) if !relocated => {
                tracing::debug!(file = %file.remote.path, error = %error, "locating the file anew");
                run.progress.retried();
                relocated = true;
                continue;
            }
            // The operator waits that long, and nobody pays for an idle pod meanwhile.
            Err(Trouble::Refused(error) | Trouble::Again(error))
                if run.origins.is_single() && run.settings.retry.is_too_long(error.retry_after) =>
            {
                return Err(failed(error));
            }
            // Refused beside others: that says nothing about the file. Fewer connections go on with it.
            Err(Trouble::Forbidden(error)) if run.origins.is_shared(origin) => {
                return Ok(refused_beside_others(run, file, &error));
            }
            // Another origin is quicker than that.
            Err(Trouble::Refused(error)) if run.origins.is_single() && run.origins.is_shared(origin) => {
                return Ok(refused_beside_others(run, file, &error));
            }
            // A new address is refused like the old one: it is not the address.
            Err(Trouble::Relocate(error) | Trouble::Forbidden(error)) if error.class.is_permanent() => {
                return Err(failed(error));
            }
            Err(
                Trouble::Relocate(error) | Trouble::Forbidden(error) | Trouble::Refused(error) | Trouble::Again(error),
            ) => error,
        };
        if !run.origins.is_single() {
            if gathering.start > blocks_from {
                (cuts, blocks_from) = (0, gathering.start);
            }
            cuts += 1;
            if gathering.position() > before && cuts < run.settings.retry.attempts {
                continue;
            }
            // Another origin is quicker than patience.
            return Err(failed(error));
        }
        let Some(pause) = backoff.failed(error.retry_after) else {
            return Err(failed(given_up(run, &error)));
        };
        tracing::debug!(file = %file.remote.path, offset = gathering.position(), error = %error, ?pause, "trying again");
        run.progress.retried();
        sleep(pause).await;
    }
    Ok(Done::Written)
}

fn refused_beside_others(run: &Run, file: &ActiveFile, error: &SourceError) -> Done {
    tracing::debug!(file = %file.remote.path, %error, "refused beside other connections; leaving it to them");
    run.progress.retried();
    Done::Refused
}

fn given_up(run: &Run, error: &SourceError) -> SourceError {
    let tries = run.settings.retry.attempts;
    let message = format!("{} (gave up after {tries} tries without a byte gained)", error.message);
    SourceError::new(error.class, message).with_retry_after(error.retry_after)
}

/// What a connection brought in the time it was waited for. The disk may be slower, and so may the bound
/// on the bandwidth: that is not its fault.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    gained: u64,
}

impl Pace {
    /// The bytes that a whole window of waiting brought, when they are too few; otherwise a window that is over makes
    /// place for the next.
    fn too_slow(&mut self, window: Duration) -> Option<u64> {
        if self.waited < window {
            return None;
        }
        if (self.gained as f64) < SLOWEST * self.waited.as_secs_f64() {
            return Some(self.gained);
        }
        *self = Self::default();
        None
    }
}

/// The bytes of a piece, gathering to blocks.
struct Gathering<'a> {
    run: &'a Arc<Run>,
    origin: OriginNumber,
    piece: &'a Piece,
    file: &'a Arc<ActiveFile>,
    /// Where the piece ends by now.
    end: u64,
    /// Where the buffer goes: the beginning of a block.
    start: u64,
    buffer: Option<Buffer>,
    /// The share of that block in what may be lost.
    unsynced: Option<OwnedSemaphorePermit>,
    /// Bytes received that are in no buffer yet.
    in_hand: u64,
    /// The block before, which is written while this one is filled.
    writing: Option<JoinHandle<()>>,
}

impl Gathering<'_> {
    /// The next byte to ask for.
    fn position(&self) -> u64 {
        self.start + self.buffer.as_ref().map_or(0, Buffer::len) as u64
    }

    /// Reads the body of an answer.
    async fn read(&mut self, answer: Answer) -> Result<(), Trouble> {
        let Answer {
            mut body,
            from,
            mut skip,
            length: mut left,
            runs_on,
        } = answer;
        let again = |error| Trouble::from(request::named(&from, &error));
        let stall = self.run.settings.stall_timeout;
        let mut pace = Pace::default();
        while left > 0 {
            if let Some(gained) = pace.too_slow(stall) {
                return Err(again(request::trickled(gained, pace.waited)));
            }
            let asked = Instant::now();
            let mut chunk = match timeout(stall, body.chunk()).await {
                Err(_) => return Err(again(request::stalled(stall))),
                Ok(Err(error)) => return Err(again(error)),
                Ok(Ok(None)) => {
                    let error = format!("ended the body {left} bytes early");
                    return Err(again(request::against_protocol(error)));
                }
                Ok(Ok(Some(chunk))) => chunk,
            };
            pace.waited += asked.elapsed();
            pace.gained += chunk.len() as u64;
            self.run.progress.received(chunk.len() as u64);
            self.file.progress.received(chunk.len() as u64);
            self.in_hand = chunk.len() as u64;
            self.run.origins.received(self.origin, chunk.len() as u64);
            if let Some(bandwidth) = &self.run.bandwidth {
                bandwidth.draw(chunk.len() as u64).await;
            }
            let skipped = skip.min(chunk.len() as u64);
            self.discard(skipped);
            skip -= skipped;
            chunk.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
            if runs_on {
                let needed = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.discard((chunk.len() - needed) as u64);
                chunk.truncate(needed);
            } else if chunk.len() as u64 > left {
                self.discard(chunk.len() as u64);
                return Err(again(request::against_protocol(
                    "sent more bytes than it was asked for".to_owned(),
                )));
            }
            left -= chunk.len() as u64;
            self.take(chunk).await;
            if self.position() >= self.end {
                break;
            }
        }
        if runs_on || left > 0 {
            // What follows is on disk, or asked for by itself.
            return Ok(());
        }
        // Read to its end, the connection can be used again. Whatever else happens here concerns no byte of ours.
        let _ = timeout(stall, body.chunk()).await;
        Ok(())
    }

    /// Throws received bytes away.
    fn discard(&mut self, bytes: u64) {
        self.in_hand -= bytes;
        self.count_discarded(bytes);
    }

    fn count_discarded(&self, bytes: u64) {
        self.run.progress.discarded(bytes);
        self.file.progress.discarded(bytes);
    }

    /// Takes bytes in, and has every block written that is full.
    async fn take(&mut self, mut bytes: Bytes) {
        while bytes.has_remaining() {
            let block = self.start / self.file.block_bytes;
            let end = self.file.bytes(&(block..block + 1)).end;
            let mut buffer = if let Some(buffer) = self.buffer.take() {
                buffer
            } else {
                // Before the memory, which others need meanwhile.
                self.unsynced = Arc::clone(&self.run.unsynced).acquire_owned().await.ok();
                self.run.buffers.get().await
            };
            let room = end - self.start - buffer.len() as u64;
            let part = bytes.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
            buffer.extend(&part);
            self.in_hand -= part.len() as u64;
            self.buffer = Some(buffer);
            if (part.len() as u64) < room {
                continue;
            }
            // One write at a time: a disk that is slower than the source must hold it back.
            self.settle().await;
            // From here to the write nothing may be waited for: a block that was claimed must be written.
            let claim = self.run.board.claim(self.piece, block);
            self.run.origins.brought(self.origin);
            let Some(buffer) = self.buffer.take() else { continue };
            let unsynced = self.unsynced.take();
            self.start = end;
            self.end = self.file.bytes(&(block..claim.end)).end.max(end);
            if claim.is_first {
                self.writing = Some(self.write(block, buffer, unsynced));
            } else {
                self.count_discarded(buffer.len() as u64);
            }
            if self.start >= self.end {
                self.discard(bytes.len() as u64);
                return;
            }
        }
    }

    /// Waits for the write under way.
    async fn settle(&mut self) {
        if let Some(writing) = self.writing.take()
            && let Err(error) = writing.await
        {
            self.run
                .fail(FetchError::Internal(format!("a write ended early: {error}")));
        }
    }

    /// Writes a block where it belongs, and tells those who wait for it. Everything ends when that fails.
    fn write(&self, block: u64, buffer: Buffer, unsynced: Option<OwnedSemaphorePermit>) -> JoinHandle<()> {
        let (run, file) = (Arc::clone(self.run), Arc::clone(self.file));
        let (number, origin) = (self.piece.file, self.origin);
        self.run.writes.spawn_blocking(move || {
            let checksum = crc32c::crc32c(buffer.bytes());
            let start = file.bytes(&(block..block + 1)).start;
            if let Err(error) = file.disk.write(buffer.bytes(), start).map_err(file.storage("write")) {
                run.fail(error.at_byte(start).into());
                return;
            }
            // The lane is gone only when the file was given up: then nobody waits for its blocks.
            let _ = file.written.send(Written {
                block,
                origin,
                checksum,
                kept: buffer.keep(number, block),
                unsynced,
            });
            // Last, so that a file of which nothing is on its way has told its lane everything.
            run.board.written(number, block);
        })
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        // Of a block that is not whole nothing stays.
        let lost = self.buffer.as_ref().map_or(0, Buffer::len);
        self.count_discarded(self.in_hand + lost as u64);
    }
}
