use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::timeout;

use super::*;

/// An object with a value, and the owners it belongs to.
fn object(name: &str, value: &str, owners: &[&str]) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "demo" },
        "data": { "value": value, "owners": owners.join(",") },
    }))
    .unwrap()
}

/// Keeps the value of an object; nothing of one that has none.
fn read(object: &ConfigMap) -> Option<Indexed<String>> {
    let data = object.data.as_ref()?;
    let owners = data["owners"].split(',').filter(|owner| !owner.is_empty());
    Some(Indexed {
        value: Some(data["value"].clone()).filter(|value| !value.is_empty())?,
        groups: owners.map(str::to_owned).collect(),
    })
}

fn filled(objects: &[ConfigMap]) -> WatchIndex<String> {
    let mut index = WatchIndex::default();
    list(&mut index, objects);
    index
}

fn list(index: &mut WatchIndex<String>, objects: &[ConfigMap]) -> Change<String> {
    index.apply(&Event::<ConfigMap>::Init, read);
    for object in objects {
        index.apply(&Event::InitApply(object.clone()), read);
    }
    index.apply(&Event::<ConfigMap>::InitDone, read)
}

fn group(index: &WatchIndex<String>, owner: &str) -> Vec<String> {
    let mut values: Vec<String> = index.group(owner).map(|value| value.to_string()).collect();
    values.sort();
    values
}

const NOTHING: [&str; 0] = [];

#[test]
fn objects_are_found_by_their_key_and_by_every_owner() {
    let index = filled(&[
        object("a", "1", &["x"]),
        object("b", "2", &["x", "y"]),
        object("c", "3", &[]),
    ]);
    assert_eq!(index.get("demo/c").as_deref().map(String::as_str), Some("3"));
    assert_eq!(index.get("elsewhere/c"), None);
    assert_eq!(group(&index, "x"), ["1", "2"]);
    assert_eq!(group(&index, "y"), ["2"]);
    assert_eq!(group(&index, "z"), NOTHING);
}

#[test]
fn an_applied_object_replaces_its_former_value_and_a_deleted_one_is_gone() {
    let mut index = filled(&[object("a", "1", &["x"])]);
    let change = index.apply(&Event::Apply(object("a", "2", &["x"])), read);
    let value = |text: &str| Some(Arc::new(text.to_owned()));
    assert_eq!(
        change,
        Change::One {
            before: value("1"),
            after: value("2")
        }
    );
    assert_eq!(group(&index, "x"), ["2"]);
    assert_eq!(index.apply(&Event::Apply(object("a", "2", &["x"])), read), Change::None);
    let change = index.apply(&Event::Delete(object("a", "2", &["x"])), read);
    assert_eq!(
        change,
        Change::One {
            before: value("2"),
            after: None
        }
    );
    assert_eq!(group(&index, "x"), NOTHING);
    assert_eq!(
        index.apply(&Event::Delete(object("a", "2", &["x"])), read),
        Change::None
    );
    assert!(index.current.keys_by_group.is_empty(), "an empty group is dropped");
}

#[test]
fn an_object_whose_owner_changes_moves_to_the_other_group() {
    let mut index = filled(&[object("a", "1", &["x"]), object("b", "2", &["x"])]);
    assert_ne!(index.apply(&Event::Apply(object("a", "1", &["y"])), read), Change::None);
    assert_eq!(group(&index, "x"), ["2"]);
    assert_eq!(group(&index, "y"), ["1"]);
}

#[test]
fn an_object_that_names_an_owner_twice_is_in_its_group_once() {
    let mut index = filled(&[object("a", "1", &["x", "y", "x"])]);
    assert_eq!(group(&index, "x"), ["1"]);
    index.apply(&Event::Delete(object("a", "1", &["x", "y", "x"])), read);
    assert_eq!(group(&index, "x"), NOTHING);
}

#[test]
fn an_object_that_is_no_longer_kept_leaves_its_group() {
    let mut index = filled(&[object("a", "1", &["x"])]);
    assert_ne!(index.apply(&Event::Apply(object("a", "", &["x"])), read), Change::None);
    assert_eq!(group(&index, "x"), NOTHING);
    assert_eq!(index.get("demo/a"), None);
}

#[test]
fn a_restarted_watch_keeps_the_former_list_until_the_new_one_is_whole() {
    let mut index = filled(&[object("a", "1", &["x"]), object("b", "2", &["x"])]);
    index.apply(&Event::<ConfigMap>::Init, read);
    index.apply(&Event::InitApply(object("b", "2", &["y"])), read);
    assert_eq!(group(&index, "x"), ["1", "2"]);
    // The list breaks off, and starts again.
    index.apply(&Event::<ConfigMap>::Init, read);
    index.apply(&Event::InitApply(object("c", "3", &["x"])), read);
    assert_eq!(index.apply(&Event::<ConfigMap>::InitDone, read), Change::Relisted);
    assert_eq!(group(&index, "x"), ["3"]);
    assert_eq!(group(&index, "y"), NOTHING);
}

#[test]
fn a_list_that_shows_what_is_known_changes_nothing_but_the_first_does() {
    let mut index = WatchIndex::default();
    assert!(!index.is_listed());
    assert_eq!(list(&mut index, &[]), Change::Relisted);
    assert!(index.is_listed());
    assert_eq!(list(&mut index, &[]), Change::None);
    assert_eq!(list(&mut index, &[object("a", "1", &["x"])]), Change::Relisted);
    assert_eq!(list(&mut index, &[object("a", "1", &["x"])]), Change::None);
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_the_first_list_and_sees_what_the_writer_applies() {
    let (reader, writer) = index(read);
    let soon = Duration::from_millis(10);
    writer.apply(&Event::Init);
    writer.apply(&Event::InitApply(object("a", "1", &["x"])));
    assert!(timeout(soon, reader.wait_until_listed()).await.is_err());
    writer.apply(&Event::InitDone);
    assert_eq!(timeout(soon, reader.wait_until_listed()).await, Ok(Ok(())));
    assert_eq!(reader.group("x"), [Arc::new("1".to_owned())]);
    writer.apply(&Event::Delete(object("a", "1", &["x"])));
    assert_eq!(reader.get("demo/a"), None);
}

#[tokio::test(start_paused = true)]
async fn a_reader_learns_that_the_watch_ended_before_the_first_list() {
    let (reader, writer) = index::<ConfigMap, _>(read);
    drop(writer);
    assert_eq!(reader.wait_until_listed().await, Err(WatchEnded));
}

proptest! {
    #[test]
    fn a_group_holds_exactly_the_objects_that_a_scan_finds(
        events in prop::collection::vec((0u8..4, "[a-d]", "[0-2]?", prop::sample::subsequence(vec!["x", "y"], 0..=2)), 0..40),
    ) {
        let mut index = filled(&[]);
        let mut model = std::collections::BTreeMap::new();
        for (kind, name, value, owners) in events {
            let object = object(&name, &value, &owners);
            if kind == 0 {
                index.apply(&Event::Delete(object), read);
                model.remove(&name);
            } else {
                index.apply(&Event::Apply(object), read);
                model.insert(name, (value, owners));
            }
        }
        for owner in ["x", "y"] {
            let kept = model.values().filter(|(value, owners)| !value.is_empty() && owners.contains(&owner));
            let mut scanned: Vec<String> = kept.map(|(value, _)| value.clone()).collect();
            scanned.sort();
            prop_assert_eq!(group(&index, owner), scanned);
        }
    }
}
