//! Builds the Job that lists the source.
//!
//! It mounts only a source that is a claim, and reports through its termination message.

use k8s_openapi::api::batch::v1::Job;

use super::pod::{self, DefaultResources, Program};
use super::{Attempt, job_metadata};
use crate::context::FetcherImage;
use crate::reconcile::facts::Step;
use crate::reconcile::validate::ValidatedCache;

const PLAN_RESOURCES: DefaultResources = DefaultResources {
    cpu_request: "50m",
    memory_request: "64Mi",
    memory_limit: "128Mi",
};

/// The Job of one attempt to list.
pub(crate) fn plan_job(cache: &ValidatedCache, image: &FetcherImage, attempt: Attempt<'_>) -> Job {
    let mut args = vec!["plan".to_owned(), cache.source.kind().address()];
    args.extend(pod::selection(cache));
    args.extend(pod::reporting());
    Job {
        metadata: job_metadata(cache, Step::Plan, attempt),
        spec: Some(pod::job_spec(
            cache,
            image,
            super::job_labels(cache, Step::Plan, attempt),
            Program {
                args,
                resources: PLAN_RESOURCES.into(),
                ports: None,
                volume: None,
            },
        )),
        status: None,
    }
}
