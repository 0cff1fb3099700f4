//! Which source an address means, made ready with its endpoint and credentials.

use std::sync::Arc;

use modelcache_crds::report::FailureClass;
use reqwest::Client;
use secrecy::SecretString;

use crate::command_line::args::{AccessArgs, S3Addressing, S3Args};
use crate::http::client;
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::hugging_face::{Endpoint, HuggingFace, ModelAddress, find_modelscope_token, find_token};
use crate::source::local::Local;
use crate::source::model_scope::{ModelScope, ModelScopeAddress};
use crate::source::oci::Oci;
use crate::source::ollama::Ollama;
use crate::source::plain_http::PlainHttp;
use crate::source::s3::{KeySource, S3, S3Endpoint};
use crate::source::{API_RETRY, RegistryCredentials, Source, SourceAddress};

/// A source, ready to be asked.
pub(crate) struct Opened {
    pub(crate) source: Arc<dyn Source>,
    /// What is told of where the bytes come from; the revision is not part of it.
    pub(crate) origin: String,
}

/// The source that an address means; one that has to read its files to list them moves `progress` meanwhile.
pub(crate) fn open(source: &SourceAddress, args: &AccessArgs, progress: &Progress) -> Result<Opened, SourceError> {
    let variable = |name: &str| std::env::var(name).ok();
    let client = http::api_client(&args.trust()?)?;
    match source {
        SourceAddress::HuggingFace(address) => {
            let token = find_token(args.token_file.as_deref(), &args.endpoint, &variable)?;
            open_hub(&args.endpoint, address.clone(), token.as_ref(), client)
        }
        SourceAddress::ModelScope(address) => {
            let token = find_modelscope_token(args.token_file.as_deref(), &variable)?;
            open_model_scope(&args.modelscope_endpoint, address.clone(), token.as_ref(), client)
        }
        SourceAddress::Oci(address) => {
            let credentials = RegistryCredentials::find(&variable)?;
            Ok(Opened {
                origin: address.to_string(),
                source: Arc::new(Oci::new(address.clone(), credentials, client, API_RETRY)),
            })
        }
        SourceAddress::Ollama(address) => {
            let credentials = RegistryCredentials::find(&variable)?;
            Ok(Opened {
                origin: address.to_string(),
                source: Arc::new(Ollama::new(address.clone(), credentials, client, API_RETRY)),
            })
        }
        SourceAddress::S3(address) => {
            let endpoint = s3_endpoint(&args.s3, &variable)?;
            let keys = KeySource::find(&endpoint.region, &variable)?;
            let source = S3::new(address.clone(), endpoint, keys, client, API_RETRY)?;
            Ok(Opened {
                origin: address.to_string(),
                source: Arc::new(source),
            })
        }
        SourceAddress::PlainHttp(address) => Ok(Opened {
            origin: address.to_string(),
            source: Arc::new(PlainHttp::new(address.clone(), client, API_RETRY)),
        }),
        SourceAddress::Local(address) => Ok(Opened {
            origin: address.to_string(),
            source: Arc::new(Local::new(address.clone(), progress.clone())),
        }),
    }
}

/// As AWS's own tools find it, where it is not given.
fn s3_endpoint(args: &S3Args, variable: &dyn Fn(&str) -> Option<String>) -> Result<S3Endpoint, SourceError> {
    let url = args.s3_endpoint.clone().or_else(|| variable("AWS_ENDPOINT_URL"));
    let url = url.filter(|url| !url.is_empty()).map(|url| url.parse()).transpose();
    let url =
        url.map_err(|error| SourceError::new(FailureClass::Usage, format!("the endpoint of S3 is no URL: {error}")))?;
    let region = args.s3_region.clone().or_else(|| variable("AWS_DEFAULT_REGION"));
    let virtual_hosted = match args.s3_addressing {
        S3Addressing::Auto => url.is_none(),
        S3Addressing::Path => false,
        S3Addressing::Virtual => true,
    };
    Ok(S3Endpoint {
        url,
        region: region
            .filter(|region| !region.is_empty())
            .unwrap_or_else(|| "us-east-1".to_owned()),
        virtual_hosted,
    })
}

/// A model of a hub, with the token that was given for this hub.
pub(crate) fn open_hub(
    endpoint: &Endpoint,
    address: ModelAddress,
    token: Option<&SecretString>,
    client: Client,
) -> Result<Opened, SourceError> {
    let origin = format!("{endpoint}/{}", address.repo);
    let source = HuggingFace::new(endpoint.clone(), address, token, client, API_RETRY)?;
    Ok(Opened {
        source: Arc::new(source),
        origin,
    })
}

/// A model of ModelScope, or of a server that speaks its protocol, with the token that was given for it.
pub(crate) fn open_model_scope(
    endpoint: &Endpoint,
    address: ModelScopeAddress,
    token: Option<&SecretString>,
    client: Client,
) -> Result<Opened, SourceError> {
    let origin = format!("{endpoint}/models/{}", address.repo);
    let source = ModelScope::new(endpoint.clone(), address, token, client, API_RETRY)?;
    Ok(Opened {
        source: Arc::new(source),
        origin,
    })
}
