//! What a user reads when something is wrong: a condition, Ready that repeats it, Stalled, and an event.

use anyhow::{Context, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use modelcache_crds::ModelCache;
use modelcache_crds::conditions::{ConditionType, Reason};

use crate::waiting::{LATER, SOON, condition, until};
use crate::world::World;

/// A fault as it must be told.
pub(crate) struct Told<'a> {
    /// On which condition.
    pub(crate) on: ConditionType,
    pub(crate) reason: Reason,
    /// Parts of the message: what happened, and what to do.
    pub(crate) says: &'a [&'a str],
}

impl World {
    /// Waits until a fault is told in full, and checks how.
    pub(crate) async fn until_told(&self, name: &str, told: &Told<'_>) -> anyhow::Result<ModelCache> {
        let what = format!("{}={}, saying {:?}", told.on.as_str(), told.reason.as_str(), told.says);
        let cache = self
            .until_cache(name, &what, LATER, |cache| {
                condition(cache, told.on).is_some_and(|found| {
                    found.reason == told.reason.as_str()
                        && found.status != "True"
                        && found.observed_generation == cache.metadata.generation
                        && told.says.iter().all(|part| found.message.contains(part))
                })
            })
            .await?;
        check_summary(&cache, told)?;
        self.until_event(name, "Warning", told.reason.as_str(), told.says)
            .await?;
        Ok(cache)
    }

    /// Waits for an event about a ModelCache.
    pub(crate) async fn until_event(&self, name: &str, kind: &str, reason: &str, says: &[&str]) -> anyhow::Result<()> {
        let what = format!("{name}: a {kind} event {reason}, saying {says:?}");
        until(&what, SOON, async || {
            let events = self.events(name).await?;
            let is_told = events.iter().any(|event| {
                let note = event.note.as_deref().unwrap_or_default();
                event.type_.as_deref() == Some(kind)
                    && event.reason.as_deref() == Some(reason)
                    && says.iter().all(|part| note.contains(part))
            });
            Ok(is_told.then_some(()))
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

fn check_summary(cache: &ModelCache, told: &Told<'_>) -> anyhow::Result<()> {
    let find = |kind| condition(cache, kind).with_context(|| format!("no condition {kind:?}"));
    let (own, ready, stalled) = (
        find(told.on)?,
        find(ConditionType::Ready)?,
        find(ConditionType::Stalled)?,
    );
    ensure!(
        ready.status == "False" && ready.reason == own.reason && ready.message == own.message,
        "Ready does not repeat the fault: {ready:?}"
    );
    let permanent = told.reason.is_permanent();
    ensure!(
        stalled.status == if permanent { "True" } else { "False" },
        "{} and {stalled:?}",
        told.reason.as_str()
    );
    ensure!(
        !permanent || stalled.reason == own.reason,
        "Stalled does not repeat the fault: {stalled:?}"
    );
    let status = cache.status.as_ref().context("no status")?;
    ensure!(
        status.conditions.len() == ConditionType::ALL.len(),
        "every condition is set from the first visit on: {:?}",
        status.conditions
    );
    let next = status
        .attempts
        .as_ref()
        .and_then(|attempts| attempts.next_attempt_time.as_ref());
    ensure!(
        !permanent || next.is_none(),
        "a permanent fault is not tried again at {next:?}"
    );
    Ok(())
}
