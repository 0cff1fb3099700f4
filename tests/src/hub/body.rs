//! Response bodies of files: the requested range, rate limited, counted, and with injected faults.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use tokio_util::sync::CancellationToken;

use super::answer::{self, set};
use super::faults::{Effects, Fault};
use super::gzip;
use super::model::{Reader, StoredFile};
use super::pace::Pacer;
use super::range::{self, Wanted};
use super::state::State;
use super::stats::Record;

/// Answers GET or HEAD for a file with the requested range.
pub(crate) async fn answer(
    state: &State,
    parts: &Parts,
    effects: &Effects,
    record: &Arc<Record>,
    file: &StoredFile,
) -> Response {
    let wanted = if effects.has(&Fault::IgnoreRange) {
        Wanted::Whole
    } else {
        let header = parts.headers.get(RANGE).and_then(|range| range.to_str().ok());
        range::parse(header, file.size)
    };
    let (status, start, end) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0, file.size),
        Wanted::Part { start, end } => {
            let (start, end) = shifted(effects, start, end, file.size);
            (StatusCode::PARTIAL_CONTENT, start, end)
        }
        Wanted::Unsatisfiable => {
            let mut response = answer::empty(StatusCode::RANGE_NOT_SATISFIABLE);
            set(&mut response, CONTENT_RANGE, format!("bytes */{}", file.size));
            return response;
        }
    };
    let sending = Sending {
        reader: file.reader.clone(),
        position: start,
        end,
        sent: 0,
        stalled: false,
        effects: effects.clone(),
        pacer: Arc::clone(&state.pacer),
        stopped: state.stopped.clone(),
        record: Arc::clone(record),
    };
    let mut response = if effects.has(&Fault::Gzip) {
        match encoded(sending).await {
            Ok(response) => response,
            Err(_) => return answer::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    } else if parts.method == Method::HEAD {
        Response::new(Body::empty())
    } else {
        Response::new(Body::from_stream(stream::try_unfold(sending, Sending::next)))
    };
    *response.status_mut() = status;
    if !effects.has(&Fault::Gzip) {
        set(&mut response, CONTENT_LENGTH, (end - start).to_string());
    }
    if status == StatusCode::PARTIAL_CONTENT {
        set(
            &mut response,
            CONTENT_RANGE,
            format!("bytes {start}-{}/{}", end - 1, file.size),
        );
    }
    set(&mut response, ACCEPT_RANGES, "bytes");
    set(&mut response, CONTENT_TYPE, content_type(&file.path));
    response
}

fn shifted(effects: &Effects, start: u64, end: u64, size: u64) -> (u64, u64) {
    let by = effects.find(|fault| match fault {
        Fault::ShiftRange { by } => Some(*by),
        _ => None,
    });
    match by {
        // As long as the requested range, so that only Content-Range shows the fault.
        Some(by) if end.saturating_add(by) <= size => (start + by, end + by),
        Some(by) => (
            start.saturating_sub(by),
            end.saturating_sub(by).max(start.saturating_sub(by) + 1),
        ),
        None => (start, end),
    }
}

async fn encoded(mut sending: Sending) -> io::Result<Response> {
    let mut whole = Vec::new();
    while let Some((bytes, next)) = sending.next().await? {
        whole.extend_from_slice(&bytes);
        sending = next;
    }
    let mut response = Response::new(Body::from(gzip::stored(&whole)));
    set(&mut response, CONTENT_ENCODING, "gzip");
    Ok(response)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("json") => "application/json",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

struct Sending {
    reader: Reader,
    position: u64,
    end: u64,
    sent: u64,
    stalled: bool,
    effects: Effects,
    pacer: Arc<Pacer>,
    stopped: CancellationToken,
    record: Arc<Record>,
}

impl Sending {
    /// The next bytes. An error cuts the connection, because the body is shorter than its Content-Length.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let mut chunk = self
            .pacer
            .chunk()
            .min(usize::try_from(self.end - self.position).unwrap_or(usize::MAX));
        let mut cut = false;
        let mut stall = Duration::ZERO;
        let mut pause = Duration::ZERO;
        let mut flipped = None;
        for injection in self.effects.all() {
            match injection.fault() {
                Fault::Cut { after_bytes } => {
                    let left = after_bytes.saturating_sub(self.sent);
                    if left == 0 {
                        cut = true;
                        injection.record();
                    }
                    chunk = up_to(chunk, left);
                }
                Fault::Stall { after_bytes, seconds } if !self.stalled => {
                    let left = after_bytes.saturating_sub(self.sent);
                    if left == 0 {
                        stall = Duration::from_secs(*seconds);
                        injection.record();
                    }
                    chunk = up_to(chunk, left);
                }
                Fault::Slow { bytes_per_second } => {
                    // Ten times a second, so that clients do not take it for a stall.
                    chunk = up_to(chunk, (bytes_per_second / 10).max(1));
                    pause = Duration::from_secs_f64(chunk as f64 / (*bytes_per_second).max(1) as f64);
                    injection.record();
                }
                Fault::Flip { offset } => flipped = offset.checked_sub(self.position).map(|at| (at, injection)),
                _ => {}
            }
        }
        if cut {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.stalled |= !stall.is_zero();
        tokio::select! {
            () = self.stopped.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
            () = async {
                tokio::time::sleep(stall + pause).await;
                self.pacer.wait(chunk).await;
            } => {}
        }
        let mut bytes = self.reader.read(self.position, chunk).await?;
        if let Some((at, injection)) = flipped {
            let mut damaged = bytes.to_vec();
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| damaged.get_mut(at)) {
                *byte ^= 1;
                bytes = damaged.into();
                injection.record();
            }
        }
        self.position += chunk as u64;
        self.sent += chunk as u64;
        self.record.sent(chunk);
        Ok(Some((bytes, self)))
    }
}

/// The smaller of both, but not zero: a body sends what is left before it pauses.
fn up_to(chunk: usize, left: u64) -> usize {
    match usize::try_from(left) {
        Ok(0) | Err(_) => chunk,
        Ok(left) => chunk.min(left),
    }
}
