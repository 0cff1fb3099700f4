//! Fetches a model in parallel byte ranges: lists it at its source, hashes bytes as they arrive, resumes from durable
//! bytes, and publishes a revision atomically.
//!
//! The modules are layers, listed from top to bottom; a module imports only from its own layer and those below it.
//! Sources list and locate; one transfer engine moves bytes and knows no source. Nothing here talks to Kubernetes.

pub mod command_line;

mod application;

pub mod transfer;

mod archive;

pub mod source;

pub mod store;

mod format;

pub mod http;

pub mod disk;

pub mod observe;

pub mod model;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
