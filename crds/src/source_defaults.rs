//! Defaults of a source: the one place that the CRD schema, the operator and the fetcher read.
//!
//! Revisions, tags and Secret keys are `default` values of the schema. Endpoints and the region are not, for the reason
//! given in [`crate::fetch_defaults`]: their field docs name the default, and a test compares the two.

/// Base URL of the Hugging Face Hub.
pub const DEFAULT_HUGGING_FACE_ENDPOINT: &str = "https://huggingface.co";
/// Branch of a Hugging Face repository.
pub const DEFAULT_HUGGING_FACE_REVISION: &str = "main";

/// Base URL of ModelScope.
pub const DEFAULT_MODEL_SCOPE_ENDPOINT: &str = "https://modelscope.cn";
/// Branch of a ModelScope repository.
pub const DEFAULT_MODEL_SCOPE_REVISION: &str = "master";

/// Tag of an OCI artifact or an Ollama model.
pub const DEFAULT_TAG: &str = "latest";

/// Region that S3 requests are signed for.
pub const DEFAULT_S3_REGION: &str = "us-east-1";

/// Key of a Secret that holds an access token.
pub const DEFAULT_TOKEN_KEY: &str = "token";
