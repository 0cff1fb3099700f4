//! Leader election on a Lease, by the rules of client-go: whoever the Lease names acts, and acts no longer than
//! it can prove that the Lease still names it.
//!
//! A clock other than this process's own is never trusted: a Lease is old when it was *seen* unchanged for its
//! duration, whatever time stands in it.

mod decide;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use modelcache_crds::names;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use decide::{ObservedLease, Step, decide};

/// How long others wait after the last sign of life of a leader.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// A leader that could not renew for this long steps down, well before another may take over.
const LEASE_RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// How often a leader renews, and others look.
const LEASE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// One call may not use up the renew deadline; the client's own retries are cut by it too.
const LEASE_CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// Why this process does not lead any more.
#[derive(Debug, Error)]
pub enum LostLease {
    /// Somebody else took the Lease.
    #[error("the lease is now held by {holder:?}")]
    Taken {
        /// Who.
        holder: String,
    },
    /// It could not be renewed in time, so that somebody else may take it.
    #[error("the lease could not be renewed for {} s", LEASE_RENEW_DEADLINE.as_secs())]
    NotRenewed,
}

/// A call that did not succeed; the next one may.
#[derive(Debug, Error)]
enum CallError {
    #[error("the API server refused")]
    Api(#[source] Box<kube::Error>),
    #[error("no answer within {} s", LEASE_CALL_TIMEOUT.as_secs())]
    Timeout,
}

/// A candidate for the lead, and the leader once [`Election::acquire`] returns.
pub struct Election {
    leases: Api<Lease>,
    identity: String,
    observed: Option<ObservedLease>,
    renewed: Instant,
}

impl Election {
    /// A candidate under this name, which must be its own among all candidates.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            identity: identity.to_owned(),
            observed: None,
            renewed: Instant::now(),
        }
    }

    /// Waits until this process leads.
    pub async fn acquire(&mut self) {
        loop {
            let pause = match self.step(false).await {
                Ok(Step::Acquire | Step::Renew) => {
                    info!(identity = self.identity, "leading");
                    return;
                }
                Ok(Step::Wait(pause)) => pause.min(LEASE_RETRY_INTERVAL),
                Ok(Step::Lost(_)) => LEASE_RETRY_INTERVAL,
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "failed to take the lease");
                    LEASE_RETRY_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    /// Renews for as long as this process leads; returns why it does no longer.
    pub async fn keep(&mut self) -> LostLease {
        loop {
            sleep(LEASE_RETRY_INTERVAL).await;
            // A call that hangs must not outlive the deadline, or two would lead.
            match timeout_at(self.renewed + LEASE_RENEW_DEADLINE, self.step(true)).await {
                Ok(Ok(Step::Lost(holder))) => return LostLease::Taken { holder },
                Ok(Ok(_)) => {}
                Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "failed to renew the lease"),
                Err(_) => return LostLease::NotRenewed,
            }
        }
    }

    /// Gives the Lease back, so that another need not wait for it to grow old.
    pub async fn release(&mut self) {
        let Ok(Some(lease)) = self.read().await else { return };
        let mut spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return;
        }
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        if let Err(error) = self.write(Some(lease), spec).await {
            warn!(error = &error as &dyn std::error::Error, "failed to release the lease");
        }
    }

    /// Reads the Lease, decides, and writes it where that is decided.
    async fn step(&mut self, leads: bool) -> Result<Step, CallError> {
        let lease = self.read().await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
        let now = Instant::now();
        if let Some(spec) = &spec
            && self.observed.as_ref().is_none_or(|seen| seen.spec != *spec)
        {
            self.observed = Some(ObservedLease {
                spec: spec.clone(),
                at: now,
            });
        }
        let observed = spec.is_some().then_some(self.observed.as_ref()).flatten();
        let step = decide(observed, &self.identity, leads, now);
        if matches!(step, Step::Acquire | Step::Renew) {
            let next = decide::next_spec(spec.as_ref(), &self.identity, &step, Timestamp::now(), LEASE_DURATION);
            self.write(lease, next).await?;
            // From before the call: others count from when the write arrived, at the earliest.
            self.renewed = now;
        }
        Ok(step)
    }

    async fn read(&self) -> Result<Option<Lease>, CallError> {
        call(self.leases.get_opt(names::LEASE_NAME)).await
    }

    /// Fails with a conflict when somebody else wrote since `current` was read.
    async fn write(&self, current: Option<Lease>, spec: LeaseSpec) -> Result<Lease, CallError> {
        let parameters = PostParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        if let Some(mut lease) = current {
            lease.spec = Some(spec);
            call(self.leases.replace(names::LEASE_NAME, &parameters, &lease)).await
        } else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(names::LEASE_NAME.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(spec),
            };
            call(self.leases.create(&parameters, &lease)).await
        }
    }
}

async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match timeout(LEASE_CALL_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| CallError::Api(Box::new(error))),
        Err(_) => Err(CallError::Timeout),
    }
}

#[cfg(test)]
mod tests;
