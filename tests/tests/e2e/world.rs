//! The environment of one test: a namespace that enforces restricted Pod Security, and a hub that pods can reach.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;

use anyhow::Context;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};
use modelcache_tests::hub::{Hub, HubConfig};
use serde_json::json;

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) hub: Hub,
}

/// Runs a test in its own world and deletes the namespace afterwards. After a failure it prints diagnostics first.
pub(crate) async fn scenario(body: impl AsyncFnOnce(&World) -> anyhow::Result<()>) {
    // Fails if another test of the same process has installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let world = World::create().await.unwrap();
    let outcome = AssertUnwindSafe(body(&world)).catch_unwind().await;
    let failed = !matches!(outcome, Ok(Ok(())));
    if failed {
        world.dump().await;
    }
    // A throttled fetcher must not delay the clean-up.
    world.hub.stop();
    if let Err(error) = world.remove().await {
        eprintln!("failed to delete namespace {}: {error:#}", world.namespace);
    }
    match outcome {
        Ok(result) => result.unwrap(),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Address at which pods reach a server of this process.
pub(crate) fn host_ip() -> IpAddr {
    std::env::var("MODELCACHE_HOST_IP")
        .context("MODELCACHE_HOST_IP is not set; run: eval \"$(tests/cluster/env)\"")
        .and_then(|text| Ok(text.parse()?))
        .unwrap()
}

impl World {
    async fn create() -> anyhow::Result<Self> {
        let client = Client::try_default().await?;
        let hub = Hub::start(HubConfig {
            // Like the real hub, though there are no Xet servers.
            xet_headers: true,
            ..HubConfig::on(host_ip())
        })
        .await
        .context("failed to start the hub on MODELCACHE_HOST_IP: is the cluster up?")?;
        let namespace = serde_json::from_value(json!({
            "metadata": {
                "generateName": "modelcache-e2e-",
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }))?;
        let created = Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(Self {
            client,
            namespace: created.name_any(),
            hub,
        })
    }

    /// Requests the deletion of the namespace and does not wait for it, because its content takes seconds to delete.
    async fn remove(&self) -> anyhow::Result<()> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Objects of a kind in this namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}
