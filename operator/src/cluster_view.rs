//! Nodes, and what pods hold on them, kept up to date by watches.
//!
//! Every pod of the cluster passes through here, so none is kept: only the facts the capacity check looks at.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use modelcache_crds::model_cache::Placement;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

use crate::capacity::{self, Assessment, Needs, NodeFacts, PodFacts, Usage};
use crate::metrics::{Metrics, Watched};

/// A rollout changes hundreds of pods in a moment; each is not worth a check of its own.
const DEBOUNCE: Duration = Duration::from_secs(2);

/// A page of whole pods is in memory at once while it is read: at 5 KiB each, half a megabyte.
const PAGE: u32 = 100;

/// What is known of the cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    nodes: Vec<NodeFacts>,
    usage: Usage,
    fetchers: BTreeMap<String, Vec<PodFacts>>,
    consumers: BTreeMap<String, Vec<PodFacts>>,
}

/// What belongs to one ModelCache, and so does not stand in its way.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Its uid, which its fetchers carry.
    pub cache_uid: &'a str,
    /// The claim that is its alone, as `namespace/name`.
    pub claim: Option<&'a str>,
}

impl Snapshot {
    /// A snapshot of these nodes and pods.
    #[must_use]
    pub fn new(nodes: Vec<NodeFacts>, pods: &[PodFacts]) -> Self {
        Self::of(nodes, pods.iter())
    }

    fn of<'a>(nodes: Vec<NodeFacts>, pods: impl Iterator<Item = &'a PodFacts>) -> Self {
        let mut usage = Usage::default();
        let mut fetchers: BTreeMap<String, Vec<PodFacts>> = BTreeMap::new();
        let mut consumers: BTreeMap<String, Vec<PodFacts>> = BTreeMap::new();
        for pod in pods {
            usage.count(pod);
            if let Some(uid) = &pod.cache_uid {
                fetchers.entry(uid.clone()).or_default().push(pod.clone());
                continue;
            }
            for claim in &pod.claims {
                consumers.entry(claim.clone()).or_default().push(pod.clone());
            }
        }
        Self {
            nodes,
            usage,
            fetchers,
            consumers,
        }
    }

    /// Answers whether any node has what is needed, as if this ModelCache's own fetchers and consumers held nothing:
    /// the fetchers will be gone when a consumer comes, and a consumer of the revision that is served has what one of
    /// the next revision needs.
    #[must_use]
    pub fn assess(&self, needs: &Needs, placement: &Placement, own: Own<'_>) -> Assessment {
        let fetchers = self.fetchers.get(own.cache_uid);
        let consumers = own.claim.and_then(|claim| self.consumers.get(claim));
        if fetchers.is_none() && consumers.is_none() {
            return capacity::assess(needs, placement, &self.nodes, &self.usage);
        }
        let mut usage = self.usage.clone();
        for pod in fetchers.into_iter().chain(consumers).flatten() {
            usage.discount(pod);
        }
        capacity::assess(needs, placement, &self.nodes, &usage)
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
    /// Counts changes, so that a listener knows that it missed some but not how many.
    changes: watch::Sender<u64>,
    synced: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    nodes: Mirror<NodeFacts>,
    pods: Mirror<PodFacts>,
    /// Made when first asked for after a change: reconciles are many, changes come in bursts.
    snapshot: Option<Arc<Snapshot>>,
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
    /// Watches nodes and pods for as long as it is polled.
    pub async fn run(self, client: Client, metrics: Arc<Metrics>) {
        let nodes = follow(Api::<Node>::all(client.clone()), Watched::Nodes, &metrics, |event| {
            self.see_node(&event);
        });
        let pods = follow(Api::<Pod>::all(client), Watched::Pods, &metrics, |event| {
            self.see_pod(&event);
        });
        futures::join!(nodes, pods);
    }

    /// Waits until all nodes and pods have been seen once.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // Fails only when the sender is gone, and `self` holds it.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// What is known now. Before [`ClusterView::synced`] it knows too little to be asked.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let mut state = self.lock();
        if let Some(snapshot) = &state.snapshot {
            return Arc::clone(snapshot);
        }
        let nodes = state.nodes.current.values().cloned().collect();
        let snapshot = Arc::new(Snapshot::of(nodes, state.pods.current.values()));
        state.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Ticks two seconds after something changed that the capacity check looks at, once for all that changed
    /// in between.
    pub fn changes(&self) -> impl Stream<Item = ()> + Send + 'static {
        stream::unfold(self.shared.changes.subscribe(), async |mut changes| {
            changes.changed().await.ok()?;
            // What changes meanwhile ticks once more: who looked before it must look again.
            tokio::time::sleep(DEBOUNCE).await;
            Some(((), changes))
        })
    }

    fn see_node(&self, event: &watcher::Event<Node>) {
        let mut state = self.lock();
        let changed = state
            .nodes
            .apply(event, |node| (node.name_any(), Some(NodeFacts::from(node))));
        self.tell(state, changed);
    }

    fn see_pod(&self, event: &watcher::Event<Pod>) {
        let mut state = self.lock();
        let changed = state
            .pods
            .apply(event, |pod| (pod.uid().unwrap_or_default(), PodFacts::of(pod)));
        self.tell(state, changed);
    }

    fn tell(&self, mut state: MutexGuard<'_, State>, changed: bool) {
        let synced = state.nodes.is_listed && state.pods.is_listed;
        if changed {
            state.snapshot = None;
        }
        drop(state);
        if changed {
            self.shared.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.shared
            .synced
            .send_if_modified(|known| synced && !std::mem::replace(known, synced));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held cannot leave it half-changed: every change is one insert or one swap.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow<K>(api: Api<K>, watched: Watched, metrics: &Metrics, mut see: impl FnMut(watcher::Event<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => see(event),
            Err(error) => {
                warn!(
                    error = &error as &dyn Error,
                    ?watched,
                    "a watch failed and is started again"
                );
                metrics.watch_failed(watched);
            }
        }
    }
}

/// The facts of every object of one kind.
#[derive(Debug)]
struct Mirror<F> {
    current: BTreeMap<String, F>,
    /// Filled while the objects are listed anew, so that those that are gone are found.
    listing: BTreeMap<String, F>,
    is_listed: bool,
}

impl<F> Default for Mirror<F> {
    fn default() -> Self {
        Self {
            current: BTreeMap::new(),
            listing: BTreeMap::new(),
            is_listed: false,
        }
    }
}

impl<F: PartialEq> Mirror<F> {
    /// Takes in one event; true when it changed a fact. An object that `read` gives no facts for is not kept.
    fn apply<K>(&mut self, event: &watcher::Event<K>, read: impl Fn(&K) -> (String, Option<F>)) -> bool {
        match event {
            watcher::Event::Init => {
                self.listing.clear();
                false
            }
            watcher::Event::InitApply(object) => {
                if let (key, Some(facts)) = read(object) {
                    self.listing.insert(key, facts);
                }
                false
            }
            watcher::Event::InitDone => {
                let listing = std::mem::take(&mut self.listing);
                let changed = !self.is_listed || listing != self.current;
                self.current = listing;
                self.is_listed = true;
                changed
            }
            watcher::Event::Apply(object) => match read(object) {
                (key, Some(facts)) if self.current.get(&key) == Some(&facts) => false,
                (key, Some(facts)) => {
                    self.current.insert(key, facts);
                    true
                }
                (key, None) => self.current.remove(&key).is_some(),
            },
            watcher::Event::Delete(object) => self.current.remove(&read(object).0).is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
