//! Decisions over a simulated cluster: Jobs, pods and a claim as plain values, time as a number.

mod crashes;
mod failures;
mod flow;
mod simulation;
mod spec_changes;
mod storage;
