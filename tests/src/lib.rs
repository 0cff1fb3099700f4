//! Test servers: a model hub with fault injection and a network link with configurable latency and bandwidth, for the
//! tests of the fetcher, the end-to-end tests, the demo and the benchmarks.

pub mod hub;
pub mod link;
pub mod program;
pub mod real_model;
