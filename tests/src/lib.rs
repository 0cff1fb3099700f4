//! Proof across rooms: a hub with faults on demand and a link that is slow on demand, for tests of the fetcher,
//! end-to-end tests, the demo and the benchmarks.

pub mod hub;
pub mod link;
pub mod program;
pub mod real_model;
