//! The message of the capacity check.

use std::collections::BTreeMap;
use std::fmt::Write;

use modelcache_crds::quantity;

use super::{Candidate, Exclusion, MEMORY};

/// A message names at most this many nodes or exclusions; a cluster may have a thousand.
const MESSAGE_MAX_NAMES: usize = 5;

pub(super) fn fits(fitting: &[String], considered: usize) -> String {
    format!(
        "{} of {considered} {} fit: {}",
        fitting.len(),
        nodes(considered),
        listed(fitting.iter().cloned(), fitting.len())
    )
}

pub(super) fn none_fits(needed: &[(&str, i64)], candidates: &[Candidate<'_>]) -> String {
    let reasons = candidates.iter().map(|node| {
        let lacking: Vec<String> = needed
            .iter()
            .filter(|(resource, amount)| node.free(resource) < *amount)
            .map(|(resource, amount)| share(resource, node.free(resource), *amount))
            .collect();
        format!("{} has {}", node.name, lacking.join(" and "))
    });
    format!(
        "0 of {} {} fit: {}",
        candidates.len(),
        nodes(candidates.len()),
        listed(reasons, candidates.len())
    )
}

pub(super) fn none_considered(excluded: &[Exclusion]) -> String {
    if excluded.is_empty() {
        return "no node is considered: the cluster has no node".to_owned();
    }
    let mut counts: BTreeMap<&Exclusion, usize> = BTreeMap::new();
    for exclusion in excluded {
        *counts.entry(exclusion).or_default() += 1;
    }
    let kinds = counts.len();
    let reasons = counts.into_iter().map(|(exclusion, count)| match exclusion {
        Exclusion::Cordoned => format!("{count} cordoned"),
        Exclusion::NotReady => format!("{count} not ready"),
        Exclusion::LacksLabel(label) if count == 1 => format!("1 lacks label {label}"),
        Exclusion::LacksLabel(label) => format!("{count} lack label {label}"),
        Exclusion::Tainted(taint) if count == 1 => format!("1 has taint {taint}"),
        Exclusion::Tainted(taint) => format!("{count} have taint {taint}"),
    });
    format!("no node is considered: {}", listed(reasons, kinds))
}

/// The free share of a need: `3Gi of 24Gi memory free`, `0 of 1 nvidia.com/gpu`.
fn share(resource: &str, free: i64, needed: i64) -> String {
    if resource != MEMORY {
        return format!("{free} of {needed} {resource}");
    }
    let (mut has, mut wants) = (quantity::short_bytes(free), quantity::short_bytes(needed));
    if has == wants {
        // The short form hides their difference.
        (has, wants) = (quantity::from_bytes(free).0, quantity::from_bytes(needed).0);
    }
    format!("{has} of {wants} memory free")
}

fn nodes(count: usize) -> &'static str {
    if count == 1 { "node" } else { "nodes" }
}

fn listed(parts: impl Iterator<Item = String>, count: usize) -> String {
    let mut text = parts.take(MESSAGE_MAX_NAMES).collect::<Vec<_>>().join(", ");
    if count > MESSAGE_MAX_NAMES {
        // Writing into a String cannot fail.
        let _ = write!(text, " and {} more", count - MESSAGE_MAX_NAMES);
    }
    text
}
