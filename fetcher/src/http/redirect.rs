//! Follows redirects: the next URL, and the headers that it may see.

use modelcache_crds::report::FailureClass;
use reqwest::header::{HeaderMap, LOCATION};
use url::Url;

use super::redact::SecretUrl;
use crate::model::error::SourceError;

/// Redirects that one request follows. No hub needs more; a redirect loop ends here.
pub(crate) const MAX_REDIRECTS: usize = 10;

/// The next URL, and the headers to send to it.
///
/// Any header could be a credential for its host, so no header goes to another origin. A redirect from https to http is
/// an error.
pub(crate) fn follow(from: &Url, response: &HeaderMap, sent: HeaderMap) -> Result<(Url, HeaderMap), SourceError> {
    let refuse = |what: &str| Err(SourceError::new(FailureClass::SourceError, what));
    let Some(target) = response.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return refuse("redirects without a Location");
    };
    let Ok(next) = from.join(target) else {
        return refuse("redirects to an invalid URL");
    };
    let why = match (from.scheme(), next.scheme()) {
        ("https" | "http", "https") | ("http", "http") => None,
        (_, "http") => Some("is not encrypted"),
        _ => Some("is neither https nor http"),
    };
    if let Some(why) = why {
        return refuse(&format!(
            "redirects to {}, which {why}; not followed",
            SecretUrl::new(next)
        ));
    }
    let headers = if next.origin() == from.origin() {
        sent
    } else {
        HeaderMap::new()
    };
    Ok((next, headers))
}

/// Follows any redirect, for the fuzz targets.
///
/// Asserts that the target has a host, that https stays https, and that headers go to the same origin only.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn follow_anything(from: &Url, response: &HeaderMap) {
    use reqwest::header::{AUTHORIZATION, HeaderValue};

    let sent = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"))]);
    match follow(from, response, sent) {
        Ok((next, headers)) => {
            assert!(next.scheme() == "https" || (from.scheme(), next.scheme()) == ("http", "http"));
            assert!(next.has_host());
            let same = (next.scheme(), next.host(), next.port_or_known_default())
                == (from.scheme(), from.host(), from.port_or_known_default());
            assert_eq!(!headers.is_empty(), same);
        }
        Err(error) => {
            let target = response.get(LOCATION).and_then(|value| value.to_str().ok());
            let refused = target.and_then(|target| from.join(target).ok());
            if let Some(query) = refused.as_ref().and_then(Url::query) {
                // Paths escape question marks, so only a query could match.
                assert!(
                    query.is_empty() || !error.message.contains(&format!("?{query}")),
                    "{error}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{AUTHORIZATION, HeaderValue};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::relative("https://hub/a/b", "/c?sig=1", Some(("https://hub/c?sig=1", true)))]
    #[case::same_host("https://hub/a", "https://hub:443/c", Some(("https://hub/c", true)))]
    #[case::other_host("https://hub/a", "https://cdn/c", Some(("https://cdn/c", false)))]
    #[case::other_port("https://hub/a", "https://hub:8443/c", Some(("https://hub:8443/c", false)))]
    #[case::sub_domain("https://hub/a", "https://x.hub/c", Some(("https://x.hub/c", false)))]
    #[case::encrypted_now("http://hub/a", "https://hub/c", Some(("https://hub/c", false)))]
    #[case::scheme_relative("https://hub/a", "//cdn/c", Some(("https://cdn/c", false)))]
    #[case::no_longer_encrypted("https://hub/a", "http://hub/c", None)]
    #[case::a_file("https://hub/a", "file:///etc/passwd", None)]
    #[case::a_file_from_an_open_address("http://hub/a", "file:///etc/passwd", None)]
    #[case::another_protocol("http://hub/a", "ftp://hub/c", None)]
    #[case::no_address("https://hub/a", "https://", None)]
    fn a_redirect(#[case] from: Url, #[case] to: &'static str, #[case] expected: Option<(&str, bool)>) {
        let response = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(to))]);
        let sent = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer secret"))]);
        let followed = follow(&from, &response, sent).ok();
        let followed = followed
            .as_ref()
            .map(|(url, headers)| (url.as_str(), headers.contains_key(AUTHORIZATION)));
        assert_eq!(followed, expected);
    }

    #[test]
    fn a_redirect_to_nowhere_is_refused() {
        let from = "https://hub/a".parse().unwrap();
        assert!(follow(&from, &HeaderMap::new(), HeaderMap::new()).is_err());
    }
}
