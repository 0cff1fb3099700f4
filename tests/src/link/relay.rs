//! Relay of one direction of one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::pace::Pace;

/// Most bytes of one read.
const CHUNK: usize = 256 * 1024;

/// Delay, window and caps of one direction.
pub(super) struct Direction {
    window: u32,
    delay: Duration,
    handshake: Duration,
    paces: Vec<Arc<Pace>>,
    counter: Option<Arc<AtomicU64>>,
}

/// Bytes in flight; they hold a part of the window.
struct Sent {
    due: Instant,
    bytes: Bytes,
    _window: OwnedSemaphorePermit,
}

impl Direction {
    pub(super) fn new(window: u32, delay: Duration) -> Self {
        Self {
            window,
            delay,
            handshake: Duration::ZERO,
            paces: Vec::new(),
            counter: None,
        }
    }

    pub(super) fn with_handshake(self, handshake: Duration) -> Self {
        Self { handshake, ..self }
    }

    pub(super) fn with_paces(self, paces: Vec<Arc<Pace>>) -> Self {
        Self { paces, ..self }
    }

    pub(super) fn with_counter(self, counter: Arc<AtomicU64>) -> Self {
        Self {
            counter: Some(counter),
            ..self
        }
    }

    /// Relays bytes until the sender closes, then closes the receiver.
    pub(super) async fn relay(self, from: OwnedReadHalf, to: OwnedWriteHalf) -> std::io::Result<()> {
        // The window bounds the bytes in the channel.
        let (sender, receiver) = mpsc::unbounded_channel();
        let not_before = Instant::now() + self.handshake + self.delay;
        let reading = read(from, sender, self.window, self.delay, not_before);
        tokio::try_join!(reading, self.write(to, receiver))?;
        Ok(())
    }

    async fn write(&self, mut to: OwnedWriteHalf, mut receiver: mpsc::UnboundedReceiver<Sent>) -> std::io::Result<()> {
        let chunk = self.paces.iter().map(|pace| pace.chunk()).min().unwrap_or(CHUNK);
        while let Some(mut sent) = receiver.recv().await {
            tokio::time::sleep_until(sent.due).await;
            while !sent.bytes.is_empty() {
                let now = sent.bytes.split_to(chunk.min(sent.bytes.len()));
                for pace in &self.paces {
                    pace.wait(now.len()).await;
                }
                to.write_all(&now).await?;
                if let Some(counter) = &self.counter {
                    counter.fetch_add(now.len() as u64, Ordering::Relaxed);
                }
            }
        }
        to.shutdown().await
    }
}

async fn read(
    mut from: OwnedReadHalf,
    sender: mpsc::UnboundedSender<Sent>,
    window: u32,
    delay: Duration,
    not_before: Instant,
) -> std::io::Result<()> {
    let room = Arc::new(Semaphore::new(window as usize));
    let largest = CHUNK.min(window as usize);
    let mut buffer = BytesMut::new();
    loop {
        // Waits for room before the read, so that a full window applies backpressure to the sender.
        drop(room.acquire().await);
        buffer.reserve(largest);
        let count = (&mut from).take(largest as u64).read_buf(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let bytes = buffer.split().freeze();
        let wanted = u32::try_from(count).unwrap_or(window).min(window);
        let Ok(held) = Arc::clone(&room).acquire_many_owned(wanted).await else {
            return Ok(());
        };
        let due = (Instant::now() + delay).max(not_before);
        let sent = Sent {
            due,
            bytes,
            _window: held,
        };
        if sender.send(sent).is_err() {
            return Ok(());
        }
    }
}
