//! The nodes to consider: ready, schedulable, and allowed by placement.

use k8s_openapi::api::core::v1::Toleration;
use modelcache_crds::model_cache::Placement;

use super::{NodeFacts, TaintFacts};

/// Why a node is not considered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// It is cordoned (`kubectl cordon`).
    Cordoned,
    /// Its `Ready` condition is not True.
    NotReady,
    /// It lacks a label that placement asks for: `key=value`.
    LacksLabel(String),
    /// It has a taint that placement does not tolerate: `key=value:effect`.
    Tainted(String),
}

/// Why the node is not considered; `None` when it is.
///
/// Labels are checked first: the health of a node that placement never meant is not worth a message.
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

/// Tolerates as the scheduler does: an empty effect is every effect, an empty key with `Exists` every taint.
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
        // An operator of a newer Kubernetes: assuming that it tolerates could promise a node that repels.
        _ => false,
    }
}
