//! The requests to the API server, in order.

use axum::http::{Request, Response};
use kube::client::Body;
use modelcache_crds::ModelCache;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tower_test::mock::{Handle, pair};

use super::*;
use crate::reconcile::status;
use crate::reconcile::validate::validate;

type Api = Handle<Request<Body>, Response<Body>>;

/// The API server's response.
enum Answer {
    /// The request's object.
    Echo,
    Refuse(u16, &'static str, &'static str),
}

/// A request to it.
#[derive(Debug, PartialEq)]
struct Asked {
    method: String,
    path: String,
    query: String,
    body: Value,
}

async fn answer(mut api: Api, answers: Vec<Answer>) -> Vec<Asked> {
    let mut all = Vec::new();
    for answer in answers {
        let Some((request, send)) = api.next_request().await else {
            break;
        };
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        all.push(Asked {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        });
        let (code, body) = match answer {
            Answer::Echo => (200, body.to_vec()),
            Answer::Refuse(code, reason, message) => {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {},
                    "status": "Failure", "code": code, "reason": reason, "message": message,
                });
                (code, status.to_string().into_bytes())
            }
        };
        send.send_response(Response::builder().status(code).body(Body::from(body)).unwrap());
    }
    all
}

fn object() -> ModelCache {
    serde_json::from_value(json!({
        "apiVersion": "modelcache.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": { "name": "llama", "namespace": "demo", "uid": "uid-1" },
        "spec": { "source": { "huggingFace": { "repo": "org/llama" } } },
    }))
    .unwrap()
}

fn image() -> FetcherImage {
    FetcherImage {
        image: "fetcher:1".to_owned(),
        pull_policy: None,
        pull_secrets: Vec::new(),
    }
}

fn apply_claim(required: bool) -> Action {
    Action::ApplyClaim {
        bytes: 1 << 30,
        current: None,
        required,
    }
}

fn create_plan() -> Action {
    Action::CreatePlanJob {
        inputs: "0123456789".to_owned(),
        attempt: 1,
    }
}

fn delete_job(wait_for_pods: bool) -> Action {
    Action::DeleteJob {
        name: "llama-plan-abc-1".to_owned(),
        uid: "job-uid".to_owned(),
        wait_for_pods,
    }
}

/// Applies the actions against these responses; returns the requests and the refused targets.
async fn converse(actions: &[Action], answers: Vec<Answer>) -> (Vec<Asked>, Vec<ActionTarget>, Option<ActionTarget>) {
    let (service, api) = pair::<Request<Body>, Response<Body>>();
    let server = tokio::spawn(answer(api, answers));
    let cache = validate(&object()).unwrap();
    let client = Client::new(service, "demo");
    let (tolerated, result) = apply(&client, &cache, &image(), actions).await;
    drop(client);
    let asked = server.await.unwrap();
    let tolerated = tolerated.iter().map(|failure| failure.target).collect();
    (asked, tolerated, result.err().map(|failure| failure.target))
}

fn lines(asked: &[Asked]) -> Vec<String> {
    asked
        .iter()
        .map(|asked| format!("{} {}", asked.method, asked.path))
        .collect()
}

#[tokio::test]
async fn the_claim_is_applied_by_its_field_manager_before_the_job_is_created() {
    let (asked, _, failed) = converse(&[apply_claim(true), create_plan()], vec![Answer::Echo, Answer::Echo]).await;
    assert_eq!(failed, None);
    assert_eq!(
        lines(&asked),
        [
            "PATCH /api/v1/namespaces/demo/persistentvolumeclaims/llama",
            "POST /apis/batch/v1/namespaces/demo/jobs",
        ]
    );
    assert!(asked[0].query.contains("force=true") && asked[0].query.contains("fieldManager=modelcache-operator"));
    assert_eq!(asked[0].body["spec"]["resources"]["requests"]["storage"], json!("1Gi"));
    assert_eq!(asked[1].body["metadata"]["name"], json!("llama-plan-0123456789-1"));
}

#[tokio::test]
async fn a_job_that_exists_already_counts_as_created() {
    let answers = vec![Answer::Refuse(
        409,
        "AlreadyExists",
        "jobs.batch \"llama-plan\" already exists",
    )];
    let (_, _, failed) = converse(&[create_plan()], answers).await;
    assert_eq!(failed, None);
}

#[tokio::test]
async fn a_job_is_deleted_with_its_pods_and_only_if_it_is_the_one_observed() {
    for (wait_for_pods, policy) in [(false, "Background"), (true, "Foreground")] {
        let (asked, _, failed) = converse(
            &[delete_job(wait_for_pods)],
            vec![Answer::Refuse(404, "NotFound", "jobs.batch not found")],
        )
        .await;
        assert_eq!(failed, None, "a missing Job counts as deleted");
        assert_eq!(
            lines(&asked),
            ["DELETE /apis/batch/v1/namespaces/demo/jobs/llama-plan-abc-1"]
        );
        assert_eq!(asked[0].body["propagationPolicy"], json!(policy));
        assert_eq!(asked[0].body["preconditions"]["uid"], json!("job-uid"));
    }
    let conflict = vec![Answer::Refuse(
        409,
        "Conflict",
        "Precondition failed: UID in precondition",
    )];
    let (_, _, failed) = converse(&[delete_job(false)], conflict).await;
    assert_eq!(failed, None, "another Job of that name is kept");
}

#[tokio::test]
async fn a_refused_claim_keeps_its_job_from_being_created_but_a_refused_growth_does_not() {
    let refusal = || Answer::Refuse(403, "Forbidden", "exceeded quota");
    let (asked, _, failed) = converse(&[apply_claim(true), create_plan()], vec![refusal()]).await;
    assert_eq!((asked.len(), failed), (1, Some(ActionTarget::Claim { required: true })));

    let (asked, tolerated, failed) =
        converse(&[apply_claim(false), create_plan()], vec![refusal(), Answer::Echo]).await;
    assert_eq!((asked.len(), failed), (2, None));
    assert_eq!(tolerated, [ActionTarget::Claim { required: false }]);
}

#[tokio::test]
async fn the_whole_status_is_applied_to_the_object_that_was_observed() {
    let (service, api) = pair::<Request<Body>, Response<Body>>();
    let server = tokio::spawn(async move {
        let mut api = api;
        let (request, send) = api.next_request().await.unwrap();
        let (head, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
        let answer = serde_json::to_vec(&object()).unwrap();
        send.send_response(Response::new(Body::from(answer)));
        (head, body)
    });
    let status = modelcache_crds::ModelCacheStatus {
        claim_name: Some("llama".to_owned()),
        ..modelcache_crds::ModelCacheStatus::default()
    };
    let client = Client::new(service, "demo");
    status::write(&client, &object(), &status).await.unwrap();
    let (head, body) = server.await.unwrap();
    assert_eq!(
        head.uri.path(),
        "/apis/modelcache.dev/v1alpha1/namespaces/demo/modelcaches/llama/status"
    );
    let query = head.uri.query().unwrap();
    assert!(
        query.contains("force=true") && query.contains("fieldManager=modelcache-operator%2Fstatus"),
        "{query}"
    );
    assert_eq!(
        body,
        json!({
            "apiVersion": "modelcache.dev/v1alpha1", "kind": "ModelCache",
            "metadata": { "name": "llama", "uid": "uid-1" },
            "status": { "claimName": "llama" },
        })
    );
}
