//! The expiry time in a signed URL. Pure.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use url::Url;

/// When a signed URL expires; `None` if it has no known expiry parameter.
///
/// Reads `X-Amz-Date` with `X-Amz-Expires`, the same of `X-Goog`, or `CloudFront`'s `Expires`.
pub(crate) fn expiry(url: &Url) -> Option<Timestamp> {
    let parameter = |name: &str| {
        let found = url.query_pairs().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.into_owned())
    };
    for vendor in ["X-Amz", "X-Goog"] {
        let signed = parameter(&format!("{vendor}-Date")).zip(parameter(&format!("{vendor}-Expires")));
        if let Some((date, seconds)) = signed {
            let date = DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
            let start = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
            return start.checked_add(SignedDuration::from_secs(seconds.parse().ok()?)).ok();
        }
    }
    Timestamp::from_second(parameter("Expires")?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "https://c/x?X-Amz-Date=20260409T120000Z&X-Amz-Expires=3600",
        Some("2026-04-09T13:00:00Z")
    )]
    #[case(
        "https://c/x?X-Goog-Date=20260409T120000Z&X-Goog-Expires=60",
        Some("2026-04-09T12:01:00Z")
    )]
    #[case("https://c/x?Expires=1781098782&Policy=p", Some("2026-06-10T13:39:42Z"))]
    #[case("https://c/x?X-Amz-Date=today&X-Amz-Expires=3600", None)]
    #[case("https://c/x?Expires=soon", None)]
    #[case("https://c/x", None)]
    fn an_expiry(#[case] url: Url, #[case] expected: Option<&str>) {
        assert_eq!(expiry(&url), expected.map(|time| time.parse().unwrap()));
    }
}
