//! A bucket of S3, or of a store that speaks its protocol.

use modelcache_crds::model_cache::{Layout, S3Addressing, S3Source};

use super::{Access, ClaimLayout, SecretVariable, SourceKind, given, layout};
use crate::reconcile::validate::InvalidSpec;

/// Variables, which are the Secret's keys too, and whether the Secret may lack each.
const CREDENTIAL_VARIABLES: [(&str, bool); 3] = [
    ("AWS_ACCESS_KEY_ID", false),
    ("AWS_SECRET_ACCESS_KEY", false),
    ("AWS_SESSION_TOKEN", true),
];

impl SourceKind for S3Source {
    fn name(&self) -> String {
        self.address()
    }

    fn revision(&self) -> Option<&str> {
        None
    }

    fn address(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix.trim_matches('/'))
    }

    fn address_at(&self, _revision: &str) -> String {
        self.address()
    }

    fn options(&self) -> Vec<String> {
        given([
            ("s3-endpoint", self.endpoint.as_deref()),
            ("s3-region", self.region.as_deref()),
            ("s3-addressing", self.addressing.map(addressing)),
        ])
    }

    fn access(&self) -> Access {
        let secrets = self.credentials_secret_ref.iter();
        let variables = secrets.flat_map(|secret| {
            CREDENTIAL_VARIABLES.map(|(name, is_optional)| SecretVariable {
                name,
                secret: secret.name.clone(),
                key: name.to_owned(),
                is_optional,
            })
        });
        Access {
            variables: variables.collect(),
            service_account: self.service_account_name.clone(),
            claim: None,
        }
    }

    fn claim_layout(&self, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec> {
        layout::directory_only("source.s3", wanted)
    }
}

const fn addressing(addressing: S3Addressing) -> &'static str {
    match addressing {
        S3Addressing::Path => "path",
        S3Addressing::Virtual => "virtual",
    }
}
