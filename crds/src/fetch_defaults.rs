//! Defaults and limits of a fetch: the one place that the CRD schema, the fetcher's options and its engine read.
//!
//! A name ends in its unit; a plain count has none. Counts are `u16`, which converts without loss into the `i32` of the
//! API, the `i64` of an option's range and the `usize` of the engine.
//!
//! The CRD schema has bounds from here but no `default`: the API server would store a default in every object, so a
//! later release could not change it. The field docs name the default instead, and a test compares the two.

/// Fewest connections that can be set.
pub const MIN_CONNECTIONS: u16 = 1;
/// Most connections that can be set.
pub const MAX_CONNECTIONS: u16 = 64;
/// Limit on connections when none is set.
pub const DEFAULT_CONNECTIONS: u16 = 44;
/// Connections that a fetch starts with, before it measures whether more increase throughput.
pub const INITIAL_CONNECTIONS: u16 = 16;

/// Fewest parallel files that can be set.
pub const MIN_PARALLEL_FILES: u16 = 1;
/// Most parallel files that can be set.
pub const MAX_PARALLEL_FILES: u16 = 32;
/// Files longer than [`SMALL_FILE_MAX_BYTES`] fetched in parallel when no number is set.
pub const DEFAULT_PARALLEL_FILES: u16 = 4;
/// Files started ahead of time when no number is set: each replaces a file whose last ranges are all requested.
pub const DEFAULT_FILES_AHEAD: u16 = 4;
/// Small files fetched in parallel, in addition to the others, when no number is set.
pub const DEFAULT_PARALLEL_SMALL_FILES: u16 = 12;
/// Length up to which a file is small: one block, which takes a round trip rather than bandwidth.
pub const SMALL_FILE_MAX_BYTES: u64 = 1 << 20;

/// Shortest stall timeout that can be set.
pub const MIN_STALL_TIMEOUT_SECS: u16 = 1;
/// Longest stall timeout that can be set.
pub const MAX_STALL_TIMEOUT_SECS: u16 = 3600;
/// Seconds without data after which a connection is closed, when none are set.
pub const DEFAULT_STALL_TIMEOUT_SECS: u16 = 15;

/// Lowest rate limit that the API accepts.
pub const MIN_RATE_LIMIT_BYTES_PER_SECOND: i64 = 1 << 10;
/// Highest rate limit that the API accepts.
pub const MAX_RATE_LIMIT_BYTES_PER_SECOND: i64 = (1 << 60) - 1;

/// Most mirrors of one ModelCache.
pub const MAX_MIRRORS: u16 = 8;

/// CPU that the fetcher requests when `fetch.resources` is unset.
pub const DEFAULT_CPU_REQUEST: &str = "100m";
/// Memory that the fetcher requests when `fetch.resources` is unset.
pub const DEFAULT_MEMORY_REQUEST: &str = "128Mi";
/// Memory limit of the fetcher when `fetch.resources` is unset.
pub const DEFAULT_MEMORY_LIMIT: &str = "256Mi";
