//! The engine against a server on loopback that can misbehave in every way a test asks for.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests panic as tests do; clippy.toml allows it in tests alone"
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
