//! What a test stands in: a namespace that enforces restricted Pod Security, and a hub that pods reach.

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

/// Runs a test in a world of its own. When it fails, what the cluster shows is printed; the namespace goes either way.
pub(crate) async fn scenario(body: impl AsyncFnOnce(&World) -> anyhow::Result<()>) {
    // Another test of the same process may have installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let world = World::create().await.unwrap();
    let outcome = AssertUnwindSafe(body(&world)).catch_unwind().await;
    let failed = !matches!(outcome, Ok(Ok(())));
    if failed {
        world.dump().await;
    }
    // What a throttled fetcher still asks for is not worth waiting for.
    world.hub.stop();
    if let Err(error) = world.remove().await {
        eprintln!("the namespace {} is left behind: {error:#}", world.namespace);
    }
    match outcome {
        Ok(result) => result.unwrap(),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Where pods reach a server of this process.
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
            // As the real hub does; nothing here serves them.
            xet_headers: true,
            ..HubConfig::on(host_ip())
        })
        .await
        .context("the hub does not start on MODELCACHE_HOST_IP: is the cluster up?")?;
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

    /// Asks for the namespace's deletion; what is in it needs some seconds to go, and no other test has to wait for that.
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
