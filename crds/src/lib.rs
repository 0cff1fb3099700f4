//! The contract between users, the operator and the fetcher: the `ModelCache` API, its conditions and reasons, its
//! defaults, the names of created objects, and the report of a fetcher.
//!
//! Contains no client, no async runtime and no HTTP. The operator and the fetcher depend on this crate, never on each
//! other.

pub mod conditions;
pub mod fetch_defaults;
pub mod model_cache;
pub mod names;
pub mod quantity;
pub mod report;
pub mod source_defaults;

pub use model_cache::{ModelCache, ModelCacheSpec, ModelCacheStatus};
