//! What a pod needs to read a source.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use modelcache_crds::model_cache::SecretKeyReference;
use serde::Serialize;

/// The Secrets, service account and claim that a pod needs to read a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Environment variables that are filled from Secrets.
    pub variables: Vec<SecretVariable>,
    /// Service account of the pod.
    pub service_account: Option<String>,
    /// Claim that the pod mounts read-only.
    pub claim: Option<String>,
}

/// An environment variable that is filled from a key of a Secret.
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
    /// One required key of a Secret, where one is named.
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
    /// The kubelet reads the Secret, reports a missing one on the pod, and starts the pod once it exists.
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
