//! End to end on a real cluster: what a user applies, meets, and reads.
//!
//! Needs `KUBECONFIG` and `MODELCACHE_HOST_IP` (`eval "$(tests/cluster/env)"`), the images, and the operator installed by
//! `tests/install-operator`. Each test has a namespace and a hub of its own; those in `alone` disturb the operator itself, and
//! run by themselves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs,
    reason = "a test that cannot go on fails, and says so on its standard error"
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
