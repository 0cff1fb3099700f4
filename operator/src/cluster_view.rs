//! Nodes and the requests of their pods, kept up to date by watches.
//!
//! Every pod of the cluster passes through here, so the view keeps only the facts that the capacity check uses.

use std::error::Error;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use modelcache_crds::model_cache::Placement;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

use crate::capacity::{self, Assessment, Needs, NodeFacts, PodFacts, Usage};
use crate::metrics::{Metrics, Watched};
use crate::watch_index::{Change, Indexed, WatchIndex};

/// A rollout changes hundreds of pods at once; one capacity check covers them all.
const CAPACITY_DEBOUNCE: Duration = Duration::from_secs(2);

/// A page of whole pods is in memory while it is read: at 5 KiB each, half a megabyte.
const LIST_PAGE_OBJECTS: u32 = 100;

/// A snapshot of the nodes and their pods' requests, for one ModelCache.
#[derive(Clone, Debug, Default)]
pub struct ClusterCapacity {
    nodes: Arc<Vec<Arc<NodeFacts>>>,
    usage: Arc<Usage>,
    /// Pods whose requests do not count for this ModelCache.
    own_pods: Vec<Arc<PodFacts>>,
}

impl ClusterCapacity {
    /// The capacity of these nodes without pods.
    #[must_use]
    pub fn of_idle_nodes(nodes: Vec<NodeFacts>) -> Self {
        Self {
            nodes: Arc::new(nodes.into_iter().map(Arc::new).collect()),
            ..Self::default()
        }
    }

    /// Checks whether any node has the needs free.
    ///
    /// The requests of this ModelCache's own pods do not count: its fetchers end before a consumer starts, and a
    /// consumer of the current revision holds what a consumer of the next one needs.
    #[must_use]
    pub fn assess(&self, needs: &Needs, placement: &Placement) -> Assessment {
        let nodes = self.nodes.iter().map(Arc::as_ref);
        if self.own_pods.is_empty() {
            return capacity::assess(needs, placement, nodes, &self.usage);
        }
        let mut usage = Usage::clone(&self.usage);
        for pod in &self.own_pods {
            usage.discount(pod);
        }
        capacity::assess(needs, placement, nodes, &usage)
    }
}

/// A handle to the view; clones share it.
#[derive(Clone, Debug)]
pub struct ClusterView {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Counts changes, so that a listener notices that it missed some.
    changes: watch::Sender<u64>,
    synced: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    nodes: WatchIndex<NodeFacts>,
    /// Fetchers by their ModelCache, other pods by each claim they mount.
    pods: WatchIndex<PodFacts>,
    /// The requests of all pods, kept as they change.
    usage: Arc<Usage>,
    /// The nodes as a list; built at the first request after a change.
    node_list: Option<Arc<Vec<Arc<NodeFacts>>>>,
}

impl Default for ClusterView {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                changes: watch::Sender::new(0),
                synced: watch::Sender::new(false),
            }),
        }
    }
}

impl ClusterView {
    /// Watches nodes and pods while polled.
    pub async fn run(self, client: Client, metrics: Arc<Metrics>) {
        let nodes = follow(Api::<Node>::all(client.clone()), Watched::Nodes, &metrics, |event| {
            self.see_node(&event);
        });
        let pods = follow(Api::<Pod>::all(client), Watched::Pods, &metrics, |event| {
            self.see_pod(&event);
        });
        futures::join!(nodes, pods);
    }

    /// Waits until all nodes and pods have been listed once.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // Fails only when the sender is dropped, and `self` holds it.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// The current capacity for the ModelCache of this uid; incomplete before [`ClusterView::synced`].
    ///
    /// `own_claim` is the key of its claim, when no other ModelCache uses it.
    #[must_use]
    pub fn capacity_for(&self, cache_uid: &str, own_claim: Option<&str>) -> ClusterCapacity {
        let mut state = self.lock();
        let State {
            nodes, pods, node_list, ..
        } = &mut *state;
        let list = node_list.get_or_insert_with(|| Arc::new(nodes.values().map(Arc::clone).collect()));
        let nodes = Arc::clone(list);
        let consumers = own_claim.into_iter().flat_map(|claim| pods.group(claim));
        let own_pods = pods.group(cache_uid).chain(consumers).collect();
        ClusterCapacity {
            nodes,
            usage: Arc::clone(&state.usage),
            own_pods,
        }
    }

    /// Ticks two seconds after a change that the capacity check sees.
    ///
    /// All changes in between are one tick.
    pub fn changes(&self) -> impl Stream<Item = ()> + Send + 'static {
        stream::unfold(self.shared.changes.subscribe(), async |mut changes| {
            changes.changed().await.ok()?;
            // A change during the sleep ticks again: the check before it saw the old state.
            tokio::time::sleep(CAPACITY_DEBOUNCE).await;
            Some(((), changes))
        })
    }

    fn see_node(&self, event: &watcher::Event<Node>) {
        let mut state = self.lock();
        let change = state
            .nodes
            .apply(event, |node| Some(Indexed::ungrouped(NodeFacts::from(node))));
        let is_changed = change != Change::None;
        if is_changed {
            state.node_list = None;
        }
        self.notify(state, is_changed);
    }

    fn see_pod(&self, event: &watcher::Event<Pod>) {
        let mut state = self.lock();
        let change = state.pods.apply(event, index_pod);
        let is_changed = change != Change::None;
        state.count(&change);
        self.notify(state, is_changed);
    }

    fn notify(&self, state: MutexGuard<'_, State>, is_changed: bool) {
        let is_synced = state.nodes.is_listed() && state.pods.is_listed();
        drop(state);
        if is_changed {
            self.shared.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.shared
            .synced
            .send_if_modified(|known| is_synced && !std::mem::replace(known, is_synced));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The objects are read before the first change, so that a panic there leaves the state whole.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a change of pods into the usage.
    fn count(&mut self, change: &Change<PodFacts>) {
        match change {
            Change::None => {}
            Change::One { before, after } => {
                let usage = Arc::make_mut(&mut self.usage);
                if let Some(before) = before {
                    usage.discount(before);
                }
                if let Some(after) = after {
                    usage.count(after);
                }
            }
            Change::Relisted => self.usage = Arc::new(self.pods.values().map(Arc::as_ref).collect()),
        }
    }
}

fn index_pod(pod: &Pod) -> Option<Indexed<PodFacts>> {
    let facts = PodFacts::of(pod)?;
    let groups = match &facts.cache_uid {
        Some(uid) => vec![uid.clone()],
        None => facts.claims.clone(),
    };
    Some(Indexed { value: facts, groups })
}

async fn follow<K>(api: Api<K>, watched: Watched, metrics: &Metrics, mut see: impl FnMut(watcher::Event<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().page_size(LIST_PAGE_OBJECTS);
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => see(event),
            Err(error) => {
                warn!(error = &error as &dyn Error, ?watched, "watch failed and restarts");
                metrics.watch_failed(watched);
            }
        }
    }
}

#[cfg(test)]
mod tests;
