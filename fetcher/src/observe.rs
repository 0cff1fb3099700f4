//! What a run reports while it works: progress, rates, and the endpoints that serve them.

pub mod progress;
pub(crate) mod rate;
pub(crate) mod serve;
