use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;

use super::*;

fn waiting_pod(reason: &str, message: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "llama-plan", "namespace": "demo" },
        "status": {
            "phase": "Pending",
            "conditions": [{ "type": "PodScheduled", "status": "True" }],
            "containerStatuses": [{
                "name": "fetcher", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason, "message": message } },
            }],
        },
    }))
    .unwrap()
}

#[rstest]
#[case(
    "ErrImagePull",
    "not found",
    Reason::ImagePullFailed,
    "correct the operator's fetcher image"
)]
#[case(
    "ImagePullBackOff",
    "Back-off pulling image",
    Reason::ImagePullFailed,
    "Back-off pulling image"
)]
#[case(
    "InvalidImageName",
    "invalid reference",
    Reason::ImagePullFailed,
    "invalid reference"
)]
#[case(
    "ErrImageNeverPull",
    "not present with pull policy of Never",
    Reason::ImagePullFailed,
    "Never"
)]
#[case(
    "CreateContainerConfigError",
    "secret \"hf\" not found",
    Reason::SecretNotFound,
    "Secret hf does not exist in namespace demo: create it"
)]
#[case(
    "CreateContainerConfigError",
    "couldn't find key token in Secret demo/hf",
    Reason::SecretKeyNotFound,
    "Secret hf in namespace demo has no key token: add the key"
)]
#[case(
    "CreateContainerConfigError",
    "something else",
    Reason::FetcherFailed,
    "something else"
)]
#[case("CreateContainerError", "no such program", Reason::FetcherFailed, "no such program")]
fn the_kubelets_messages_become_reasons(
    #[case] waiting: &str,
    #[case] said: &str,
    #[case] reason: Reason,
    #[case] message: &str,
) {
    let waiting_reason = classify(&waiting_pod(waiting, said)).unwrap();
    assert_eq!(waiting_reason.reason, reason);
    assert!(waiting_reason.message.contains(message), "{}", waiting_reason.message);
}

#[test]
fn a_container_that_is_being_created_has_no_waiting_reason() {
    assert_eq!(classify(&waiting_pod("ContainerCreating", "")), None);
    assert_eq!(classify(&waiting_pod("PodInitializing", "")), None);
    assert_eq!(classify(&Pod::default()), None);
}

fn unschedulable_pod(message: &str) -> Pod {
    let mut pod = waiting_pod("", "");
    pod.status = serde_json::from_value(json!({
        "phase": "Pending",
        "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }],
    }))
    .unwrap();
    pod
}

#[test]
fn a_missing_claim_has_a_reason_of_its_own() {
    let said =
        "0/2 nodes are available: persistentvolumeclaim \"weights\" not found. preemption: 0/2 nodes are available.";
    let waiting_reason = classify(&unschedulable_pod(said)).unwrap();
    assert_eq!(waiting_reason.reason, Reason::ClaimNotFound);
    assert!(
        waiting_reason
            .message
            .starts_with("claim weights does not exist in namespace demo: create it")
    );
}

#[test]
fn the_schedulers_message_is_passed_on() {
    let message = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
    let waiting_reason = classify(&unschedulable_pod(&format!(
        "{message} preemption: 0/2 nodes are available: 2 Preemption is not helpful."
    )))
    .unwrap();
    assert_eq!(waiting_reason.reason, Reason::Unschedulable);
    assert_eq!(
        waiting_reason.message,
        format!("no node takes the fetcher's pod: {message}")
    );
}
