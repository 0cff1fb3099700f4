//! Values that every layer uses: paths, digests, listed files, patterns, errors.

pub mod digest;
pub mod error;
pub mod manifest;
pub mod path;
pub mod pattern;
