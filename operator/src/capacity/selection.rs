//! Which nodes are considered at all: ready, schedulable, and allowed by placement.

use k8s_openapi::api::core::v1::Toleration;
use modelcache_crds::model_cache::Placement;

use super::{NodeFacts, TaintFacts};

/// Why a node is not considered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// Somebody took it out of service (`kubectl cordon`).
    Cordoned,
    /// Its kubelet does not report it ready.
    NotReady,
    /// It lacks a label that placement asks for: `key=value`.
    LacksLabel(String),
    /// It has a taint that placement does not tolerate: `key=value:effect`.
    Tainted(String),
}

/// Why the node is not considered; `None` when it is.
///
/// Labels are looked at first: a node that was never meant to be used is not worth a word about its health.
pub(super) fn exclusion(node: &NodeFacts, placement: &Placement) -> Option<Exclusion> {
    let lacking = placement
        .node_selector
        .iter()
        .find(|(key, value)| node.labels.get(*key) != Some(value));
    if let Some((key, value)) = lacking {
        return Some(Exclusion::LacksLabel(format!("{key}={value}")));
    }
    if node.unschedulable {
        return Some(Exclusion::Cordoned);
    }
    if !node.ready {
        return Some(Exclusion::NotReady);
    }
    node.taints
        .iter()
        .filter(|taint| taint.repels())
        .find(|taint| {
            !placement
                .tolerations
                .iter()
                .any(|toleration| tolerates(toleration, taint))
        })
        .map(|taint| Exclusion::Tainted(taint.to_string()))
}

/// As the scheduler decides it: an empty effect tolerates every effect, an empty key with `Exists` every taint.
fn tolerates(toleration: &Toleration, taint: &TaintFacts) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && toleration.value.as_deref().unwrap_or_default() == taint.value,
        // An operator of a newer Kubernetes: better a node too few than a promise that does not hold.
        _ => false,
    }
}
