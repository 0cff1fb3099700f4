//! A body on its way out, in chunks.

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

/// What a hub counts of its bodies.
#[derive(Clone, Default)]
pub(super) struct Counts {
    /// Bytes handed to the network.
    pub(super) served: Arc<AtomicU64>,
    /// Bodies that have not ended.
    pub(super) under_way: Arc<AtomicU64>,
}

/// A body that has not ended.
struct UnderWay(Arc<AtomicU64>);

impl UnderWay {
    fn begin(counts: &Counts) -> Self {
        counts.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&counts.under_way))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A body in chunks, each counted when it is taken.
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
    let under_way = UnderWay::begin(counts);
    let chunks = stream::iter(split).then(move |chunk| {
        let _ = &under_way;
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
            // Time for what was sent to leave the server: it throws away what it holds back when a body fails.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(io::Error::other("cut"))
        }))),
        End::Stall => Box::pin(chunks.chain(stream::pending())),
    };
    Body::from_stream(all)
}
