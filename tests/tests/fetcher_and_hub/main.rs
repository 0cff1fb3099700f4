//! The fetcher's program with a faulty hub, with failing disks, and with stops at any moment.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot continue fails"
)]

mod disk_faults;
mod disk_log;
mod faulty_disk;
mod hub_faults;
mod memory;
mod power_cut;
mod repair;
mod scenario;
mod stops;
