//! Tests of the engine against a server on loopback with scripted faults.

#![allow(
    clippy::unwrap_used,
    reason = "test helpers panic like tests; clippy.toml allows it in test functions only"
)]

mod anything;
mod bandwidth;
mod caps;
mod faults;
mod hub;
mod integrity;
mod layouts;
mod origins;
mod refusals;
mod repair;
mod resume;
mod reuse;
