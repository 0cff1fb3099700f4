//! Leader election on a Lease, by the rules of client-go: a process leads only while it can prove that it holds the
//! Lease.
//!
//! Only this process's clock counts: a Lease expires when it was *observed* unchanged for its duration, whatever time
//! it carries.

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

/// Candidates take a Lease over after this time without a renewal.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// A leader steps down after this time without a renewal, before another can lead.
const LEASE_RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Interval of renewals, and of candidates' attempts.
const LEASE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Limit for one call with its retries; several fit into the renew deadline.
const LEASE_CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// Why this process no longer leads.
#[derive(Debug, Error)]
pub enum LostLease {
    /// Another process holds the Lease.
    #[error("the lease is now held by {holder:?}")]
    Taken {
        /// Identity of that process.
        holder: String,
    },
    /// No renewal succeeded in time, so that another process may take it.
    #[error("failed to renew the lease for {} s", LEASE_RENEW_DEADLINE.as_secs())]
    NotRenewed,
}

/// A failed call; the next one may succeed.
#[derive(Debug, Error)]
enum CallError {
    #[error("request to the API server failed")]
    Api(#[source] Box<kube::Error>),
    #[error("no response within {} s", LEASE_CALL_TIMEOUT.as_secs())]
    Timeout,
}

/// A candidate, and the leader once [`Election::acquire`] returns.
pub struct Election {
    leases: Api<Lease>,
    identity: String,
    observed: Option<ObservedLease>,
    renewed: Instant,
}

impl Election {
    /// A candidate under this name, which must be unique among candidates.
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
                    warn!(error = &error as &dyn std::error::Error, "failed to acquire the lease");
                    LEASE_RETRY_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    /// Renews the Lease; returns why this process no longer leads.
    pub async fn keep(&mut self) -> LostLease {
        loop {
            sleep(LEASE_RETRY_INTERVAL).await;
            // A hung call must not outlive the deadline, or two processes would lead.
            match timeout_at(self.renewed + LEASE_RENEW_DEADLINE, self.step(true)).await {
                Ok(Ok(Step::Lost(holder))) => return LostLease::Taken { holder },
                Ok(Ok(Step::Acquire | Step::Renew | Step::Wait(_))) => {}
                Ok(Err(error)) => warn!(error = &error as &dyn std::error::Error, "failed to renew the lease"),
                Err(_) => return LostLease::NotRenewed,
            }
        }
    }

    /// Releases the Lease, so that a candidate need not wait for it to expire.
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

    /// Reads the Lease, decides, and writes it when due.
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
            // The time before the call: candidates count from the write at the earliest.
            self.renewed = now;
        }
        Ok(step)
    }

    async fn read(&self) -> Result<Option<Lease>, CallError> {
        call(self.leases.get_opt(names::LEASE_NAME)).await
    }

    /// Fails with a conflict when another process wrote since `current` was read.
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
