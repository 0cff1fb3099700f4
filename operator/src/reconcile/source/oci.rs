//! An OCI registry.

use modelcache_crds::model_cache::{Layout, OciSource, SecretKeyReference};

use super::{Access, ClaimLayout, SourceKind, layout, registry_scheme};
use crate::reconcile::validate::InvalidSpec;

const SCHEME: &str = "oci";

const CREDENTIALS_VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// Key of a Secret of type `kubernetes.io/dockerconfigjson`.
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

impl SourceKind for OciSource {
    fn name(&self) -> String {
        format!("{SCHEME}://{}", self.repository)
    }

    fn revision(&self) -> Option<&str> {
        Some(&self.reference)
    }

    fn address(&self) -> String {
        let separator = if self.reference.contains(':') { '@' } else { ':' };
        let scheme = registry_scheme(SCHEME, self.plain_http);
        format!("{scheme}://{}{separator}{}", self.repository, self.reference)
    }

    fn address_at(&self, revision: &str) -> String {
        let scheme = registry_scheme(SCHEME, self.plain_http);
        format!("{scheme}://{}@{revision}", self.repository)
    }

    fn options(&self) -> Vec<String> {
        Vec::new()
    }

    fn access(&self) -> Access {
        let key = self.pull_secret_ref.as_ref().map(|secret| SecretKeyReference {
            name: secret.name.clone(),
            key: DOCKER_CONFIG_KEY.to_owned(),
        });
        Access::from_key(CREDENTIALS_VARIABLE, key.as_ref())
    }

    fn claim_layout(&self, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec> {
        layout::directory_only("source.oci", wanted)
    }
}
