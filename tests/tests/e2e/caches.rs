//! Creates and changes ModelCaches as a user does.

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use modelcache_crds::{ModelCache, names};
use serde_json::{Value, json};

use crate::models::SMALL;
use crate::world::World;

impl World {
    pub(crate) fn caches(&self) -> Api<ModelCache> {
        self.api()
    }

    /// The spec for the small model at this test's hub, with changes merged in; null removes a field.
    pub(crate) fn spec(&self, changes: Value) -> Value {
        let mut spec = json!({
            "source": {"huggingFace": {"repo": SMALL, "endpoint": self.hub.endpoint()}},
            "storage": {"reclaimPolicy": "Delete"},
        });
        merge(&mut spec, changes);
        spec
    }

    /// Applies a ModelCache, as `kubectl apply --server-side` does.
    pub(crate) async fn apply(&self, name: &str, spec: Value) -> kube::Result<()> {
        self.apply_object(json!({
            "apiVersion": "modelcache.dev/v1alpha1",
            "kind": "ModelCache",
            "metadata": {"name": name},
            "spec": spec,
        }))
        .await
    }

    /// Applies an object in this namespace.
    pub(crate) async fn apply_object(&self, object: Value) -> kube::Result<()> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let kind = text("/kind");
        let (group, version) = text("/apiVersion").split_once('/').map_or_else(
            || (String::new(), text("/apiVersion")),
            |(g, v)| (g.to_owned(), v.to_owned()),
        );
        let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(&group, &version, &kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let as_user = PatchParams::apply("e2e").force();
        api.patch(&text("/metadata/name"), &as_user, &Patch::Apply(&object))
            .await?;
        Ok(())
    }

    /// Applies a Secret with one key.
    pub(crate) async fn apply_secret(&self, name: &str, key: &str, value: &str) -> kube::Result<()> {
        self.apply_object(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": {key: value},
        }))
        .await
    }

    /// Applies a claim with the default StorageClass.
    pub(crate) async fn apply_claim(&self, name: &str, size: &str) -> kube::Result<()> {
        self.apply_object(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        }))
        .await
    }

    /// Sets the annotation that requests a retry.
    pub(crate) async fn retry(&self, name: &str) -> kube::Result<()> {
        let annotation = json!({"metadata": {"annotations": {names::ANNOTATION_RETRY: "again"}}});
        let merge = Patch::Merge(&annotation);
        self.caches().patch(name, &PatchParams::default(), &merge).await?;
        Ok(())
    }

    pub(crate) async fn delete_cache(&self, name: &str) -> kube::Result<()> {
        self.caches().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }
}

/// JSON merge patch, RFC 7396.
fn merge(target: &mut Value, changes: Value) {
    let Value::Object(changes) = changes else {
        *target = changes;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in changes {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(&key);
        } else {
            merge(&mut target[key], value);
        }
    }
}
