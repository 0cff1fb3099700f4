//! The fetcher's program against a hub that misbehaves, on disks that fail, stopped at any moment.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

mod disk_faults;
mod disk_log;
mod faulty_disk;
mod hub_faults;
mod memory;
mod power_cut;
mod repair;
mod stops;
mod scenario;
