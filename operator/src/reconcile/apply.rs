//! Applies the actions of a decision in order. Each is idempotent; the first failure stops the rest.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use modelcache_crds::names;
use tracing::{info, warn};

use crate::context::FetcherImage;
use crate::reconcile::build::{self, Attempt};
use crate::reconcile::decide::Action;
use crate::reconcile::facts::Step;
use crate::reconcile::validate::{ClaimPlan, ValidatedCache};

/// The object of an action; a refusal appears on that step's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActionTarget {
    /// The claim.
    Claim {
        /// Whether the fetch needs the change.
        required: bool,
    },
    /// The Job of a step.
    Job(Step),
    /// A Job to delete.
    ObsoleteJob,
}

impl ActionTarget {
    /// The action, as a verb phrase.
    #[must_use]
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Claim { .. } => "apply the claim",
            Self::Job(Step::Plan) => "create the plan Job",
            Self::Job(Step::Fetch) => "create the fetch Job",
            Self::ObsoleteJob => "delete an obsolete Job",
        }
    }
}

/// An action that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The object of the action.
    pub(crate) target: ActionTarget,
    /// The client's error.
    pub(crate) source: kube::Error,
}

/// Applies the actions; also returns the failures that did not stop it.
pub(crate) async fn apply(
    client: &Client,
    cache: &ValidatedCache,
    image: &FetcherImage,
    actions: &[Action],
) -> (Vec<Failure>, Result<(), Failure>) {
    let mut tolerated = Vec::new();
    for action in actions {
        let target = target(action);
        match run(client, cache, image, action).await {
            Ok(()) => {}
            Err(source) if target == (ActionTarget::Claim { required: false }) => {
                tolerated.push(Failure { target, source });
            }
            Err(source) => return (tolerated, Err(Failure { target, source })),
        }
    }
    (tolerated, Ok(()))
}

const fn target(action: &Action) -> ActionTarget {
    match action {
        Action::ApplyClaim { required, .. } => ActionTarget::Claim { required: *required },
        Action::CreatePlanJob { .. } => ActionTarget::Job(Step::Plan),
        Action::CreateFetchJob { .. } => ActionTarget::Job(Step::Fetch),
        Action::DeleteJob { .. } => ActionTarget::ObsoleteJob,
    }
}

async fn run(
    client: &Client,
    cache: &ValidatedCache,
    image: &FetcherImage,
    action: &Action,
) -> Result<(), kube::Error> {
    let jobs = Api::<Job>::namespaced(client.clone(), &cache.namespace);
    match action {
        Action::ApplyClaim { bytes, current, .. } => {
            let ClaimPlan::Own(own) = &cache.claim else {
                return Ok(());
            };
            let claim = build::claim(cache, own, *bytes, current.as_deref());
            let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &cache.namespace);
            let params = PatchParams::apply(names::FIELD_MANAGER).force();
            claims.patch(&own.name, &params, &Patch::Apply(&claim)).await?;
            info!(claim = own.name, bytes, "applied the claim");
            Ok(())
        }
        Action::CreatePlanJob { inputs, attempt } => {
            let attempt = Attempt {
                inputs,
                number: *attempt,
            };
            create(&jobs, &build::plan_job(cache, image, attempt)).await
        }
        Action::CreateFetchJob {
            inputs,
            attempt,
            resolved,
        } => {
            let attempt = Attempt {
                inputs,
                number: *attempt,
            };
            create(&jobs, &build::fetch_job(cache, resolved, image, attempt)).await
        }
        Action::DeleteJob {
            name,
            uid,
            wait_for_pods,
        } => delete(&jobs, name, uid, *wait_for_pods).await,
    }
}

/// Created, not applied: a Job's template is immutable, and its name holds the hash of its inputs.
async fn create(jobs: &Api<Job>, job: &Job) -> Result<(), kube::Error> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let params = PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match jobs.create(&params, job).await {
        Ok(_) => {
            info!(job = name, "created a Job");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes a Job and its pods: without a propagation policy the pods stay.
async fn delete(jobs: &Api<Job>, name: &str, uid: &str, wait_for_pods: bool) -> Result<(), kube::Error> {
    let params = if wait_for_pods {
        DeleteParams::foreground()
    } else {
        DeleteParams::background()
    };
    let params = params.preconditions(Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    });
    match jobs.delete(name, &params).await {
        Ok(_) => {
            info!(job = name, wait_for_pods, "deleted a Job");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            warn!(job = name, "kept a Job that was recreated under the name");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
