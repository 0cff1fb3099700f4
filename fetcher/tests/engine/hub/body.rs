//! Response bodies, sent in chunks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};

/// How a body ends.
#[derive(Clone, Copy)]
pub(super) enum End {
    Proper,
    Cut,
    Stall,
    Trickle(u64, Duration),
}

/// Counts of the bodies of a hub.
#[derive(Clone, Default)]
pub(super) struct Counts {
    /// Bytes written to the network.
    pub(super) served: Arc<AtomicU64>,
    /// Bodies in progress.
    pub(super) active_bodies: Arc<AtomicU64>,
}

/// Counts a body as in progress until it is dropped.
struct ActiveBody(Arc<AtomicU64>);

impl ActiveBody {
    fn begin(counts: &Counts) -> Self {
        counts.active_bodies.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&counts.active_bodies))
    }
}

impl Drop for ActiveBody {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A body that counts each chunk when it is sent.
pub(super) fn body(mut content: Bytes, counts: &Counts, end: End) -> Body {
    let (chunk, pause) = match end {
        End::Trickle(bytes, pause) => (usize::try_from(bytes).unwrap(), pause),
        _ => (1000, Duration::ZERO),
    };
    let mut split = Vec::new();
    while !content.is_empty() {
        split.push(content.split_to(chunk.min(content.len())));
    }
    let served = Arc::clone(&counts.served);
    let active = ActiveBody::begin(counts);
    let chunks = stream::iter(split).then(move |chunk| {
        let _ = &active;
        let served = Arc::clone(&served);
        async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            served.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            Ok(chunk)
        }
    });
    let all: Chunks = match end {
        End::Proper | End::Trickle(..) => Box::pin(chunks),
        End::Cut => Box::pin(chunks.chain(stream::once(async {
            // Lets the sent bytes leave the server, which discards its buffer when a body fails.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(io::Error::other("cut"))
        }))),
        End::Stall => Box::pin(chunks.chain(stream::pending())),
    };
    Body::from_stream(all)
}
