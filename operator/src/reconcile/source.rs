//! The source of a model, as the fetcher's command line names it. One kind each; nothing else in the operator tells
//! them apart.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use modelcache_crds::model_cache::{
    ClaimSource, Files, HttpSource, HuggingFaceSource, ModelScopeSource, OciSource, OllamaSource, S3Addressing,
    S3Source, SecretKeyReference, Source,
};
use modelcache_crds::names;
use serde::Serialize;

/// Where the credentials are in a Secret for image pulls.
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

/// What the Secret of a bucket holds, and whether it may lack it.
const S3_KEYS: [(&str, bool); 3] = [
    ("AWS_ACCESS_KEY_ID", false),
    ("AWS_SECRET_ACCESS_KEY", false),
    ("AWS_SESSION_TOKEN", true),
];

/// A place that holds the model.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSource {
    /// The Hugging Face Hub.
    HuggingFace(HuggingFaceSource),
    /// ModelScope.
    ModelScope(ModelScopeSource),
    /// An OCI registry.
    Oci(OciSource),
    /// Ollama's registry.
    Ollama(OllamaSource),
    /// A bucket.
    S3(S3Source),
    /// An HTTP server.
    Http(HttpSource),
    /// A folder of another claim.
    Claim(ClaimSource),
}

/// A key of a Secret and the variable it is handed over in.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    variable: &'static str,
    secret: SecretKeyReference,
    is_optional: bool,
}

impl ModelSource {
    /// The member that is set; `None` where none is, or several.
    #[must_use]
    pub fn parse(source: &Source) -> Option<Self> {
        let Source {
            hugging_face,
            model_scope,
            oci,
            ollama,
            s3,
            http,
            persistent_volume_claim,
        } = source.clone();
        let set = [
            hugging_face.map(Self::HuggingFace),
            model_scope.map(Self::ModelScope),
            oci.map(Self::Oci),
            ollama.map(Self::Ollama),
            s3.map(Self::S3),
            http.map(Self::Http),
            persistent_volume_claim.map(Self::Claim),
        ];
        let mut set = set.into_iter().flatten();
        set.next().filter(|_| set.next().is_none())
    }

    /// The model, for people: without revision, and without a query, which may be a signature.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::HuggingFace(source) => source.repo.clone(),
            Self::ModelScope(source) => format!("modelscope://{}", source.repo),
            Self::Oci(source) => format!("oci://{}", source.repository),
            Self::Ollama(source) => format!("ollama://{}", source.model),
            Self::S3(source) => s3_address(source),
            Self::Http(source) => source.url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            Self::Claim(source) => format!("pvc://{}", folder(&source.claim_name, source)),
        }
    }

    /// The revision asked for, where there is one.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::HuggingFace(source) => Some(&source.revision),
            Self::ModelScope(source) => Some(&source.revision),
            Self::Oci(source) => Some(&source.reference),
            Self::Ollama(source) => Some(&source.tag),
            Self::S3(_) | Self::Http(_) | Self::Claim(_) => None,
        }
    }

    /// What the fetcher is to list.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::HuggingFace(source) => format!("hf://{}@{}", source.repo, source.revision),
            Self::ModelScope(source) => format!("modelscope://{}@{}", source.repo, source.revision),
            Self::Oci(source) => {
                let separator = if source.reference.contains(':') { '@' } else { ':' };
                let scheme = scheme("oci", source.plain_http);
                format!("{scheme}://{}{separator}{}", source.repository, source.reference)
            }
            Self::Ollama(source) => {
                let scheme = scheme("ollama", source.plain_http);
                format!("{scheme}://{}:{}", source.model, source.tag)
            }
            Self::S3(source) => s3_address(source),
            Self::Http(source) => source.url.clone(),
            Self::Claim(source) => format!("file://{}", folder(names::SOURCE_MOUNT_PATH, source)),
        }
    }

    /// What it is to fetch once that was resolved. Where a source cannot be asked for what it was resolved to, the
    /// digest that the fetch is told to expect holds it to that.
    #[must_use]
    pub fn address_at(&self, revision: &str) -> String {
        match self {
            Self::HuggingFace(source) => format!("hf://{}@{revision}", source.repo),
            Self::Oci(source) => format!(
                "{}://{}@{revision}",
                scheme("oci", source.plain_http),
                source.repository
            ),
            Self::Ollama(_) => format!("{}@{revision}", self.address()),
            Self::ModelScope(_) | Self::S3(_) | Self::Http(_) | Self::Claim(_) => self.address(),
        }
    }

    /// Options that say where to ask. `--option=value`, so that no value is taken for an option.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let given: Vec<(&str, Option<&str>)> = match self {
            Self::HuggingFace(source) => vec![("endpoint", source.endpoint.as_deref())],
            Self::ModelScope(source) => vec![("modelscope-endpoint", source.endpoint.as_deref())],
            Self::S3(source) => vec![
                ("s3-endpoint", source.endpoint.as_deref()),
                ("s3-region", source.region.as_deref()),
                ("s3-addressing", source.addressing.map(addressing)),
            ],
            Self::Oci(_) | Self::Ollama(_) | Self::Http(_) | Self::Claim(_) => Vec::new(),
        };
        let options = given.into_iter();
        options
            .filter_map(|(option, value)| Some(format!("--{option}={}", value?)))
            .collect()
    }

    /// Service account of the pods that ask it.
    #[must_use]
    pub fn service_account(&self) -> Option<&str> {
        match self {
            Self::S3(source) => source.service_account_name.as_deref(),
            _ => None,
        }
    }

    /// The claim that the pods that ask it mount.
    #[must_use]
    pub fn claim(&self) -> Option<&str> {
        match self {
            Self::Claim(source) => Some(&source.claim_name),
            _ => None,
        }
    }

    /// What to hand over of Secrets, if one is named.
    #[must_use]
    pub fn credentials(&self) -> Vec<Credentials> {
        let key = |name: &str, key: &str| SecretKeyReference {
            name: name.to_owned(),
            key: key.to_owned(),
        };
        let one = |variable, secret: Option<SecretKeyReference>| {
            let credentials = secret.map(|secret| Credentials {
                variable,
                secret,
                is_optional: false,
            });
            credentials.into_iter().collect()
        };
        match self {
            Self::HuggingFace(source) => one("HF_TOKEN", source.token_secret_ref.clone()),
            Self::ModelScope(source) => one("MODELSCOPE_API_TOKEN", source.token_secret_ref.clone()),
            Self::Oci(source) => {
                let secret = source.pull_secret_ref.as_ref();
                one(
                    "DOCKER_AUTH_CONFIG",
                    secret.map(|secret| key(&secret.name, DOCKER_CONFIG_KEY)),
                )
            }
            Self::S3(source) => {
                let secrets = source.credentials_secret_ref.iter();
                let keys = secrets.flat_map(|secret| S3_KEYS.map(|of| (secret, of)));
                keys.map(|(secret, (variable, is_optional))| Credentials {
                    variable,
                    secret: key(&secret.name, variable),
                    is_optional,
                })
                .collect()
            }
            Self::Ollama(_) | Self::Http(_) | Self::Claim(_) => Vec::new(),
        }
    }

    /// What a Job depends on besides the listing: the Secret and the account.
    #[must_use]
    pub fn access_inputs(&self) -> impl Serialize + use<> {
        // Of several keys the first stands for all: they are of one Secret.
        let secret = self
            .credentials()
            .into_iter()
            .next()
            .map(|credentials| credentials.secret);
        // Without an account it is what it was before there were any: what is cached stays so.
        match self.service_account() {
            None => Access::Secret(secret),
            Some(account) => Access::Both(secret, account.to_owned()),
        }
    }

    /// Hash of what the listing depends on; credentials are no part of it, as others list the same revision.
    #[must_use]
    pub fn hash(&self, files: &Files) -> String {
        match self {
            // As it was when there was this kind only: what is cached stays so.
            Self::HuggingFace(source) => names::inputs_hash(&(&source.repo, &source.revision, &source.endpoint, files)),
            _ => names::inputs_hash(&(self.address(), self.options(), files)),
        }
    }
}

/// AssumedStatuses as what it holds, without a name.
#[derive(Serialize)]
#[serde(untagged)]
enum Access {
    Secret(Option<SecretKeyReference>),
    Both(Option<SecretKeyReference>, String),
}

impl Credentials {
    /// The kubelet reads the Secret, reports a missing one on the pod, and starts the pod once it is there.
    #[must_use]
    pub fn variable(self) -> EnvVar {
        EnvVar {
            name: self.variable.to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: self.secret.name,
                    key: self.secret.key,
                    optional: self.is_optional.then_some(true),
                }),
                ..EnvVarSource::default()
            }),
        }
    }
}

fn s3_address(source: &S3Source) -> String {
    format!("s3://{}/{}", source.bucket, source.prefix.trim_matches('/'))
}

/// A folder of a claim, whatever the claim's root is called.
fn folder(root: &str, source: &ClaimSource) -> String {
    match &source.path {
        None => root.to_owned(),
        Some(path) => format!("{root}/{path}"),
    }
}

fn addressing(addressing: S3Addressing) -> &'static str {
    match addressing {
        S3Addressing::Path => "path",
        S3Addressing::Virtual => "virtual",
    }
}

fn scheme(scheme: &str, plain_http: bool) -> String {
    let insecure = if plain_http { "+http" } else { "" };
    format!("{scheme}{insecure}")
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

    fn parsed(source: Value) -> Option<ModelSource> {
        ModelSource::parse(&serde_json::from_value(source).unwrap())
    }

    #[rstest]
    #[case::hugging_face(
        json!({"huggingFace": {"repo": "org/a", "endpoint": "http://hub"}}),
        ["org/a", "hf://org/a@main", "hf://org/a@$D", "--endpoint=http://hub"],
    )]
    #[case::model_scope(
        json!({"modelScope": {"repo": "org/a", "endpoint": "http://hub"}}),
        ["modelscope://org/a", "modelscope://org/a@master", "modelscope://org/a@master", "--modelscope-endpoint=http://hub"],
    )]
    #[case::oci(
        json!({"oci": {"repository": "ghcr.io/org/a", "reference": "v1"}}),
        ["oci://ghcr.io/org/a", "oci://ghcr.io/org/a:v1", "oci://ghcr.io/org/a@$D", ""],
    )]
    #[case::oci_in_plain(
        json!({"oci": {"repository": "host:5000/a", "plainHttp": true}}),
        ["oci://host:5000/a", "oci+http://host:5000/a:latest", "oci+http://host:5000/a@$D", ""],
    )]
    #[case::oci_by_digest(
        json!({"oci": {"repository": "host/a", "reference": DIGEST}}),
        ["oci://host/a", "oci://host/a@$D", "oci://host/a@$D", ""],
    )]
    #[case::ollama(
        json!({"ollama": {"model": "llama3.2", "tag": "1b"}}),
        ["ollama://llama3.2", "ollama://llama3.2:1b", "ollama://llama3.2:1b@$D", ""],
    )]
    #[case::s3(
        json!({"s3": {"bucket": "models", "prefix": "/llama/", "endpoint": "http://store", "region": "eu", "addressing": "Path"}}),
        ["s3://models/llama", "s3://models/llama", "s3://models/llama",
            "--s3-endpoint=http://store --s3-region=eu --s3-addressing=path"],
    )]
    #[case::claim(
        json!({"persistentVolumeClaim": {"claimName": "weights", "path": "llama/v1"}}),
        ["pvc://weights/llama/v1", "file:///source/llama/v1", "file:///source/llama/v1", ""],
    )]
    #[case::root_of_a_claim(
        json!({"persistentVolumeClaim": {"claimName": "weights"}}),
        ["pvc://weights", "file:///source", "file:///source", ""],
    )]
    #[case::http(
        json!({"http": {"url": "https://host/a/SHA256SUMS?sig=1"}}),
        ["https://host/a/SHA256SUMS", "https://host/a/SHA256SUMS?sig=1", "https://host/a/SHA256SUMS?sig=1", ""],
    )]
    fn a_source_is_named_as_the_fetcher_takes_it(#[case] source: Value, #[case] expected: [&str; 4]) {
        let source = parsed(source).unwrap();
        let options = source.options().join(" ");
        assert_eq!(
            [source.name(), source.address(), source.address_at(DIGEST), options],
            expected.map(|text| text.replace("$D", DIGEST))
        );
    }

    #[test]
    fn a_pull_secret_is_handed_over_whole() {
        let source = parsed(json!({"oci": {"repository": "ghcr.io/org/a", "pullSecretRef": {"name": "pull"}}}));
        let variable = source.unwrap().credentials().remove(0).variable();
        let secret = variable.value_from.unwrap().secret_key_ref.unwrap();
        assert_eq!(
            (variable.name.as_str(), secret.name.as_str(), secret.key.as_str()),
            ("DOCKER_AUTH_CONFIG", "pull", ".dockerconfigjson")
        );
    }

    #[test]
    fn the_keys_of_a_bucket_are_handed_over_and_a_session_token_may_lack() {
        let source = parsed(json!({"s3": {
            "bucket": "models", "credentialsSecretRef": {"name": "keys"}, "serviceAccountName": "reader",
        }}));
        let source = source.unwrap();
        assert_eq!(source.service_account(), Some("reader"));
        let told = source.credentials().into_iter().map(|one| {
            let variable = one.variable();
            let secret = variable.value_from.unwrap().secret_key_ref.unwrap();
            format!("{} {} {} {:?}", variable.name, secret.name, secret.key, secret.optional)
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "AWS_ACCESS_KEY_ID keys AWS_ACCESS_KEY_ID None",
                "AWS_SECRET_ACCESS_KEY keys AWS_SECRET_ACCESS_KEY None",
                "AWS_SESSION_TOKEN keys AWS_SESSION_TOKEN Some(true)",
            ]
        );
    }

    #[test]
    fn none_and_several_are_no_source() {
        assert_eq!(parsed(json!({})), None);
        let two = json!({"ollama": {"model": "a"}, "http": {"url": "https://host/SHA256SUMS"}});
        assert_eq!(parsed(two), None);
    }
}
