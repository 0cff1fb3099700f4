//! End-to-end tests on a real cluster: what users apply, and what they get.
//!
//! They need `KUBECONFIG` and `MODELCACHE_HOST_IP` (`eval "$(tests/cluster/env)"`), the images, and the operator that
//! `tests/install-operator` installs. Each test has its own namespace and hub. The tests in `alone` disturb the
//! operator itself, so no other test runs at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs,
    reason = "a test that cannot continue fails and prints the cause to standard error"
)]

mod bucket;
mod caches;
mod dump;
mod fault;
mod models;
mod operator;
mod pods;
mod small_disk;
mod waiting;
mod world;

mod admission;
mod alone;
mod capacity;
mod changes;
mod fetcher_faults;
mod interruption;
mod ready;
mod registry;
mod source_faults;
mod sources;
mod storage_faults;
