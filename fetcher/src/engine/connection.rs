//! One connection: takes pieces from the board, asks for them as often as it must, and writes what arrives.
//!
//! What was received is kept when an answer is cut, down to the byte: only the rest of a piece is asked for again.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::active::{ActiveFile, Written};
use super::buffers::Buffer;
use super::request::{self, Answer};
use super::schedule::{FileNumber, Piece};
use super::{Run, Trouble};
use crate::error::{FetchError, SourceError, StorageError};
use crate::retry::Backoff;

/// Bytes per second below which a connection counts as stalled. A byte now and then would keep a dead connection for
/// days; a new one gets past it. Low, so that a slow line is not mistaken for it.
const SLOWEST: f64 = 1024.0;

/// Fetches pieces until nothing is left to fetch, or everything ends.
pub(super) async fn run(run: Arc<Run>) {
    loop {
        let next = tokio::select! {
            biased;
            () = run.halt.cancelled() => return,
            next = run.board.next() => next,
        };
        let Some((piece, file)) = next else { return };
        let fetched = tokio::select! {
            biased;
            () = run.halt.cancelled() => return,
            fetched = fetch(&run, &piece, &file) => fetched,
        };
        if let Ok(Done::RangesIgnored) = fetched {
            tracing::info!(file = %file.remote.path, "the server ignores ranges; the file is read in one stream");
            run.board.read_in_sequence(piece.file);
        }
        run.board.ended(&piece);
        if let Err(error) = fetched {
            run.fail(error);
            return;
        }
    }
}

/// How the work on a piece ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Every byte of it is written.
    Written,
    /// Its server does not do pieces.
    RangesIgnored,
}

/// Fetches a piece. When it returns, nothing of it is being written any more.
async fn fetch(run: &Arc<Run>, piece: &Piece, file: &Arc<ActiveFile>) -> Result<Done, FetchError> {
    let mut gathering = Gathering {
        run,
        piece,
        file,
        start: file.bytes(&piece.blocks).start,
        buffer: None,
        writing: None,
    };
    let gathered = gather(&mut gathering).await;
    gathering.settle().await?;
    gathered
}

/// Asks for a piece as often as that helps.
async fn gather(gathering: &mut Gathering<'_>) -> Result<Done, FetchError> {
    let Gathering { run, piece, file, .. } = *gathering;
    let bytes = file.bytes(&piece.blocks);
    let mut backoff = Backoff::new(run.settings.retry, run.next_seed());
    let mut relocated = false;
    while gathering.position() < bytes.end {
        let before = gathering.position();
        let begin = Instant::now();
        let asked = request::ask(run, file, before..bytes.end, piece.sequential).await;
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
            // A new address is refused like the old one: it is not the address.
            Err(Trouble::Relocate(error)) if relocated && error.class.is_permanent() => return Err(failed(error)),
            Err(Trouble::Relocate(error)) if !relocated => {
                tracing::debug!(file = %file.remote.path, error = %error, "locating the file anew");
                run.progress.retried();
                relocated = true;
                continue;
            }
            Err(Trouble::Relocate(error) | Trouble::Again(error)) => error,
        };
        let Some(pause) = backoff.failed(error.retry_after) else {
            return Err(failed(given_up(run, &error)));
        };
        tracing::debug!(file = %file.remote.path, offset = gathering.position(), error = %error, ?pause, "trying again");
        run.progress.retried();
        sleep(pause).await;
    }
    Ok(Done::Written)
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
    piece: &'a Piece,
    file: &'a Arc<ActiveFile>,
    /// Where the buffer goes: the beginning of a block.
    start: u64,
    buffer: Option<Buffer>,
    /// The block before, which is written while this one is filled.
    writing: Option<JoinHandle<Result<(), StorageError>>>,
}

impl Gathering<'_> {
    /// The next byte to ask for.
    fn position(&self) -> u64 {
        self.start + self.buffer.as_ref().map_or(0, Buffer::len) as u64
    }

    /// Reads the body of an answer.
    async fn read(&mut self, answer: Answer) -> Result<(), Trouble> {
        let Answer {
            mut response,
            from,
            mut skip,
            length: mut left,
            runs_on,
        } = answer;
        let again = |error| Trouble::Again(request::at(from.expose(), &error));
        let stall = self.run.settings.stall_timeout;
        let mut pace = Pace::default();
        while left > 0 {
            if let Some(gained) = pace.too_slow(stall) {
                return Err(again(request::trickled(gained, pace.waited)));
            }
            let asked = Instant::now();
            let mut chunk = match timeout(stall, response.chunk()).await {
                Err(_) => return Err(again(request::stalled(stall))),
                Ok(Err(error)) => return Err(again(request::network(error))),
                Ok(Ok(None)) => {
                    let error = format!("ended the body {left} bytes early");
                    return Err(again(request::against_protocol(error)));
                }
                Ok(Ok(Some(chunk))) => chunk,
            };
            pace.waited += asked.elapsed();
            pace.gained += chunk.len() as u64;
            self.run.progress.received(chunk.len() as u64);
            if let Some(bandwidth) = &self.run.bandwidth {
                bandwidth.draw(chunk.len() as u64).await;
            }
            let skipped = skip.min(chunk.len() as u64);
            self.run.progress.discarded(skipped);
            skip -= skipped;
            chunk.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
            if runs_on {
                let needed = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.run.progress.discarded((chunk.len() - needed) as u64);
                chunk.truncate(needed);
            } else if chunk.len() as u64 > left {
                self.run.progress.discarded(chunk.len() as u64);
                return Err(again(request::against_protocol(
                    "sent more bytes than it was asked for".to_owned(),
                )));
            }
            left -= chunk.len() as u64;
            self.take(chunk).await?;
        }
        if runs_on {
            // The rest of the file is on disk, or asked for by itself.
            return Ok(());
        }
        // Read to its end, the connection can be used again. Whatever else happens here concerns no byte of ours.
        let _ = timeout(stall, response.chunk()).await;
        Ok(())
    }

    /// Takes bytes in, and has every block written that is full.
    async fn take(&mut self, mut bytes: Bytes) -> Result<(), Trouble> {
        while bytes.has_remaining() {
            let block = self.start / self.file.block_bytes;
            let end = self.file.bytes(&(block..block + 1)).end;
            let mut buffer = match self.buffer.take() {
                Some(buffer) => buffer,
                None => self.run.buffers.get().await,
            };
            let room = end - self.start - buffer.len() as u64;
            let part = bytes.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
            buffer.extend(&part);
            if part.len() as u64 == room {
                // One write at a time: a disk that is slower than the source must hold it back.
                self.settle().await.map_err(Trouble::Failed)?;
                let unsynced = Arc::clone(&self.run.unsynced).acquire_owned().await.ok();
                self.start = end;
                self.writing = Some(write(self.run, self.file, self.piece.file, block, buffer, unsynced));
            } else {
                self.buffer = Some(buffer);
            }
        }
        Ok(())
    }

    /// Waits for the write under way.
    async fn settle(&mut self) -> Result<(), FetchError> {
        if let Some(writing) = self.writing.take() {
            writing
                .await
                .map_err(|error| FetchError::Internal(format!("a write ended early: {error}")))??;
        }
        Ok(())
    }
}

/// Writes a block where it belongs, and tells those who wait for it.
fn write(
    run: &Arc<Run>,
    file: &Arc<ActiveFile>,
    number: FileNumber,
    block: u64,
    buffer: Buffer,
    unsynced: Option<OwnedSemaphorePermit>,
) -> JoinHandle<Result<(), StorageError>> {
    let (run, file) = (Arc::clone(run), Arc::clone(file));
    tokio::task::spawn_blocking(move || {
        let checksum = crc32c::crc32c(buffer.bytes());
        let start = file.bytes(&(block..block + 1)).start;
        file.disk.write(buffer.bytes(), start).map_err(file.storage("write"))?;
        run.board.written(number, block);
        // The lane is gone only when the file was given up: then nobody waits for its blocks.
        let _ = file.written.send(Written {
            block,
            checksum,
            kept: buffer.keep(),
            unsynced,
        });
        Ok(())
    })
}
