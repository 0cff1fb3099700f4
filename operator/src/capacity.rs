//! Which nodes have what a consumer of the model needs: pure, counted in requests as the scheduler counts.
//!
//! Not a reservation: what is free now may be taken before a consumer comes. Memory of the GPUs themselves is
//! not looked at.

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

/// What one node must have free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// How many of which extended resource.
    pub gpu: Option<(i64, String)>,
}

impl Needs {
    /// Each needed resource with its amount, memory first.
    fn amounts(&self) -> Vec<(&str, i64)> {
        let memory = self.memory.map(|bytes| (MEMORY, bytes));
        let gpu = self.gpu.as_ref().map(|(count, name)| (name.as_str(), *count));
        memory.into_iter().chain(gpu).collect()
    }
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one node has all of it.
    Fits,
    /// No node is considered at all.
    NoNodesMatch,
    /// Memory alone is short on every considered node.
    InsufficientMemory,
    /// GPUs alone are short on every considered node.
    InsufficientGpu,
    /// No considered node has everything, for more than one resource's sake.
    InsufficientResources,
}

impl Verdict {
    /// The reason of `CapacityAvailable`.
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

/// The answer, with what a person needs to understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Nodes that are ready, not cordoned, and that placement allows.
    pub nodes_considered: usize,
    /// Of those, the ones that have everything, by name.
    pub fitting: Vec<String>,
    /// Resources of which no considered node has enough.
    pub shortfalls: Vec<ResourceShortage>,
    /// The answer in one word.
    pub verdict: Verdict,
    /// The answer in one sentence, for the condition.
    pub message: String,
}

impl Assessment {
    /// Whether at least one node has everything.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.verdict == Verdict::Fits
    }

    /// The answer as it stands in status.
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
    /// What is asked for.
    pub needed: i64,
    /// The most that is free on one node.
    pub best: i64,
    /// That node.
    pub node: Option<String>,
}

/// What a considered node has free of what is needed.
struct Candidate<'a> {
    name: &'a str,
    free: BTreeMap<&'a str, i64>,
}

impl Candidate<'_> {
    fn free(&self, resource: &str) -> i64 {
        self.free.get(resource).copied().unwrap_or(0)
    }
}

/// Answers whether any node that placement allows has free what is needed.
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
            // Of equals the first by name, so that the status does not flap between them.
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
