//! What a decision looks at, as plain values: Jobs, their pods, the claim, the classes, the nodes.

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

/// All that was observed for one ModelCache.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Its Jobs.
    pub jobs: Vec<JobFacts>,
    /// The pods of these Jobs.
    pub pods: Vec<FetcherPod>,
    /// The claim of the name that is to be used.
    pub claim: Option<ClaimFacts>,
    /// Another ModelCache that worked in the same folder of the claim first.
    pub conflicting_cache: Option<String>,
    /// Every StorageClass.
    pub classes: Vec<ClassFacts>,
    /// Nodes, and what other pods request of them.
    pub capacity: ClusterCapacity,
    /// What the running fetcher said of itself.
    pub progress: Option<ProgressReport>,
}
