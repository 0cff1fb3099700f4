//! HTTP as every source needs it: clients, redirects, range requests and their answers, retries, redacted URLs.

pub mod client;
pub mod location;
pub mod range;
pub(crate) mod range_request;
pub mod redact;
pub(crate) mod redirect;
pub mod retry;
