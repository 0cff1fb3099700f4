//! Indexes of watched objects, by key and by owner.
//!
//! kube's `Store` finds an object by its name only, so that a reconcile would scan every Job of the cluster for its
//! own. An index keeps the facts that decisions use instead of the objects. It never calls the API server.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use kube::runtime::watcher::Event;
use thiserror::Error;
use tokio::sync::watch;

/// The key of an object among those of its kind: `namespace/name`.
#[must_use]
pub fn object_key(object: &impl ResourceExt) -> String {
    key_of(&object.namespace().unwrap_or_default(), &object.name_any())
}

/// The key of the object of this namespace and name.
#[must_use]
pub fn key_of(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The value that an index keeps of an object, with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed<V> {
    /// The facts that decisions use.
    pub value: V,
    /// The ModelCache or the claims that the object belongs to.
    pub groups: Vec<String>,
}

impl<V> Indexed<V> {
    /// A value that is found by its object's key only.
    #[must_use]
    pub const fn ungrouped(value: V) -> Self {
        Self {
            value,
            groups: Vec::new(),
        }
    }
}

/// The change that an event caused in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<V> {
    /// Nothing that the index keeps.
    None,
    /// One object.
    One {
        /// Its value before.
        before: Option<Arc<V>>,
        /// Its value now.
        after: Option<Arc<V>>,
    },
    /// Any number of objects: they were listed again.
    Relisted,
}

/// The values of every object of one kind.
#[derive(Debug)]
pub struct WatchIndex<V> {
    current: Listing<V>,
    /// Filled while the objects are listed, so that those deleted meanwhile are found.
    relisting: Listing<V>,
    is_listed: bool,
}

#[derive(Debug)]
struct Listing<V> {
    entries: HashMap<Arc<str>, Kept<V>>,
    keys_by_group: HashMap<String, Vec<Arc<str>>>,
}

#[derive(Debug, PartialEq)]
struct Kept<V> {
    value: Arc<V>,
    groups: Vec<String>,
}

impl<V> Default for Listing<V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            keys_by_group: HashMap::new(),
        }
    }
}

impl<V> Default for WatchIndex<V> {
    fn default() -> Self {
        Self {
            current: Listing::default(),
            relisting: Listing::default(),
            is_listed: false,
        }
    }
}

impl<V> Listing<V> {
    fn insert(&mut self, key: &str, indexed: Indexed<V>) -> (Option<Arc<V>>, Arc<V>) {
        let before = self.remove(key);
        let key: Arc<str> = Arc::from(key);
        let value = Arc::new(indexed.value);
        for group in &indexed.groups {
            let keys = self.keys_by_group.entry(group.clone()).or_default();
            // A pod that mounts a claim twice is one member of the claim's group.
            if keys.last() != Some(&key) {
                keys.push(Arc::clone(&key));
            }
        }
        let kept = Kept {
            value: Arc::clone(&value),
            groups: indexed.groups,
        };
        self.entries.insert(key, kept);
        (before, value)
    }

    fn remove(&mut self, key: &str) -> Option<Arc<V>> {
        let kept = self.entries.remove(key)?;
        for group in kept.groups {
            if let Slot::Occupied(mut slot) = self.keys_by_group.entry(group) {
                slot.get_mut().retain(|other| other.as_ref() != key);
                // A group that is gone leaves no memory behind.
                if slot.get().is_empty() {
                    slot.remove();
                }
            }
        }
        Some(kept.value)
    }
}

impl<V: PartialEq> WatchIndex<V> {
    /// Applies one event; an object that `read` returns `None` for is not kept.
    pub fn apply<K: ResourceExt>(&mut self, event: &Event<K>, read: impl Fn(&K) -> Option<Indexed<V>>) -> Change<V> {
        match event {
            Event::Init => {
                self.relisting = Listing::default();
                Change::None
            }
            Event::InitApply(object) => {
                if let Some(indexed) = read(object) {
                    self.relisting.insert(&object_key(object), indexed);
                }
                Change::None
            }
            Event::InitDone => {
                let listing = std::mem::take(&mut self.relisting);
                let is_changed = !self.is_listed || listing.entries != self.current.entries;
                self.current = listing;
                self.is_listed = true;
                if is_changed { Change::Relisted } else { Change::None }
            }
            Event::Apply(object) => match read(object) {
                Some(indexed) => self.replace(&object_key(object), indexed),
                None => self.remove(&object_key(object)),
            },
            Event::Delete(object) => self.remove(&object_key(object)),
        }
    }

    fn replace(&mut self, key: &str, indexed: Indexed<V>) -> Change<V> {
        let is_same = |kept: &Kept<V>| *kept.value == indexed.value && kept.groups == indexed.groups;
        if self.current.entries.get(key).is_some_and(is_same) {
            return Change::None;
        }
        let (before, after) = self.current.insert(key, indexed);
        Change::One {
            before,
            after: Some(after),
        }
    }

    fn remove(&mut self, key: &str) -> Change<V> {
        match self.current.remove(key) {
            None => Change::None,
            before @ Some(_) => Change::One { before, after: None },
        }
    }
}

impl<V> WatchIndex<V> {
    /// Whether every object has been listed once.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The value of one object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<V>> {
        self.current.entries.get(key).map(|kept| Arc::clone(&kept.value))
    }

    /// The values of the objects of a group, in no order.
    pub fn group(&self, group: &str) -> impl Iterator<Item = Arc<V>> + use<'_, V> {
        let keys = self.current.keys_by_group.get(group);
        keys.into_iter().flatten().filter_map(|key| self.get(key))
    }

    /// The values of all objects, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.current.entries.values().map(|kept| &kept.value)
    }
}

/// The watch that fills an index has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the watch that fills the index has ended")]
pub struct WatchEnded;

/// The reading side of an index that a watch fills; clones share it.
#[derive(Debug)]
pub struct IndexReader<V> {
    index: Arc<Mutex<WatchIndex<V>>>,
    is_listed: watch::Receiver<bool>,
}

/// The writing side: applies every event of one watch.
#[derive(Debug)]
pub struct IndexWriter<K, V> {
    index: Arc<Mutex<WatchIndex<V>>>,
    is_listed: watch::Sender<bool>,
    read: fn(&K) -> Option<Indexed<V>>,
}

/// An empty index; `read` decides what is kept of an object.
#[must_use]
pub fn index<K, V>(read: fn(&K) -> Option<Indexed<V>>) -> (IndexReader<V>, IndexWriter<K, V>) {
    let index = Arc::new(Mutex::new(WatchIndex::default()));
    let (sender, receiver) = watch::channel(false);
    let reader = IndexReader {
        index: Arc::clone(&index),
        is_listed: receiver,
    };
    let writer = IndexWriter {
        index,
        is_listed: sender,
        read,
    };
    (reader, writer)
}

impl<V> Clone for IndexReader<V> {
    fn clone(&self) -> Self {
        Self {
            index: Arc::clone(&self.index),
            is_listed: self.is_listed.clone(),
        }
    }
}

impl<V> IndexReader<V> {
    /// Waits until every object has been listed once.
    pub async fn wait_until_listed(&self) -> Result<(), WatchEnded> {
        let mut is_listed = self.is_listed.clone();
        let listed = is_listed.wait_for(|is_listed| *is_listed).await;
        listed.map(drop).map_err(|_| WatchEnded)
    }

    /// The value of one object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<V>> {
        lock(&self.index).get(key)
    }

    /// The values of the objects of a group, in no order.
    #[must_use]
    pub fn group(&self, group: &str) -> Vec<Arc<V>> {
        lock(&self.index).group(group).collect()
    }
}

impl<K: ResourceExt, V: PartialEq> IndexWriter<K, V> {
    /// Applies one event of the watch.
    pub fn apply(&self, event: &Event<K>) {
        let mut index = lock(&self.index);
        index.apply(event, self.read);
        let is_listed = index.is_listed();
        drop(index);
        self.is_listed
            .send_if_modified(|known| is_listed && !std::mem::replace(known, is_listed));
    }
}

fn lock<V>(index: &Mutex<WatchIndex<V>>) -> MutexGuard<'_, WatchIndex<V>> {
    // `read` runs before the first change, so that a panic in it leaves the index whole.
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
