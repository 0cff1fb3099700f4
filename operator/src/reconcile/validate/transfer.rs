//! The transfer settings of a spec.

use k8s_openapi::api::core::v1::ResourceRequirements;
use modelcache_crds::model_cache::{Fetch, Mirror};
use serde::Serialize;

use super::{InvalidSpec, positive};

/// Transfer settings; `None` is the fetcher's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Transfer {
    /// Mirrors of the source.
    pub mirrors: Vec<Mirror>,
    /// Connections over all files.
    pub connections: Option<i32>,
    /// Files fetched at the same time.
    pub parallel_files: Option<i32>,
    /// Rate limit over all connections.
    pub max_bytes_per_second: Option<i64>,
    /// Seconds without a byte before a connection is replaced.
    pub stall_timeout_seconds: Option<i32>,
    /// Resources of the fetcher's container.
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
