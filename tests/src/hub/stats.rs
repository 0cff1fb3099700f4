//! Counts of requests and of the body bytes written to the network.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::header::{AUTHORIZATION, COOKIE, RANGE, USER_AGENT};
use axum::http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

use super::faults::Stage;

/// Counts since the start or the last reset.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Requests, except those to the admin API.
    pub requests: u64,
    /// Body bytes of files, from hub and CDN.
    pub bytes_sent: u64,
    /// Requests to the CDN that had credentials.
    pub credentials_at_cdn: u64,
    /// Counts by the file's path in its model.
    pub files: BTreeMap<String, FileStats>,
    /// Every request, in order of arrival.
    pub log: Vec<RequestStats>,
}

/// Counts of one file.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStats {
    /// GET requests for its bytes.
    pub requests: u64,
    /// Body bytes sent.
    pub bytes_sent: u64,
}

/// One request.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RequestStats {
    /// Part of the hub.
    pub stage: Stage,
    /// Method.
    pub method: String,
    /// The file's path in its model, or the request's path.
    pub subject: String,
    /// Range header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// User-Agent header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Whether it had credentials.
    pub credentials: bool,
    /// Status of the response; 0 if there is none.
    pub status: u16,
    /// Body bytes sent, for files.
    pub bytes_sent: u64,
}

/// A request in progress.
#[derive(Debug)]
pub(crate) struct Record {
    request: RequestStats,
    status: AtomicU16,
    sent: AtomicU64,
}

impl Record {
    pub(crate) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn snapshot(&self) -> RequestStats {
        RequestStats {
            status: self.status.load(Ordering::Relaxed),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            ..self.request.clone()
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Arc<Record>>>);

impl Log {
    pub(crate) fn begin(&self, stage: Stage, method: &Method, subject: &str, headers: &HeaderMap) -> Arc<Record> {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let record = Arc::new(Record {
            request: RequestStats {
                stage,
                method: method.to_string(),
                subject: subject.to_owned(),
                range: text(RANGE),
                user_agent: text(USER_AGENT),
                credentials: headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE),
                status: 0,
                bytes_sent: 0,
            },
            status: AtomicU16::new(0),
            sent: AtomicU64::new(0),
        });
        self.records().push(Arc::clone(&record));
        record
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let log: Vec<RequestStats> = self.records().iter().map(|record| record.snapshot()).collect();
        let mut stats = Stats {
            requests: log.len() as u64,
            ..Stats::default()
        };
        for request in &log {
            stats.bytes_sent += request.bytes_sent;
            if request.stage == Stage::Cdn && request.credentials {
                stats.credentials_at_cdn += 1;
            }
            if request.method == "GET" && matches!(request.stage, Stage::Resolve | Stage::Cdn) {
                let file = stats.files.entry(request.subject.clone()).or_default();
                file.requests += 1;
                file.bytes_sent += request.bytes_sent;
            }
        }
        stats.log = log;
        stats
    }

    pub(crate) fn reset(&self) {
        self.records().clear();
    }

    fn records(&self) -> MutexGuard<'_, Vec<Arc<Record>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
