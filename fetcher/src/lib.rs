//! Bytes, resumed and proven: lists a model at its source, fetches it in parallel byte ranges, hashes as it
//! goes, resumes from durable bytes, and publishes a revision atomically.
//!
//! Sources list and locate; one engine moves bytes and knows no source. Nothing here talks to Kubernetes.

mod archive;
pub mod args;
mod bar;
mod blocking;
pub mod boot;
pub mod commands;
pub mod digest;
pub mod engine;
pub mod error;
mod estimate;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod http;
mod journal;
pub mod manifest;
pub mod path;
pub mod pattern;
pub mod progress;
pub mod range;
mod range_request;
mod rate;
pub mod redact;
mod redirect;
mod report;
pub mod retry;
mod serve;
pub mod source;
pub mod store;
pub mod verify;
