//! Where a file's bytes are: located once and shared by all connections, and again when the location expires or no longer
//! serves the file.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;
use crate::source::{Location, Source};

/// A location that expires sooner than this is not used for another request.
const EXPIRY_MARGIN: Duration = Duration::from_mins(1);

/// A location and its number, by which it is discarded.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) location: Location,
    number: u64,
}

/// The current location of one file.
#[derive(Debug, Default)]
pub(crate) struct Locations(Mutex<(u64, Option<Arc<Located>>)>);

impl Locations {
    /// The current location. If there is none, one connection asks the source and the others wait for the result.
    pub(crate) async fn get(
        &self,
        source: &dyn Source,
        revision: &str,
        file: &RemoteFile,
        now: Timestamp,
    ) -> Result<Arc<Located>, SourceError> {
        let mut state = self.0.lock().await;
        if let (_, Some(located)) = &*state
            && !expires_soon(&located.location, now)
        {
            return Ok(Arc::clone(located));
        }
        let location = source.locate(revision, file).await?;
        let located = Arc::new(Located {
            location,
            number: state.0 + 1,
        });
        *state = (located.number, Some(Arc::clone(&located)));
        Ok(located)
    }

    /// Discards a location, unless it was already replaced.
    pub(crate) async fn discard(&self, located: &Located) {
        let mut state = self.0.lock().await;
        if state.0 == located.number {
            state.1 = None;
        }
    }
}

fn expires_soon(location: &Location, now: Timestamp) -> bool {
    location
        .expires()
        .is_some_and(|expires| expires.duration_since(now) <= signed(EXPIRY_MARGIN))
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::http::location::HttpLocation;
    use crate::http::redact::SecretUrl;
    use crate::model::digest::ContentDigest;
    use crate::model::path::FilePath;
    use crate::source::Listing;

    /// A source that counts calls of `locate`. Its locations expire at 300 seconds.
    #[derive(Default)]
    struct Counting(AtomicU64);

    #[async_trait]
    impl Source for Counting {
        async fn list(&self) -> Result<Listing, SourceError> {
            Ok(Listing {
                revision: String::new(),
                files: Vec::new(),
            })
        }

        async fn locate(&self, _revision: &str, _file: &RemoteFile) -> Result<Location, SourceError> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(Location::Http(HttpLocation {
                url: SecretUrl::new(format!("http://host/{count}").parse().unwrap()),
                headers: HeaderMap::new(),
                expires: Some(at(300)),
            }))
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn get(locations: &Locations, source: &Counting, now: i64) -> Arc<Located> {
        let file = RemoteFile {
            path: FilePath::parse("a").unwrap(),
            size: 1,
            digest: ContentDigest::Sha256([0; 32]),
        };
        locations.get(source, "abc", &file, at(now)).await.unwrap()
    }

    #[tokio::test]
    async fn connections_that_need_a_location_at_once_share_one() {
        let (locations, source) = (Locations::default(), Counting::default());
        let _ = tokio::join!(
            get(&locations, &source, 0),
            get(&locations, &source, 0),
            get(&locations, &source, 1)
        );
        assert_eq!(source.0.into_inner(), 1);
    }

    #[tokio::test]
    async fn an_address_is_not_used_in_the_last_minute_before_it_expires() {
        let (locations, source) = (Locations::default(), Counting::default());
        get(&locations, &source, 239).await;
        get(&locations, &source, 239).await;
        assert_eq!(source.0.load(Ordering::Relaxed), 1);
        get(&locations, &source, 240).await;
        assert_eq!(source.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_failed_location_is_replaced_once_however_many_connections_discard_it() {
        let (locations, source) = (Locations::default(), Counting::default());
        let first = get(&locations, &source, 0).await;
        locations.discard(&first).await;
        get(&locations, &source, 0).await;
        locations.discard(&first).await;
        get(&locations, &source, 0).await;
        assert_eq!(source.0.load(Ordering::Relaxed), 2);
    }
}
