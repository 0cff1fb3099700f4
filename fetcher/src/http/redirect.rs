//! Where to ask next when an address redirects, and what to send there.

use modelcache_crds::report::FailureClass;
use reqwest::header::{HeaderMap, LOCATION};
use url::Url;

use super::redact::SecretUrl;
use crate::model::error::SourceError;

/// More hops than any hub needs; a loop ends here.
pub(crate) const MAX_HOPS: usize = 10;

/// The next address and the headers to send there. Headers were meant for the host they came with: none of them
/// goes to another one, since any could be a credential. Encrypted addresses are not left for open ones.
pub(crate) fn follow(from: &Url, answer: &HeaderMap, sent: HeaderMap) -> Result<(Url, HeaderMap), SourceError> {
    let refuse = |what: &str| Err(SourceError::new(FailureClass::SourceError, what));
    let Some(target) = answer.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return refuse("redirects without saying where to");
    };
    let Ok(next) = from.join(target) else {
        return refuse("redirects to what is no address");
    };
    let why = match (from.scheme(), next.scheme()) {
        ("https" | "http", "https") | ("http", "http") => None,
        (_, "http") => Some("is not encrypted"),
        _ => Some("is neither https nor http"),
    };
    if let Some(why) = why {
        return refuse(&format!("redirects to {}, which {why}; refused", SecretUrl::new(next)));
    }
    let headers = if next.origin() == from.origin() {
        sent
    } else {
        HeaderMap::new()
    };
    Ok((next, headers))
}

/// Follows an answer's redirect from an address; for the fuzz targets. It leads to a server, encrypted where it was
/// before, and what was sent goes to the same server only.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn follow_anything(from: &Url, answer: &HeaderMap) {
    use reqwest::header::{AUTHORIZATION, HeaderValue};

    let sent = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"))]);
    match follow(from, answer, sent) {
        Ok((next, headers)) => {
            assert!(next.scheme() == "https" || (from.scheme(), next.scheme()) == ("http", "http"));
            assert!(next.has_host());
            let same = (next.scheme(), next.host(), next.port_or_known_default())
                == (from.scheme(), from.host(), from.port_or_known_default());
            assert_eq!(!headers.is_empty(), same);
        }
        Err(error) => {
            let target = answer.get(LOCATION).and_then(|value| value.to_str().ok());
            let refused = target.and_then(|target| from.join(target).ok());
            if let Some(query) = refused.as_ref().and_then(Url::query) {
                // No path has a question mark that is not escaped.
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
        let answer = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(to))]);
        let sent = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer secret"))]);
        let followed = follow(&from, &answer, sent).ok();
        let told = followed
            .as_ref()
            .map(|(url, headers)| (url.as_str(), headers.contains_key(AUTHORIZATION)));
        assert_eq!(told, expected);
    }

    #[test]
    fn a_redirect_to_nowhere_is_refused() {
        let from = "https://hub/a".parse().unwrap();
        assert!(follow(&from, &HeaderMap::new(), HeaderMap::new()).is_err());
    }
}
