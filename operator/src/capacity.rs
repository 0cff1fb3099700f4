//! The capacity check: which nodes a consumer of the model fits on. Pure; counts requests as the scheduler does.
//!
//! It reserves nothing: free memory can be taken before a consumer starts. It does not check GPU memory.

mod facts;
mod message;
mod selection;

use std::collections::BTreeMap;

use modelcache_crds::conditions::Reason;
use modelcache_crds::model_cache::{CapacityStatus, Placement, Shortfall};
use modelcache_crds::quantity;

pub use facts::{NodeFacts, PodFacts, TaintFacts, Usage};
pub use selection::Exclusion;

/// The resource name of node memory.
pub const MEMORY: &str = "memory";

/// The resources that one node must have free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Count and name of an extended resource.
    pub gpu: Option<(i64, String)>,
}

impl Needs {
    /// Each resource with its amount, memory first.
    fn amounts(&self) -> Vec<(&str, i64)> {
        let memory = self.memory.map(|bytes| (MEMORY, bytes));
        let gpu = self.gpu.as_ref().map(|(count, name)| (name.as_str(), *count));
        memory.into_iter().chain(gpu).collect()
    }
}

/// The result of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one node has everything.
    Fits,
    /// Placement and node state leave no node to consider.
    NoNodesMatch,
    /// Memory alone is short on every considered node.
    InsufficientMemory,
    /// GPUs alone are short on every considered node.
    InsufficientGpu,
    /// No considered node has everything, and more than one resource is short.
    InsufficientResources,
}

impl Verdict {
    /// The reason on `CapacityAvailable`.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Fits => Reason::CapacityFound,
            Self::NoNodesMatch => Reason::NoNodesMatch,
            Self::InsufficientMemory => Reason::InsufficientMemory,
            Self::InsufficientGpu => Reason::InsufficientGpu,
            Self::InsufficientResources => Reason::InsufficientResources,
        }
    }
}

/// The result with the facts behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Nodes that are ready, not cordoned, and that placement allows.
    pub nodes_considered: usize,
    /// Names of the considered nodes that have everything.
    pub fitting: Vec<String>,
    /// Resources of which no considered node has enough.
    pub shortfalls: Vec<ResourceShortage>,
    /// The result.
    pub verdict: Verdict,
    /// The condition's message.
    pub message: String,
}

impl Assessment {
    /// Whether at least one node has everything.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.verdict == Verdict::Fits
    }

    /// The status field.
    #[must_use]
    pub fn status(&self) -> CapacityStatus {
        CapacityStatus {
            nodes_considered: i32::try_from(self.nodes_considered).unwrap_or(i32::MAX),
            nodes_fit: i32::try_from(self.fitting.len()).unwrap_or(i32::MAX),
            shortfalls: self
                .shortfalls
                .iter()
                .map(|shortage| Shortfall {
                    resource: shortage.resource.clone(),
                    needed: quantity::from_bytes(shortage.needed),
                    best: quantity::from_bytes(shortage.best),
                    node: shortage.node.clone(),
                })
                .collect(),
        }
    }
}

/// A resource of which no considered node has enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceShortage {
    /// `memory`, or the name of an extended resource.
    pub resource: String,
    /// The amount needed.
    pub needed: i64,
    /// The largest amount free on one node.
    pub best: i64,
    /// That node.
    pub node: Option<String>,
}

/// A considered node with its free amount of each needed resource.
struct Candidate<'a> {
    name: &'a str,
    free: BTreeMap<&'a str, i64>,
}

impl Candidate<'_> {
    fn free(&self, resource: &str) -> i64 {
        self.free.get(resource).copied().unwrap_or(0)
    }
}

/// Checks whether any node that placement allows has the needs free.
#[must_use]
pub fn assess<'a>(
    needs: &Needs,
    placement: &Placement,
    nodes: impl IntoIterator<Item = &'a NodeFacts>,
    usage: &Usage,
) -> Assessment {
    let needed = needs.amounts();
    let mut candidates = Vec::new();
    let mut excluded = Vec::new();
    for node in nodes {
        match selection::exclusion(node, placement) {
            Some(exclusion) => excluded.push(exclusion),
            None => candidates.push(Candidate {
                name: &node.name,
                free: needed
                    .iter()
                    .map(|(resource, _)| (*resource, free(node, usage, resource)))
                    .collect(),
            }),
        }
    }
    candidates.sort_by(|a, b| a.name.cmp(b.name));

    let fitting: Vec<String> = candidates
        .iter()
        .filter(|node| needed.iter().all(|(resource, amount)| node.free(resource) >= *amount))
        .map(|node| node.name.to_owned())
        .collect();
    let shortfalls = shortfalls(&needed, &candidates);
    let verdict = verdict(&fitting, &candidates, &shortfalls);
    let message = match verdict {
        Verdict::Fits => message::fits(&fitting, candidates.len()),
        Verdict::NoNodesMatch => message::none_considered(&excluded),
        Verdict::InsufficientMemory | Verdict::InsufficientGpu | Verdict::InsufficientResources => {
            message::none_fits(&needed, &candidates)
        }
    };
    Assessment {
        nodes_considered: candidates.len(),
        fitting,
        shortfalls,
        verdict,
        message,
    }
}

fn free(node: &NodeFacts, usage: &Usage, resource: &str) -> i64 {
    let allocatable = node.allocatable.get(resource).copied().unwrap_or(0);
    allocatable.saturating_sub(usage.on(&node.name, resource)).max(0)
}

fn shortfalls(needed: &[(&str, i64)], candidates: &[Candidate<'_>]) -> Vec<ResourceShortage> {
    needed
        .iter()
        .filter_map(|(resource, amount)| {
            // Among equals the first by name, so that the status does not flap.
            let best = candidates.iter().rev().max_by_key(|node| node.free(resource));
            let most = best.map_or(0, |node| node.free(resource));
            (most < *amount).then(|| ResourceShortage {
                resource: (*resource).to_owned(),
                needed: *amount,
                best: most,
                node: best.map(|node| node.name.to_owned()),
            })
        })
        .collect()
}

fn verdict(fitting: &[String], candidates: &[Candidate<'_>], shortfalls: &[ResourceShortage]) -> Verdict {
    if !fitting.is_empty() {
        return Verdict::Fits;
    }
    if candidates.is_empty() {
        return Verdict::NoNodesMatch;
    }
    match shortfalls {
        [shortage] if shortage.resource == MEMORY => Verdict::InsufficientMemory,
        [_] => Verdict::InsufficientGpu,
        _ => Verdict::InsufficientResources,
    }
}

#[cfg(test)]
mod tests;
