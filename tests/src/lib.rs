//! Proof across rooms: a hub with faults on demand, for tests of the fetcher, end-to-end tests and the demo.

pub mod hub;
