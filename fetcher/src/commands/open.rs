//! Which source an address means, made ready with its endpoint and credentials.

use std::sync::Arc;

use crate::args::SourceArgs;
use crate::error::SourceError;
use crate::http;
use crate::source::hugging_face::{HuggingFace, find_token};
use crate::source::plain_http::PlainHttp;
use crate::source::{API_RETRY, Source, SourceAddress};

/// A source, ready to be asked.
pub(super) struct Opened {
    pub(super) source: Arc<dyn Source>,
    /// What is told of where the bytes come from; the revision is not part of it.
    pub(super) origin: String,
}

pub(super) fn open(args: &SourceArgs) -> Result<Opened, SourceError> {
    let client = http::api_client()?;
    match &args.source {
        SourceAddress::HuggingFace(address) => {
            let variable = |name: &str| std::env::var(name).ok();
            let token = find_token(args.token_file.as_deref(), &args.endpoint, &variable)?;
            let origin = format!("{}/{}", args.endpoint, address.repo);
            let source = HuggingFace::new(
                args.endpoint.clone(),
                address.clone(),
                token.as_ref(),
                client,
                API_RETRY,
            )?;
            Ok(Opened {
                source: Arc::new(source),
                origin,
            })
        }
        SourceAddress::PlainHttp(address) => Ok(Opened {
            origin: address.to_string(),
            source: Arc::new(PlainHttp::new(address.clone(), client, API_RETRY)),
        }),
    }
}
