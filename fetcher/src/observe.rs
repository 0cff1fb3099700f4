//! Progress of a run, its rates, and the endpoints that serve them.

pub mod progress;
pub(crate) mod rate;
pub(crate) mod serve;
