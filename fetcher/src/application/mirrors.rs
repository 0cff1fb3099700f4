//! The origins of a fetch: the source, and the mirrors that list at least one of its files.

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

/// Time after which a mirror that has not listed its files is skipped.
const MIRROR_LISTING_TIMEOUT: Duration = Duration::from_secs(30);

/// The origins of a fetch.
pub(crate) struct Origins {
    /// The source, then the mirrors that list some of its files.
    pub(crate) usable: Vec<Origin>,
    /// Mirrors that failed to list, or list none of the files. They do not fail the fetch: the source has all files.
    pub(crate) skipped: Vec<OriginReport>,
}

/// Lists all mirrors in parallel and returns the origins of the selected files.
pub(crate) async fn origins(
    mirrors: &[MirrorAddress],
    request: &SourceRequest,
    selected: &Selected,
    stop: &CancellationToken,
) -> Result<Origins, FetchError> {
    let mut skipped = Vec::new();
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
                Some(Err(error)) => return Err(FetchError::Internal(format!("the listing of a mirror ended early: {error}"))),
            }
        }
    }
    listed.sort_by_key(|(place, ..)| *place);
    let wanted: HashSet<_> = selected.files.iter().map(|file| (file.digest, file.size)).collect();
    for (_, name, listing) in listed {
        match listing {
            Err(error) => {
                tracing::warn!(mirror = name, %error, "skipping mirror: listing failed");
                skipped.push(skipped_report(name, error.message));
            }
            Ok((source, Listing { revision, mut files })) => {
                files.retain(|file| wanted.contains(&(file.digest, file.size)));
                if files.is_empty() {
                    tracing::warn!(mirror = name, "skipping mirror: it lists none of the selected files");
                    let error = "lists none of the selected files by digest and size".to_owned();
                    skipped.push(skipped_report(name, error));
                    continue;
                }
                tracing::info!(
                    mirror = name,
                    files = files.len(),
                    selected = wanted.len(),
                    "using mirror"
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
        usable: origins,
        skipped,
    })
}

/// The report of a mirror that is not used.
fn skipped_report(name: String, error: String) -> OriginReport {
    OriginReport {
        name,
        bytes: 0,
        failures: 0,
        last_error: Some(error),
        dropped: Some(OriginFault::LeftOut),
    }
}

/// Opens a mirror of a source, at the revision that the source resolved.
pub(crate) fn open_mirror(
    access: &Access,
    source: Option<&SourceAddress>,
    mirror: &MirrorAddress,
    revision: &str,
) -> Result<Opened, SourceError> {
    match (mirror, source) {
        // The files of the mirror are not counted as progress.
        (MirrorAddress::Source(mirror), _) => mirror
            .kind()
            .open(&access_for_mirror(access, source, mirror), &Progress::default()),
        // No token: it is meant for the source's host only.
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
                "{endpoint} can only mirror a model of the hub, not {}; name a SHA256SUMS file there",
                source.map_or_else(|| "an unknown source".to_owned(), ToString::to_string)
            ),
        )),
    }
}

/// The access to a mirror. The token file is meant for the source, so only a mirror of the same kind gets it.
fn access_for_mirror(access: &Access, source: Option<&SourceAddress>, mirror: &SourceAddress) -> Access {
    let is_same_kind = source.is_some_and(|source| discriminant(source) == discriminant(mirror));
    Access {
        token_file: access.token_file.clone().filter(|_| is_same_kind),
        ..access.clone()
    }
}

async fn list(opened: Result<Opened, SourceError>) -> Result<(Arc<dyn Source>, Listing), SourceError> {
    let Opened { source, .. } = opened?;
    let listing = timeout(MIRROR_LISTING_TIMEOUT, source.list()).await.map_err(|_| {
        SourceError::new(
            FailureClass::SourceUnreachable,
            format!("did not list its files within {} s", MIRROR_LISTING_TIMEOUT.as_secs()),
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
        let kept = access_for_mirror(&access, Some(&source), &mirror.parse().unwrap());
        assert_eq!(kept.token_file.is_some(), is_kept);
    }
}
