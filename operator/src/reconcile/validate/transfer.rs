//! How a spec asks for the bytes to be fetched.

use k8s_openapi::api::core::v1::ResourceRequirements;
use modelcache_crds::model_cache::{Fetch, Mirror};
use serde::Serialize;

use super::{InvalidSpec, positive};

/// How the bytes are fetched; what is not given is the fetcher's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Transfer {
    /// Further places.
    pub mirrors: Vec<Mirror>,
    /// Connections in all.
    pub connections: Option<i32>,
    /// Files at the same time.
    pub parallel_files: Option<i32>,
    /// Bytes per second, over all connections.
    pub max_bytes_per_second: Option<i64>,
    /// Seconds without a byte before a connection is given up.
    pub stall_timeout_seconds: Option<i32>,
    /// Resources of the fetching container.
    pub resources: Option<ResourceRequirements>,
}

impl Transfer {
    /// Parses `spec.fetch` and `spec.mirrors`.
    pub(super) fn parse(fetch: Fetch, mirrors: Vec<Mirror>) -> Result<Self, InvalidSpec> {
        Ok(Self {
            mirrors,
            connections: fetch.connections,
            parallel_files: fetch.parallel_files,
            max_bytes_per_second: fetch
                .max_bytes_per_second
                .as_ref()
                .map(|rate| positive("fetch.maxBytesPerSecond", rate, "50Mi"))
                .transpose()?,
            stall_timeout_seconds: fetch.stall_timeout_seconds,
            resources: fetch.resources,
        })
    }
}
