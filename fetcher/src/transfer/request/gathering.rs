//! Gathers the bytes of a piece into blocks, and writes complete blocks.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::Answer;
use super::context::Requests;
use super::error::{RequestError, named, protocol_error, stalled, too_slow};
use super::pace::Pace;
use crate::model::error::FetchError;
use crate::transfer::file::active::{ActiveFile, Written};
use crate::transfer::file::buffers::Buffer;
use crate::transfer::schedule::{OriginNumber, Piece};

/// The bytes of a piece, gathered into blocks.
pub(super) struct Gathering<'a> {
    requests: &'a Arc<Requests>,
    origin: OriginNumber,
    piece: &'a Piece,
    file: &'a Arc<ActiveFile>,
    /// Offset at which the piece ends now.
    pub(super) end: u64,
    /// Offset of the buffer: the start of a block.
    pub(super) start: u64,
    buffer: Option<Buffer>,
    /// The permit of the block in the buffer, which is not durable.
    unsynced: Option<OwnedSemaphorePermit>,
    /// Received bytes that are not in a buffer yet.
    unbuffered_bytes: u64,
    /// The write of the previous block, which runs while this one is filled.
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
            unbuffered_bytes: 0,
            writing: None,
        }
    }

    /// Offset of the next byte to request.
    pub(super) fn position(&self) -> u64 {
        self.start + self.buffer.as_ref().map_or(0, Buffer::len) as u64
    }

    /// Reads the body of a response.
    pub(super) async fn read(&mut self, answer: Answer) -> Result<(), RequestError> {
        let Answer {
            mut body,
            from,
            mut skip,
            length: mut left,
            runs_on,
        } = answer;
        let failed = |error| RequestError::from(named(&from, &error));
        let stall = self.requests.settings.stall_timeout;
        let mut pace = Pace::default();
        while left > 0 {
            if let Some(gained) = pace.too_slow(stall) {
                return Err(failed(too_slow(gained, pace.waited)));
            }
            let asked = Instant::now();
            let mut chunk = match timeout(stall, body.chunk()).await {
                Err(_) => return Err(failed(stalled(stall))),
                Ok(Err(error)) => return Err(failed(error)),
                Ok(Ok(None)) => {
                    let error = format!("ended the body {left} bytes early");
                    return Err(failed(protocol_error(error)));
                }
                Ok(Ok(Some(chunk))) => chunk,
            };
            pace.waited += asked.elapsed();
            pace.gained += chunk.len() as u64;
            self.requests.progress.received(chunk.len() as u64);
            self.file.progress.received(chunk.len() as u64);
            self.unbuffered_bytes = chunk.len() as u64;
            self.requests.origins.received(self.origin, chunk.len() as u64);
            if let Some(bandwidth) = &self.requests.bandwidth {
                bandwidth.acquire(chunk.len() as u64).await;
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
                return Err(failed(protocol_error("sent more bytes than requested".to_owned())));
            }
            left -= chunk.len() as u64;
            self.add(chunk).await;
            if self.position() >= self.end {
                break;
            }
        }
        if runs_on || left > 0 {
            // The rest of the body is on disk already, or requested separately.
            return Ok(());
        }
        // Read to its end, so that the connection can be reused. Every byte is here, so a failure does not matter.
        let _ = timeout(stall, body.chunk()).await;
        Ok(())
    }

    /// Discards received bytes.
    fn discard(&mut self, bytes: u64) {
        self.unbuffered_bytes -= bytes;
        self.count_discarded(bytes);
    }

    fn count_discarded(&self, bytes: u64) {
        self.requests.progress.discarded(bytes);
        self.file.progress.discarded(bytes);
    }

    /// Adds bytes to the buffer, and starts to write each complete block.
    async fn add(&mut self, mut bytes: Bytes) {
        while bytes.has_remaining() {
            let block = self.start / self.file.block_bytes;
            let end = self.file.bytes(&(block..block + 1)).end;
            let mut buffer = if let Some(buffer) = self.buffer.take() {
                buffer
            } else {
                // Before the memory, which others can use during this wait.
                self.unsynced = Arc::clone(&self.requests.unsynced).acquire_owned().await.ok();
                self.requests.buffers.get().await
            };
            let room = end - self.start - buffer.len() as u64;
            let part = bytes.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
            buffer.extend(&part);
            self.unbuffered_bytes -= part.len() as u64;
            self.buffer = Some(buffer);
            if (part.len() as u64) < room {
                continue;
            }
            // One write at a time, so that a slow disk causes backpressure on the source.
            self.finish_write().await;
            // No await from here to the write: a claimed block must be written even if this future is dropped.
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

    /// Waits for the running write.
    pub(super) async fn finish_write(&mut self) {
        if let Some(writing) = self.writing.take()
            && let Err(error) = writing.await
        {
            self.requests
                .stop
                .fail(FetchError::Internal(format!("write task failed: {error}")));
        }
    }

    /// Writes a block, then passes it to the file worker and the schedule. A failure ends the fetch.
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
            // Without a receiver the file was removed, and no worker waits for its blocks.
            let _ = file.written.send(Written {
                block,
                origin,
                checksum,
                kept: buffer.keep(number, block),
                unsynced,
            });
            // Last, so that the worker of an idle file has received all of its blocks.
            requests.schedule.written(number, block);
        })
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        // An incomplete block is lost.
        let lost = self.buffer.as_ref().map_or(0, Buffer::len);
        self.count_discarded(self.unbuffered_bytes + lost as u64);
    }
}
