//! The contract between people, the operator and the fetcher: the `ModelCache` API, its conditions
//! and reasons, the names of what the operator creates, and the report a fetcher hands back.
//!
//! No client, no runtime, no HTTP: both programs depend on this crate and never on each other.

pub mod conditions;
pub mod fetch_defaults;
pub mod model_cache;
pub mod names;
pub mod quantity;
pub mod report;
pub mod source_defaults;

pub use model_cache::{ModelCache, ModelCacheSpec, ModelCacheStatus};
