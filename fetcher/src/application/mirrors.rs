//! The origins of a fetch: the source itself, and those mirrors that list at least one of its files with the same
//! digest and size.

use std::collections::HashSet;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use modelcache_crds::report::{FailureClass, OriginFault, OriginReport};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::selection::{Selected, SourceRequest};
use crate::model::error::{FetchError, SourceError};
use crate::observe::progress::Progress;
use crate::source::access::Access;
use crate::source::hugging_face::{self, ModelAddress};
use crate::source::kind::Opened;
use crate::source::{Listing, MirrorAddress, Source, SourceAddress};
use crate::transfer::Origin;

/// A mirror that takes longer to list its files is done without.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is asked, and who is not.
pub(crate) struct Origins {
    /// The source first.
    pub(crate) asked: Vec<Origin>,
    /// Mirrors that cannot be had, or hold other files: the source alone is enough.
    pub(crate) left_out: Vec<OriginReport>,
}

/// All origins of the selected files.
pub(crate) async fn origins(
    mirrors: &[MirrorAddress],
    request: &SourceRequest,
    selected: &Selected,
    stop: &CancellationToken,
) -> Result<Origins, FetchError> {
    let mut left_out = Vec::new();
    let mut origins = vec![Origin {
        name: selected.origin.clone(),
        source: Arc::clone(&selected.source),
        revision: selected.revision.clone(),
        files: selected.files.clone(),
    }];
    let mut listings = JoinSet::new();
    for (place, mirror) in mirrors.iter().enumerate() {
        let opened = open_mirror(&request.access, Some(&request.address), mirror, &selected.revision);
        let name = mirror.to_string();
        listings.spawn(async move { (place, name, list(opened).await) });
    }
    let mut listed = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Err(FetchError::Interrupted),
            next = listings.join_next() => match next {
                None => break,
                Some(Ok(listing)) => listed.push(listing),
                Some(Err(error)) => return Err(FetchError::Internal(format!("a listing ended early: {error}"))),
            }
        }
    }
    listed.sort_by_key(|(place, ..)| *place);
    let wanted: HashSet<_> = selected.files.iter().map(|file| (file.digest, file.size)).collect();
    for (_, name, listing) in listed {
        match listing {
            Err(error) => {
                tracing::warn!(mirror = name, %error, "a mirror cannot be had; it is done without");
                left_out.push(without(name, error.message));
            }
            Ok((source, Listing { revision, mut files })) => {
                files.retain(|file| wanted.contains(&(file.digest, file.size)));
                if files.is_empty() {
                    tracing::warn!(
                        mirror = name,
                        "a mirror lists none of the files with these digests; it is done without"
                    );
                    left_out.push(without(name, "lists none of the files with these digests".to_owned()));
                    continue;
                }
                tracing::info!(
                    mirror = name,
                    files = files.len(),
                    of = wanted.len(),
                    "a mirror holds the same files"
                );
                origins.push(Origin {
                    name,
                    source,
                    revision,
                    files,
                });
            }
        }
    }
    Ok(Origins {
        asked: origins,
        left_out,
    })
}

fn without(name: String, error: String) -> OriginReport {
    OriginReport {
        name,
        bytes: 0,
        failures: 0,
        last_error: Some(error),
        dropped: Some(OriginFault::LeftOut),
    }
}

/// A further place of what a source holds.
pub(crate) fn open_mirror(
    access: &Access,
    source: Option<&SourceAddress>,
    mirror: &MirrorAddress,
    revision: &str,
) -> Result<Opened, SourceError> {
    match (mirror, source) {
        // Only what is fetched is told of.
        (MirrorAddress::Source(mirror), _) => mirror
            .kind()
            .open(&as_mirror(access, source, mirror), &Progress::default()),
        // The token was given for the source's host, and is told to nobody else.
        (MirrorAddress::Hub(endpoint), Some(SourceAddress::HuggingFace(address))) => {
            let address = format!("{}@{revision}", address.repo);
            let address: ModelAddress = address
                .parse()
                .map_err(|error| SourceError::new(FailureClass::SourceError, format!("{address}: {error}")))?;
            hugging_face::open::open(endpoint, address, None, access.api_client()?)
        }
        (MirrorAddress::Hub(endpoint), source) => Err(SourceError::new(
            FailureClass::Usage,
            format!(
                "{endpoint} can mirror a model of the hub only, not {}; name a list of digests there",
                source.map_or_else(|| "an unknown one".to_owned(), ToString::to_string)
            ),
        )),
    }
}

/// How to get at a place beside the source. The token's file was given for the kind of place that the source is, and is
/// told to no other kind.
fn as_mirror(access: &Access, source: Option<&SourceAddress>, mirror: &SourceAddress) -> Access {
    let is_of_one_kind = source.is_some_and(|source| discriminant(source) == discriminant(mirror));
    Access {
        token_file: access.token_file.clone().filter(|_| is_of_one_kind),
        ..access.clone()
    }
}

async fn list(opened: Result<Opened, SourceError>) -> Result<(Arc<dyn Source>, Listing), SourceError> {
    let Opened { source, .. } = opened?;
    let listing = timeout(PATIENCE, source.list()).await.map_err(|_| {
        SourceError::new(
            FailureClass::SourceUnreachable,
            format!("listed nothing in {} s", PATIENCE.as_secs()),
        )
    })??;
    Ok((source, listing))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::source::access::S3Access;

    #[rstest]
    #[case::twin("hf://org/twin", true)]
    #[case::another_hub("modelscope://org/name", false)]
    fn a_token_file_is_for_the_kind_of_source_it_was_given_for(#[case] mirror: &str, #[case] is_kept: bool) {
        let access = Access {
            endpoint: "https://hub".parse().unwrap(),
            modelscope_endpoint: "https://ms".parse().unwrap(),
            s3: S3Access::default(),
            token_file: Some("/token".into()),
            ca_certificate: None,
        };
        let source = "hf://org/name".parse().unwrap();
        let kept = as_mirror(&access, Some(&source), &mirror.parse().unwrap());
        assert_eq!(kept.token_file.is_some(), is_kept);
    }
}
