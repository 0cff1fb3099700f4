//! Values that every layer uses: paths, digests, listed files, patterns, errors.

pub mod digest;
pub mod error;
pub mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz_input;
pub mod manifest;
pub mod path;
pub mod pattern;
pub mod remote_file;
pub(crate) mod shard_name;
