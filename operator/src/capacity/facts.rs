//! The capacity check's facts about nodes and pods: a few hundred bytes each instead of the whole object.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use modelcache_crds::{names, quantity};

use super::MEMORY;
use crate::watch_index::key_of;

/// Amounts by resource, in base units.
type Amounts = BTreeMap<String, i64>;

/// The facts about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<TaintFacts>,
    /// Whether its `Ready` condition is True.
    pub ready: bool,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// Allocatable memory and extended resources.
    pub allocatable: BTreeMap<String, i64>,
}

/// A taint of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaintFacts {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl TaintFacts {
    /// Whether it repels pods that do not tolerate it.
    pub(super) fn repels(&self) -> bool {
        matches!(self.effect.as_str(), "NoSchedule" | "NoExecute")
    }
}

impl fmt::Display for TaintFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}:{}", self.key, self.effect)
        } else {
            write!(f, "{}={}:{}", self.key, self.value, self.effect)
        }
    }
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let ready = status
            .and_then(|status| status.conditions.as_ref())
            .is_some_and(|conditions| {
                conditions
                    .iter()
                    .any(|condition| condition.type_ == "Ready" && condition.status == "True")
            });
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec
                .and_then(|spec| spec.taints.as_ref())
                .into_iter()
                .flatten()
                .map(|taint| TaintFacts {
                    key: taint.key.clone(),
                    value: taint.value.clone().unwrap_or_default(),
                    effect: taint.effect.clone(),
                })
                .collect(),
            ready,
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            allocatable: status
                .and_then(|status| status.allocatable.as_ref())
                .map(amounts)
                .unwrap_or_default(),
        }
    }
}

/// The facts about a pod that holds requests on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// The node it is bound to.
    pub node: String,
    /// Its uid.
    pub uid: String,
    /// Uid of the ModelCache whose fetcher it is.
    pub cache_uid: Option<String>,
    /// Keys of the claims it mounts.
    pub claims: Vec<String>,
    /// Its requests, as the scheduler counts them.
    pub requests: BTreeMap<String, i64>,
}

impl PodFacts {
    /// The facts about a pod; `None` when it is not bound to a node, or has ended.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let node = spec.node_name.clone().filter(|name| !name.is_empty())?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        Some(Self {
            node,
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            cache_uid: pod
                .metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(names::LABEL_CACHE_UID))
                .cloned(),
            claims: mounted_claims(pod, spec),
            requests: effective_requests(spec),
        })
    }
}

fn mounted_claims(pod: &Pod, spec: &PodSpec) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .map(|claim| key_of(namespace, &claim.claim_name))
        .collect()
}

/// The largest requests that the pod holds at once.
///
/// That is its containers and sidecars together, or an init container beside the sidecars started before it. A
/// pod-level request replaces both; the runtime's overhead adds to either.
fn effective_requests(spec: &PodSpec) -> Amounts {
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &requests(container.resources.as_ref()));
    }
    let mut sidecars = Amounts::new();
    let mut starting = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let own = requests(container.resources.as_ref());
        if is_sidecar(container) {
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            raise(&mut starting, &beside);
        }
    }
    add(&mut running, &sidecars);
    raise(&mut running, &starting);
    for (resource, amount) in requests(spec.resources.as_ref()) {
        running.insert(resource, amount);
    }
    if let Some(overhead) = &spec.overhead {
        add(&mut running, &amounts(overhead));
    }
    running
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Requests, which default to the limits, as in the API server.
fn requests(resources: Option<&ResourceRequirements>) -> Amounts {
    let Some(resources) = resources else {
        return Amounts::new();
    };
    let mut all = resources.limits.as_ref().map(amounts).unwrap_or_default();
    all.extend(resources.requests.as_ref().map(amounts).unwrap_or_default());
    all
}

/// Only memory and extended resources: no spec asks for others, and a cluster has many pods.
fn amounts(quantities: &BTreeMap<String, Quantity>) -> Amounts {
    quantities
        .iter()
        .filter(|(name, _)| *name == MEMORY || name.contains('/'))
        .filter_map(|(name, value)| Some((name.clone(), quantity::parse(value)?)))
        .collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        let entry = sum.entry(resource.clone()).or_insert(0);
        *entry = entry.saturating_add(*amount);
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (resource, amount) in other {
        let entry = most.entry(resource.clone()).or_insert(0);
        *entry = (*entry).max(*amount);
    }
}

/// The requests of the pods on each node.
///
/// Sums are wider than any request, so that discounting a pod of absurd requests is exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    by_node: BTreeMap<String, BTreeMap<String, i128>>,
}

impl Usage {
    /// Adds a pod's requests.
    pub fn count(&mut self, pod: &PodFacts) {
        for (resource, amount) in pod.requests.iter().filter(|(_, amount)| **amount != 0) {
            let held = self.by_node.entry(pod.node.clone()).or_default();
            *held.entry(resource.clone()).or_insert(0) += i128::from(*amount);
        }
    }

    /// Subtracts the requests that [`Usage::count`] added.
    pub fn discount(&mut self, pod: &PodFacts) {
        let Some(held) = self.by_node.get_mut(&pod.node) else {
            return;
        };
        for (resource, amount) in &pod.requests {
            if let Some(entry) = held.get_mut(resource) {
                *entry -= i128::from(*amount);
            }
        }
        // Nodes come and go: an empty entry is dropped.
        held.retain(|_, amount| *amount != 0);
        if held.is_empty() {
            self.by_node.remove(&pod.node);
        }
    }

    /// The requested amount of a resource on a node.
    #[must_use]
    pub fn on(&self, node: &str, resource: &str) -> i64 {
        let held = self.by_node.get(node).and_then(|amounts| amounts.get(resource));
        i64::try_from(held.copied().unwrap_or(0)).unwrap_or(i64::MAX)
    }
}

impl<'a> FromIterator<&'a PodFacts> for Usage {
    fn from_iter<I: IntoIterator<Item = &'a PodFacts>>(pods: I) -> Self {
        let mut usage = Self::default();
        for pod in pods {
            usage.count(pod);
        }
        usage
    }
}
