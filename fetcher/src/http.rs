//! HTTP for all sources: clients, redirects, range requests and their responses, retries, redacted URLs.

pub mod client;
pub mod location;
pub mod range;
pub(crate) mod range_request;
pub mod redact;
pub(crate) mod redirect;
pub mod retry;
