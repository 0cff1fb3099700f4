//! The facts that a decision uses, as plain values: Jobs, their pods, the claim, the classes, the nodes.

mod claim;
mod claim_conflict;
mod job;
mod pod;
pub mod waiting_reason;

use modelcache_crds::report::ProgressReport;

use crate::cluster_view::ClusterCapacity;

pub use claim::{BindingMode, ClaimFacts, ClaimPhase, ClassFacts};
pub use claim_conflict::{ClaimUse, conflicting_cache};
pub use job::{JobFacts, JobState, Step};
pub use pod::{FetcherPod, PodEnd, PodPhase};

/// The facts observed for one ModelCache.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Its Jobs.
    pub jobs: Vec<JobFacts>,
    /// The pods of these Jobs.
    pub pods: Vec<FetcherPod>,
    /// The claim to use, when it exists.
    pub claim: Option<ClaimFacts>,
    /// Name of an earlier ModelCache that uses the same folder of the claim.
    pub conflicting_cache: Option<String>,
    /// Every StorageClass.
    pub classes: Vec<ClassFacts>,
    /// Nodes and the requests of other pods.
    pub capacity: ClusterCapacity,
    /// Progress of the running fetcher.
    pub progress: Option<ProgressReport>,
}
