//! How a fault is reported: a condition, its reason and message in Ready, Stalled if it is permanent, and an event.

use anyhow::{Context, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use modelcache_crds::ModelCache;
use modelcache_crds::conditions::{ConditionType, Reason};

use crate::waiting::{LATER, SOON, condition, until};
use crate::world::World;

/// The expected report of a fault.
pub(crate) struct ExpectedFault<'a> {
    /// Condition that reports it.
    pub(crate) condition: ConditionType,
    pub(crate) reason: Reason,
    /// Parts of the message: what happened, and what to do.
    pub(crate) message: &'a [&'a str],
}

impl World {
    /// Waits until a fault is reported, and checks all parts of the report.
    pub(crate) async fn until_reported(&self, name: &str, fault: &ExpectedFault<'_>) -> anyhow::Result<ModelCache> {
        let (kind, reason) = (fault.condition, fault.reason.as_str());
        let what = format!("{}={reason} with message {:?}", kind.as_str(), fault.message);
        let cache = self
            .until_cache(name, &what, LATER, |cache| {
                condition(cache, kind).is_some_and(|found| {
                    found.reason == reason
                        && found.status != "True"
                        && found.observed_generation == cache.metadata.generation
                        && fault.message.iter().all(|part| found.message.contains(part))
                })
            })
            .await?;
        check_summary(&cache, fault)?;
        self.until_event(name, "Warning", reason, fault.message).await?;
        Ok(cache)
    }

    /// Waits for an event about a ModelCache.
    pub(crate) async fn until_event(
        &self,
        name: &str,
        kind: &str,
        reason: &str,
        message: &[&str],
    ) -> anyhow::Result<()> {
        let what = format!("{name}: a {kind} event {reason} with message {message:?}");
        until(&what, SOON, async || {
            let events = self.events(name).await?;
            let is_reported = events.iter().any(|event| {
                let note = event.note.as_deref().unwrap_or_default();
                event.type_.as_deref() == Some(kind)
                    && event.reason.as_deref() == Some(reason)
                    && message.iter().all(|part| note.contains(part))
            });
            Ok(is_reported.then_some(()))
        })
        .await
    }

    /// Events about a ModelCache.
    pub(crate) async fn events(&self, name: &str) -> anyhow::Result<Vec<Event>> {
        let mut events = self.api::<Event>().list(&ListParams::default()).await?.items;
        events.retain(|event| {
            event
                .regarding
                .as_ref()
                .is_some_and(|about| about.kind.as_deref() == Some("ModelCache") && about.name.as_deref() == Some(name))
        });
        Ok(events)
    }
}

/// Checks that Ready and Stalled agree with the condition that reports a fault.
fn check_summary(cache: &ModelCache, fault: &ExpectedFault<'_>) -> anyhow::Result<()> {
    let find = |kind| condition(cache, kind).with_context(|| format!("no condition {kind:?}"));
    let (own, ready, stalled) = (
        find(fault.condition)?,
        find(ConditionType::Ready)?,
        find(ConditionType::Stalled)?,
    );
    ensure!(
        ready.status == "False" && ready.reason == own.reason && ready.message == own.message,
        "Ready does not repeat the fault: {ready:?}"
    );
    let permanent = fault.reason.is_permanent();
    ensure!(
        stalled.status == if permanent { "True" } else { "False" },
        "{} and {stalled:?}",
        fault.reason.as_str()
    );
    ensure!(
        !permanent || stalled.reason == own.reason,
        "Stalled does not repeat the fault: {stalled:?}"
    );
    let status = cache.status.as_ref().context("no status")?;
    ensure!(
        status.conditions.len() == ConditionType::ALL.len(),
        "conditions are missing: {:?}",
        status.conditions
    );
    let next = status
        .attempts
        .as_ref()
        .and_then(|attempts| attempts.next_attempt_time.as_ref());
    ensure!(
        !permanent || next.is_none(),
        "a permanent fault is scheduled for a retry at {next:?}"
    );
    Ok(())
}
