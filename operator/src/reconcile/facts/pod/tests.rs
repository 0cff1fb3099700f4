use modelcache_crds::report::Failed;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;

fn pod(status: &Value) -> FetcherPod {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "p", "namespace": "demo",
            "labels": { "batch.kubernetes.io/controller-uid": "j", "modelcache.dev/step": "fetch" },
        },
        "status": status,
    }))
    .unwrap();
    FetcherPod::of(&pod).unwrap()
}

fn terminated(exit_code: i32, reason: &str, message: &str) -> PodEnd {
    let pod = pod(&json!({
        "phase": if exit_code == 0 { "Succeeded" } else { "Failed" },
        "containerStatuses": [{
            "name": "fetcher", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": exit_code, "reason": reason, "message": message } },
        }],
    }));
    match pod.phase {
        PodPhase::Ended(end) => end,
        other => panic!("{other:?}"),
    }
}

fn class_of(end: &PodEnd) -> FailureClass {
    match end {
        PodEnd::Unreported { class, .. } => *class,
        PodEnd::Reported(report) => panic!("{report:?}"),
    }
}

#[test]
fn a_report_in_the_termination_message_is_read() {
    let report = Report::Failed(Failed {
        class: FailureClass::DiskFull,
        message: "no room".to_owned(),
        file: None,
        offset: None,
        retry_after_seconds: None,
        origins: Vec::new(),
    });
    let end = terminated(30, "Error", &report.to_termination_message());
    assert_eq!(end, PodEnd::Reported(Box::new(report.clone())));
    // A report of failure with exit code 0 contradicts itself, and so does the reverse.
    assert_eq!(
        class_of(&terminated(0, "Completed", &report.to_termination_message())),
        FailureClass::Killed
    );
}

#[test]
fn without_a_report_the_exit_code_and_the_kubelets_reason_give_the_class() {
    for (code, reason, message, class) in [
        (137, "OOMKilled", "", FailureClass::OutOfMemory),
        (137, "Error", "", FailureClass::Killed),
        (143, "Error", "", FailureClass::Killed),
        (1, "Error", "thread panicked", FailureClass::Internal),
        (2, "Error", "error: unexpected argument", FailureClass::Usage),
        (128, "StartError", "no such program", FailureClass::Internal),
        (30, "Error", "", FailureClass::DiskFull),
    ] {
        let end = terminated(code, reason, message);
        assert_eq!(class_of(&end), class, "{code} {reason}");
        let PodEnd::Unreported { message: shown, .. } = end else {
            unreachable!()
        };
        assert!(shown.contains(message), "{shown}");
    }
}

#[test]
fn an_evicted_pod_has_ended_although_its_container_status_never_shows_it() {
    let evicted = pod(&json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource" }));
    assert!(evicted.is_over());
    let PodPhase::Ended(PodEnd::Unreported { class, message }) = evicted.phase else {
        panic!("{:?}", evicted.phase)
    };
    assert_eq!(class, FailureClass::Killed);
    assert!(message.ends_with("Evicted: The node was low on resource"), "{message}");
}

#[test]
fn a_pod_without_a_container_status_is_starting() {
    assert_eq!(pod(&json!({ "phase": "Pending" })).phase, PodPhase::Starting(None));
}

/// A pod with the statuses of its containers, in the kubelet's order.
fn with_sidecar(sidecar: &str, exit_code: i32, message: &str) -> FetcherPod {
    let fetcher = json!({
        "name": "fetcher", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": exit_code, "reason": "Error", "message": message } },
    });
    let other = json!({
        "name": sidecar, "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "state": { "running": {} },
    });
    let mut statuses = [fetcher, other];
    statuses.sort_by_key(|status| status["name"].to_string());
    pod(&json!({ "phase": "Running", "containerStatuses": statuses }))
}

#[test]
fn a_running_sidecar_does_not_hide_how_the_fetcher_ended() {
    for sidecar in ["daprd", "istio-proxy"] {
        let pod = with_sidecar(sidecar, 30, "");
        assert!(pod.is_over(), "{sidecar}: {:?}", pod.phase);
    }
}
