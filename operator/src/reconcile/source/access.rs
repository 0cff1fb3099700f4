//! Access to a source: Secrets, service account, claim.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use modelcache_crds::model_cache::SecretKeyReference;
use serde::Serialize;

/// The Secrets, service account and claim that a pod reads a source with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Environment variables from Secrets.
    pub variables: Vec<SecretVariable>,
    /// Service account of the pod.
    pub service_account: Option<String>,
    /// Claim that the pod mounts read-only.
    pub claim: Option<String>,
}

/// An environment variable from a key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretVariable {
    /// Name of the variable.
    pub name: &'static str,
    /// Name of the Secret.
    pub secret: String,
    /// Key in the Secret.
    pub key: String,
    /// Whether the pod starts without the key.
    pub is_optional: bool,
}

impl Access {
    /// Access by one required key, where the spec names a Secret.
    pub(super) fn from_key(name: &'static str, reference: Option<&SecretKeyReference>) -> Self {
        let variables = reference.map(|reference| SecretVariable {
            name,
            secret: reference.name.clone(),
            key: reference.key.clone(),
            is_optional: false,
        });
        Self {
            variables: variables.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl From<&SecretVariable> for EnvVar {
    /// The variable as the kubelet fills it.
    ///
    /// The kubelet reports a missing Secret on the pod, and starts the pod once the Secret exists.
    fn from(variable: &SecretVariable) -> Self {
        Self {
            name: variable.name.to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: variable.secret.clone(),
                    key: variable.key.clone(),
                    optional: variable.is_optional.then_some(true),
                }),
                ..EnvVarSource::default()
            }),
        }
    }
}
