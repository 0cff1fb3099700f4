use k8s_openapi::api::core::v1::{Node, Pod, Toleration};
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

const GI: i64 = 1 << 30;
const GPU: &str = "nvidia.com/gpu";

fn node(name: &str, memory: i64, gpus: i64) -> NodeFacts {
    let mut allocatable = BTreeMap::from([(MEMORY.to_owned(), memory)]);
    if gpus > 0 {
        allocatable.insert(GPU.to_owned(), gpus);
    }
    NodeFacts {
        name: name.to_owned(),
        ready: true,
        allocatable,
        ..NodeFacts::default()
    }
}

fn pod(node: &str, memory: i64, gpus: i64) -> PodFacts {
    PodFacts {
        node: node.to_owned(),
        requests: BTreeMap::from([(MEMORY.to_owned(), memory), (GPU.to_owned(), gpus)]),
        ..PodFacts::default()
    }
}

fn needs(memory: Option<i64>, gpus: Option<i64>) -> Needs {
    Needs {
        memory,
        gpu: gpus.map(|count| (count, GPU.to_owned())),
    }
}

fn selecting(labels: &[(&str, &str)]) -> Placement {
    Placement {
        node_selector: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Placement::default()
    }
}

#[test]
fn the_message_names_for_each_node_the_resources_it_lacks() {
    let nodes = [node("node1", 8 * GI, 1), node("node2", 64 * GI, 1)];
    let pods = [pod("node1", 5 * GI, 0), pod("node2", GI, 1)];
    let found = assess(
        &needs(Some(24 * GI), Some(1)),
        &Placement::default(),
        &nodes,
        &pods.iter().collect(),
    );
    assert_eq!(
        found.message,
        "0 of 2 nodes fit: node1 has 3Gi of 24Gi memory free, node2 has 0 of 1 nvidia.com/gpu"
    );
    assert_eq!(found.verdict, Verdict::InsufficientResources);
    assert_eq!(found.shortfalls, [], "each resource is free somewhere");
    assert!(!found.fits());
}

#[rstest]
#[case::all_fit(needs(Some(4 * GI), None), Verdict::Fits, "2 of 2 nodes fit: a, b")]
#[case::one_fits(needs(Some(4 * GI), Some(2)), Verdict::Fits, "1 of 2 nodes fit: b")]
#[case::exactly_what_is_free(needs(Some(16 * GI), None), Verdict::Fits, "1 of 2 nodes fit: b")]
#[case::one_byte_more(
    needs(Some(16 * GI + 1), None),
    Verdict::InsufficientMemory,
    "0 of 2 nodes fit: a has 8Gi of 16Gi memory free, b has 16Gi of 17179869185 memory free"
)]
#[case::gpus(
    needs(Some(GI), Some(3)),
    Verdict::InsufficientGpu,
    "0 of 2 nodes fit: a has 0 of 3 nvidia.com/gpu, b has 2 of 3 nvidia.com/gpu"
)]
#[case::both(
    needs(Some(32 * GI), Some(3)),
    Verdict::InsufficientResources,
    "0 of 2 nodes fit: a has 8Gi of 32Gi memory free and 0 of 3 nvidia.com/gpu, \
     b has 16Gi of 32Gi memory free and 2 of 3 nvidia.com/gpu"
)]
#[case::nothing_asked_for(needs(None, None), Verdict::Fits, "2 of 2 nodes fit: a, b")]
fn two_nodes_are_judged(#[case] needs: Needs, #[case] verdict: Verdict, #[case] message: &str) {
    let nodes = [node("b", 16 * GI, 2), node("a", 8 * GI, 0)];
    let found = assess(&needs, &Placement::default(), &nodes, &Usage::default());
    assert_eq!((found.verdict, found.message.as_str()), (verdict, message));
}

#[test]
fn status_names_the_best_node_for_what_is_short() {
    let nodes = [node("b", 16 * GI, 2), node("a", 8 * GI, 0), node("c", 16 * GI, 0)];
    let found = assess(
        &needs(Some(24 * GI), Some(1)),
        &Placement::default(),
        &nodes,
        &Usage::default(),
    );
    let status = found.status();
    assert_eq!((status.nodes_considered, status.nodes_fit), (3, 0));
    assert_eq!(status.shortfalls.len(), 1);
    let short = &status.shortfalls[0];
    assert_eq!(
        (
            short.resource.as_str(),
            short.needed.0.as_str(),
            short.best.0.as_str(),
            short.node.as_deref()
        ),
        ("memory", "24Gi", "16Gi", Some("b"))
    );
}

#[test]
fn a_message_about_many_nodes_names_five() {
    let nodes: Vec<_> = (0..8).map(|i| node(&format!("n{i}"), 32 * GI, 0)).collect();
    let placement = Placement::default();
    let found = assess(&needs(Some(GI), None), &placement, &nodes, &Usage::default());
    assert_eq!(found.message, "8 of 8 nodes fit: n0, n1, n2, n3, n4 and 3 more");
    let found = assess(&needs(None, Some(1)), &placement, &nodes, &Usage::default());
    assert!(
        found.message.ends_with("n4 has 0 of 1 nvidia.com/gpu and 3 more"),
        "{}",
        found.message
    );
}

#[test]
fn nodes_out_of_service_or_not_selected_are_counted_by_why() {
    let mut cordoned = node("cordoned", 64 * GI, 0);
    cordoned.unschedulable = true;
    let mut down = node("down", 64 * GI, 0);
    down.ready = false;
    for facts in [&mut cordoned, &mut down] {
        facts.labels.insert("pool".to_owned(), "gpu".to_owned());
    }
    let nodes = [cordoned, down, node("x", 64 * GI, 0), node("y", 64 * GI, 0)];
    let found = assess(
        &needs(Some(GI), None),
        &selecting(&[("pool", "gpu")]),
        &nodes,
        &Usage::default(),
    );
    assert_eq!(found.verdict, Verdict::NoNodesMatch);
    assert_eq!(
        found.message,
        "no node is considered: 1 cordoned, 1 not ready, 2 lack label pool=gpu"
    );
    let found = assess(&needs(Some(GI), None), &Placement::default(), &[], &Usage::default());
    assert_eq!(found.message, "no node is considered: the cluster has no node");
}

fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Toleration {
        key: given(key),
        operator: given(operator),
        value: given(value),
        effect: given(effect),
        ..Toleration::default()
    }
}

#[rstest]
#[case::none(None, "NoSchedule", false)]
#[case::preferred_only(None, "PreferNoSchedule", true)]
#[case::equal(Some(toleration("gpu", "Equal", "yes", "NoSchedule")), "NoSchedule", true)]
#[case::equal_is_the_default(Some(toleration("gpu", "", "yes", "")), "NoExecute", true)]
#[case::other_value(Some(toleration("gpu", "Equal", "no", "")), "NoSchedule", false)]
#[case::other_effect(Some(toleration("gpu", "Exists", "", "NoSchedule")), "NoExecute", false)]
#[case::exists(Some(toleration("gpu", "Exists", "", "")), "NoSchedule", true)]
#[case::everything(Some(toleration("", "Exists", "", "")), "NoSchedule", true)]
#[case::other_key(Some(toleration("cpu", "Exists", "", "")), "NoSchedule", false)]
#[case::no_key_and_no_operator(Some(toleration("", "", "yes", "")), "NoSchedule", false)]
#[case::unknown_operator(Some(toleration("gpu", "Gt", "1", "")), "NoSchedule", false)]
fn taints_are_tolerated_as_the_scheduler_does(
    #[case] toleration: Option<Toleration>,
    #[case] effect: &str,
    #[case] considered: bool,
) {
    let mut tainted = node("a", GI, 0);
    tainted.taints.push(TaintFacts {
        key: "gpu".to_owned(),
        value: "yes".to_owned(),
        effect: effect.to_owned(),
    });
    let placement = Placement {
        tolerations: toleration.into_iter().collect(),
        ..Placement::default()
    };
    let found = assess(&needs(Some(GI), None), &placement, [&tainted], &Usage::default());
    assert_eq!(found.nodes_considered == 1, considered, "{}", found.message);
    if !considered {
        assert_eq!(
            found.message,
            format!("no node is considered: 1 has taint gpu=yes:{effect}")
        );
    }
}

fn requests_of(spec: &serde_json::Value) -> Option<(i64, i64)> {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap();
    let facts = PodFacts::of(&pod)?;
    let amount = |resource: &str| facts.requests.get(resource).copied().unwrap_or(0);
    Some((amount(MEMORY) >> 20, amount(GPU)))
}

fn container(mebi: i64) -> serde_json::Value {
    json!({"name": "c", "resources": {"requests": {"memory": format!("{mebi}Mi"), "cpu": "1"}}})
}

fn sidecar(mebi: i64) -> serde_json::Value {
    let mut sidecar = container(mebi);
    sidecar["restartPolicy"] = json!("Always");
    sidecar
}

#[rstest]
#[case::sum(json!({"nodeName": "n", "containers": [container(10), container(20)]}), Some((30, 0)))]
#[case::nothing_requested(json!({"nodeName": "n", "containers": [{"name": "c"}]}), Some((0, 0)))]
#[case::large_init(json!({"nodeName": "n", "containers": [container(10)], "initContainers": [container(50), container(40)]}), Some((50, 0)))]
#[case::sidecar(json!({"nodeName": "n", "containers": [container(10)], "initContainers": [sidecar(5)]}), Some((15, 0)))]
#[case::init_beside_an_earlier_sidecar(json!({"nodeName": "n", "containers": [container(10)], "initContainers": [sidecar(5), container(50)]}), Some((55, 0)))]
#[case::init_before_a_sidecar(json!({"nodeName": "n", "containers": [container(10)], "initContainers": [container(50), sidecar(5)]}), Some((50, 0)))]
#[case::overhead(json!({"nodeName": "n", "containers": [container(10)], "overhead": {"memory": "7Mi"}}), Some((17, 0)))]
#[case::pod_level(json!({"nodeName": "n", "containers": [container(10)], "resources": {"requests": {"memory": "64Mi"}}}), Some((64, 0)))]
#[case::limits_stand_in(json!({"nodeName": "n", "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "2", "memory": "1Mi"}}}]}), Some((1, 2)))]
#[case::unscheduled(json!({"containers": [container(10)]}), None)]
fn pods_hold_what_the_scheduler_counts(#[case] spec: serde_json::Value, #[case] expected: Option<(i64, i64)>) {
    assert_eq!(requests_of(&spec), expected);
}

#[test]
fn a_pod_that_has_ended_holds_nothing() {
    for (phase, counts) in [
        ("Running", true),
        ("Pending", true),
        ("Succeeded", false),
        ("Failed", false),
    ] {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u", "labels": {"modelcache.dev/cache-uid": "cache"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": phase},
        }))
        .unwrap();
        let facts = PodFacts::of(&pod);
        assert_eq!(facts.is_some(), counts, "{phase}");
        if let Some(facts) = facts {
            assert_eq!(facts.cache_uid.as_deref(), Some("cache"));
        }
    }
}

#[test]
fn a_node_is_read_as_kubernetes_writes_it() {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "n", "labels": {"a": "b"}},
        "spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"memory": "2Gi", "cpu": "4", "pods": "110", "nvidia.com/gpu": "2"},
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "Unknown"}],
        },
    }))
    .unwrap();
    let facts = NodeFacts::from(&node);
    assert!(facts.unschedulable && !facts.ready);
    assert_eq!(facts.taints[0].to_string(), "k:NoSchedule");
    assert_eq!(
        facts.allocatable,
        BTreeMap::from([(MEMORY.to_owned(), 2 * GI), (GPU.to_owned(), 2)])
    );
}

#[test]
fn a_counted_pod_can_be_discounted() {
    let (other, own) = (pod("n", 3, 1), pod("n", 4, 0));
    let mut usage: Usage = [&other, &own].into_iter().collect();
    usage.discount(&own);
    assert_eq!(
        (usage.on("n", MEMORY), usage.on("n", GPU), usage.on("m", MEMORY)),
        (3, 1, 0)
    );
}

fn any_node() -> impl Strategy<Value = NodeFacts> {
    ("[a-f]", 0..8i64, 0..3i64, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(name, memory, gpus, ready, unschedulable, labelled)| {
            let mut facts = node(&name, memory, gpus);
            facts.ready = ready;
            facts.unschedulable = unschedulable;
            if labelled {
                facts.labels.insert("pool".to_owned(), "gpu".to_owned());
            }
            facts
        },
    )
}

proptest! {
    #[test]
    fn a_node_fits_exactly_when_it_is_eligible_and_each_need_is_at_most_what_is_free(
        nodes in prop::collection::btree_map("[a-f]", any_node(), 0..6),
        pods in prop::collection::vec(("[a-f]", 0..5i64, 0..2i64), 0..8),
        memory in prop::option::of(1..8i64),
        gpus in prop::option::of(1..3i64),
        selects in any::<bool>(),
    ) {
        let nodes: Vec<NodeFacts> = nodes.into_iter().map(|(name, facts)| NodeFacts { name, ..facts }).collect();
        let pods: Vec<PodFacts> = pods.iter().map(|(name, memory, gpus)| pod(name, *memory, *gpus)).collect();
        let placement = if selects { selecting(&[("pool", "gpu")]) } else { Placement::default() };
        let found = assess(&needs(memory, gpus), &placement, &nodes, &pods.iter().collect());

        let held = |name: &str, resource: &str| -> i64 {
            pods.iter().filter(|pod| pod.node == name).map(|pod| pod.requests[resource]).sum()
        };
        let is_enough = |facts: &NodeFacts, resource: &str, needed: Option<i64>| {
            needed.is_none_or(|needed| {
                facts.allocatable.get(resource).unwrap_or(&0) - held(&facts.name, resource) >= needed
            })
        };
        let eligible: Vec<&NodeFacts> = nodes
            .iter()
            .filter(|facts| facts.ready && !facts.unschedulable && (!selects || facts.labels.contains_key("pool")))
            .collect();
        let expected: Vec<&str> = eligible
            .iter()
            .filter(|facts| is_enough(facts, MEMORY, memory) && is_enough(facts, GPU, gpus))
            .map(|facts| facts.name.as_str())
            .collect();
        prop_assert_eq!(&found.fitting, &expected);
        prop_assert_eq!(found.nodes_considered, eligible.len());
        prop_assert_eq!(found.fits(), !expected.is_empty());
        prop_assert_eq!(found.verdict == Verdict::NoNodesMatch, eligible.is_empty());
        for lack in &found.shortfalls {
            prop_assert!(lack.best < lack.needed && lack.best >= 0);
            prop_assert!(!found.fits());
        }
        prop_assert!(!found.message.is_empty());
    }
}
