use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector::store;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::*;
use crate::backoff::ErrorBackoff;
use crate::cluster_view::ClusterView;
use crate::context::{FetcherImage, Settings};
use crate::events::Recorder;

fn reconciler(client: Client) -> Reconciler {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Reconciler {
        context: Arc::new(Context {
            settings: Settings {
                fetcher: FetcherImage {
                    image: "fetcher:1".to_owned(),
                    pull_policy: None,
                    pull_secrets: Vec::new(),
                },
                watch_namespace: None,
                concurrency: 1,
            },
            view: ClusterView::default(),
            metrics: Arc::default(),
            recorder: Recorder::new(client.clone(), "test"),
            health: Arc::default(),
            errors: ErrorBackoff::default(),
            progress_client: reqwest::Client::builder().no_proxy().build().unwrap(),
            client,
        }),
        informers: Informers::new(store().0, store().0).0,
        assumed: AssumedStatuses::default(),
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_counted_and_skipped() {
    // A list of two; one has a spec of another version. The other one is still read.
    let list: Vec<DeserializeGuard<ModelCache>> = serde_json::from_value(json!([
        {
            "apiVersion": "modelcache.dev/v1alpha1", "kind": "ModelCache",
            "metadata": { "name": "bad", "namespace": "demo" },
            "spec": { "source": "hub://org/name" },
        },
        {
            "apiVersion": "modelcache.dev/v1alpha1", "kind": "ModelCache",
            "metadata": { "name": "good", "namespace": "demo" },
            "spec": { "source": { "huggingFace": { "repo": "org/name" } } },
        },
    ]))
    .unwrap();
    assert!(list[0].0.is_err() && list[1].0.is_ok());

    let (service, _api) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let reconciler = Arc::new(reconciler(Client::new(service, "demo")));
    let action = reconcile(Arc::new(list[0].clone()), Arc::clone(&reconciler))
        .await
        .unwrap();
    assert_eq!(action, Action::await_change());
    assert!(
        reconciler
            .context
            .metrics
            .render()
            .contains("modelcache_unreadable_objects_total 1")
    );
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_hangs_times_out_and_is_retried_with_growing_pauses() {
    let cache: DeserializeGuard<ModelCache> = serde_json::from_value(json!({
        "apiVersion": "modelcache.dev/v1alpha1", "kind": "ModelCache",
        "metadata": { "name": "good", "namespace": "demo", "uid": "uid-1" },
        "spec": { "source": { "huggingFace": { "repo": "org/name" } } },
    }))
    .unwrap();
    let (service, _api) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    // The watches never list anything.
    let (informers, _writers) = Informers::new(store().0, store().0);
    let mut hanging = reconciler(Client::new(service, "demo"));
    hanging.informers = informers;
    let reconciler = Arc::new(hanging);
    let cache = Arc::new(cache);
    let error = reconcile(Arc::clone(&cache), Arc::clone(&reconciler))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let pauses = [1, 2, 3].map(|_| after_error(&cache, &error, &reconciler));
    assert_ne!(pauses[0], pauses[1]);
    assert_ne!(pauses[1], pauses[2]);
}
