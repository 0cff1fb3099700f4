//! Gathers the bytes of a piece to blocks, and has whole blocks written.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::Answer;
use super::context::Requests;
use super::error::{RequestError, against_protocol, named, stalled, trickled};
use super::pace::Pace;
use crate::model::error::FetchError;
use crate::transfer::file::active::{ActiveFile, Written};
use crate::transfer::file::buffers::Buffer;
use crate::transfer::schedule::{OriginNumber, Piece};

/// The bytes of a piece, gathering to blocks.
pub(super) struct Gathering<'a> {
    requests: &'a Arc<Requests>,
    origin: OriginNumber,
    piece: &'a Piece,
    file: &'a Arc<ActiveFile>,
    /// Where the piece ends by now.
    pub(super) end: u64,
    /// Where the buffer goes: the beginning of a block.
    pub(super) start: u64,
    buffer: Option<Buffer>,
    /// The share of that block in what may be lost.
    unsynced: Option<OwnedSemaphorePermit>,
    /// Bytes received that are in no buffer yet.
    in_hand: u64,
    /// The block before, which is written while this one is filled.
    writing: Option<JoinHandle<()>>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(
        requests: &'a Arc<Requests>,
        origin: OriginNumber,
        piece: &'a Piece,
        file: &'a Arc<ActiveFile>,
    ) -> Self {
        let bytes = file.bytes(&piece.blocks);
        Self {
            requests,
            origin,
            piece,
            file,
            end: bytes.end,
            start: bytes.start,
            buffer: None,
            unsynced: None,
            in_hand: 0,
            writing: None,
        }
    }

    /// The next byte to ask for.
    pub(super) fn position(&self) -> u64 {
        self.start + self.buffer.as_ref().map_or(0, Buffer::len) as u64
    }

    /// Reads the body of an answer.
    pub(super) async fn read(&mut self, answer: Answer) -> Result<(), RequestError> {
        let Answer {
            mut body,
            from,
            mut skip,
            length: mut left,
            runs_on,
        } = answer;
        let again = |error| RequestError::from(named(&from, &error));
        let stall = self.requests.settings.stall_timeout;
        let mut pace = Pace::default();
        while left > 0 {
            if let Some(gained) = pace.too_slow(stall) {
                return Err(again(trickled(gained, pace.waited)));
            }
            let asked = Instant::now();
            let mut chunk = match timeout(stall, body.chunk()).await {
                Err(_) => return Err(again(stalled(stall))),
                Ok(Err(error)) => return Err(again(error)),
                Ok(Ok(None)) => {
                    let error = format!("ended the body {left} bytes early");
                    return Err(again(against_protocol(error)));
                }
                Ok(Ok(Some(chunk))) => chunk,
            };
            pace.waited += asked.elapsed();
            pace.gained += chunk.len() as u64;
            self.requests.progress.received(chunk.len() as u64);
            self.file.progress.received(chunk.len() as u64);
            self.in_hand = chunk.len() as u64;
            self.requests.origins.received(self.origin, chunk.len() as u64);
            if let Some(bandwidth) = &self.requests.bandwidth {
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
                return Err(again(against_protocol(
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
        self.requests.progress.discarded(bytes);
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
                self.unsynced = Arc::clone(&self.requests.unsynced).acquire_owned().await.ok();
                self.requests.buffers.get().await
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
            let claim = self.requests.schedule.claim(self.piece, block);
            self.requests.origins.delivered(self.origin);
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
    pub(super) async fn settle(&mut self) {
        if let Some(writing) = self.writing.take()
            && let Err(error) = writing.await
        {
            self.requests
                .stop
                .fail(FetchError::Internal(format!("a write ended early: {error}")));
        }
    }

    /// Writes a block where it belongs, and tells those who wait for it. Everything ends when that fails.
    fn write(&self, block: u64, buffer: Buffer, unsynced: Option<OwnedSemaphorePermit>) -> JoinHandle<()> {
        let (requests, file) = (Arc::clone(self.requests), Arc::clone(self.file));
        let (number, origin) = (self.piece.file, self.origin);
        self.requests.writes.spawn_blocking(move || {
            let checksum = crc32c::crc32c(buffer.bytes());
            let start = file.bytes(&(block..block + 1)).start;
            if let Err(error) = file.disk.write(buffer.bytes(), start).map_err(file.storage("write")) {
                requests.stop.fail(error.at_byte(start).into());
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
            requests.schedule.written(number, block);
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
