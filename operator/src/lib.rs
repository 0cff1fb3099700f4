//! The modelcache operator: decide, then apply.
//!
//! Decisions are pure functions of what was observed; the edges that talk to the cluster are thin. The program is
//! `main.rs`; this library exists so that tests reach it.

pub mod args;
pub mod backoff;
pub mod capacity;
pub mod cluster_view;
pub mod context;
pub mod controller;
pub mod error;
pub mod events;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod reconcile;
pub mod watch_index;
