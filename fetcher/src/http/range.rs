//! Decides about the response to a range request, from its status and headers.
//!
//! A server may ignore the range, send another one, send an error page with status 200, or send the range with status
//! 200. A response is accepted only if the offset of every byte is certain. The digest finds bytes that are wrong anyway.

use std::ops::Range;

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName};

use super::client::proxy_auth_required;
use super::retry::retry_after;
use crate::model::error::SourceError;

/// The range that was requested, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// The byte range; never empty.
    pub range: Range<u64>,
    /// Size of the whole file in bytes.
    pub size: u64,
    /// Whether the file is read in one stream, because its server ignores ranges.
    pub sequential: bool,
    /// Whether credentials were sent, so that 401 and 403 are about them.
    pub credentials: bool,
}

/// What to do with a response.
#[derive(Debug)]
pub enum Decision {
    /// Read the body: discard `skip` bytes, then take `length` bytes from the start of the range.
    Accept {
        /// Bytes of the body before the requested range.
        skip: u64,
        /// Bytes of the requested range in the body; may be fewer than requested.
        length: u64,
    },
    /// The server ignores ranges: fetch the file in one stream.
    Whole,
    /// Request the URL in `Location`.
    Redirect,
    /// This URL does not serve the file, or no longer: locate the file again.
    Relocate(SourceError),
    /// Send the same request again.
    Retry(SourceError),
}

/// Decides what to do with a response.
#[must_use]
pub fn decide(status: StatusCode, headers: &HeaderMap, requested: &Requested, now: Timestamp) -> Decision {
    match status.as_u16() {
        200 | 206 => body(status, headers, requested),
        301 | 302 | 303 | 307 | 308 => Decision::Redirect,
        429 => Decision::Retry(
            SourceError::new(FailureClass::RateLimited, "limits the request rate (429)")
                .with_retry_after(retry_after(headers, now)),
        ),
        407 => Decision::Retry(proxy_auth_required()),
        408 | 500..=599 => {
            Decision::Retry(source_error(format!("returned {status}")).with_retry_after(retry_after(headers, now)))
        }
        401 if requested.credentials => Decision::Relocate(SourceError::new(
            FailureClass::AuthenticationFailed,
            "rejected the token (401): give a valid one",
        )),
        403 if requested.credentials => Decision::Relocate(SourceError::new(
            FailureClass::AccessDenied,
            "denied access (403): request access to the model, or give a token that has it",
        )),
        416 => Decision::Relocate(source_error(format!(
            "has no bytes {}-{} ({status}, {}), though the file is listed with {} bytes",
            requested.range.start,
            requested.range.end - 1,
            text(headers, &CONTENT_RANGE).unwrap_or("no Content-Range"),
            requested.size,
        ))),
        412 => Decision::Relocate(SourceError::new(
            FailureClass::SourceChanged,
            "serves another version of the file than the listed one (412): plan it again",
        )),
        // Expired signed URLs return 400, 401, 403, 404 or 410, depending on the vendor.
        400..=499 => Decision::Relocate(source_error(format!("returned {status}"))),
        _ => Decision::Retry(source_error(format!(
            "returned {status}, which is not valid for a range request"
        ))),
    }
}

fn body(status: StatusCode, headers: &HeaderMap, requested: &Requested) -> Decision {
    if let Some(encoding) = text(headers, &CONTENT_ENCODING)
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return retry(format!(
            "sent {encoding}-encoded bytes, though identity encoding was requested"
        ));
    }
    let length = match text(headers, &CONTENT_LENGTH).map(str::parse::<u64>) {
        None => None,
        Some(Ok(length)) => Some(length),
        Some(Err(_)) => return retry("sent a Content-Length that is not a number".to_owned()),
    };
    // Content-Range decides, not the status: ModelScope sends ranges with status 200.
    match headers.get(CONTENT_RANGE) {
        Some(value) => match value.to_str().ok().and_then(ContentRange::parse) {
            Some(range) => ranged(&range, length, requested),
            None => retry("sent a Content-Range that cannot be parsed".to_owned()),
        },
        None if status == StatusCode::PARTIAL_CONTENT => {
            retry("sent a partial response (206) without Content-Range".to_owned())
        }
        None => whole(headers, length, requested),
    }
}

fn ranged(sent: &ContentRange, length: Option<u64>, requested: &Requested) -> Decision {
    if let Some(total) = sent.total
        && total != requested.size
    {
        return Decision::Relocate(source_error(format!(
            "serves a file of {total} bytes, though it is listed with {}",
            requested.size
        )));
    }
    let range = &sent.range;
    if range.start != requested.range.start || range.end > requested.range.end {
        return retry(format!(
            "sent bytes {}-{}, though {}-{} were requested",
            range.start,
            range.end - 1,
            requested.range.start,
            requested.range.end - 1
        ));
    }
    let sent_bytes = range.end - range.start;
    match length {
        Some(length) if length != sent_bytes => retry(format!(
            "sent Content-Length {length} for a range of {sent_bytes} bytes"
        )),
        // A server may send only the start of a range; the rest is requested next.
        _ => Decision::Accept {
            skip: 0,
            length: sent_bytes,
        },
    }
}

fn whole(headers: &HeaderMap, length: Option<u64>, requested: &Requested) -> Decision {
    let html = text(headers, &CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
    match length {
        Some(length) if length != requested.size => {
            let what = if html { "an HTML page" } else { "a body" };
            return retry(format!(
                "sent {what} of {length} bytes, though the file is listed with {}; it may be an error page",
                requested.size
            ));
        }
        None if html => return retry("sent an HTML page of unknown length; it may be an error page".to_owned()),
        _ => {}
    }
    if requested.sequential || requested.range == (0..requested.size) {
        Decision::Accept {
            skip: requested.range.start,
            length: requested.range.end - requested.range.start,
        }
    } else {
        Decision::Whole
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn retry(message: String) -> Decision {
    Decision::Retry(source_error(message))
}

fn source_error(message: String) -> SourceError {
    SourceError::new(FailureClass::SourceError, message)
}

/// A parsed `Content-Range`: `bytes 0-99/1234`, with `*` for an unknown total.
struct ContentRange {
    range: Range<u64>,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.trim().split_once('-')?;
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let total = match total.trim() {
            "*" => None,
            total => Some(total.parse().ok()?),
        };
        let fits = first <= last && total.is_none_or(|total| last < total);
        fits.then(|| Self {
            range: first..last.saturating_add(1),
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::HeaderValue;
    use rstest::rstest;

    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn answer(status: u16, headers: &[(&str, &str)], requested: &Requested) -> Decision {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        decide(
            StatusCode::from_u16(status).unwrap(),
            &headers,
            requested,
            NOW.parse().unwrap(),
        )
    }

    /// Bytes 100 to 199 of 1000.
    fn middle() -> Requested {
        Requested {
            range: 100..200,
            size: 1000,
            sequential: false,
            credentials: false,
        }
    }

    fn short(decision: &Decision) -> String {
        match decision {
            Decision::Accept { skip, length } => format!("accept {length} after {skip}"),
            Decision::Whole => "whole".to_owned(),
            Decision::Redirect => "redirect".to_owned(),
            Decision::Relocate(error) => format!("relocate {}", error.class),
            Decision::Retry(error) => match error.retry_after {
                Some(pause) => format!("retry {} after {} s", error.class, pause.as_secs()),
                None => format!("retry {}", error.class),
            },
        }
    }

    #[rstest]
    #[case::right(206, &[("content-range", "bytes 100-199/1000"), ("content-length", "100")], "accept 100 after 0")]
    #[case::unknown_total(206, &[("content-range", "bytes 100-199/*")], "accept 100 after 0")]
    #[case::chunked(206, &[("content-range", "bytes 100-199/1000")], "accept 100 after 0")]
    #[case::range_with_200(200, &[("content-range", "bytes 100-199/1000"), ("content-length", "100")], "accept 100 after 0")]
    #[case::only_a_beginning(206, &[("content-range", "bytes 100-149/1000"), ("content-length", "50")], "accept 50 after 0")]
    #[case::identity(206, &[("content-range", "bytes 100-199/1000"), ("content-encoding", "identity")], "accept 100 after 0")]
    #[case::shifted(206, &[("content-range", "bytes 101-200/1000"), ("content-length", "100")], "retry SourceError")]
    #[case::earlier(206, &[("content-range", "bytes 99-198/1000")], "retry SourceError")]
    #[case::more_than_asked(206, &[("content-range", "bytes 100-299/1000")], "retry SourceError")]
    #[case::shifted_with_200(200, &[("content-range", "bytes 0-99/1000")], "retry SourceError")]
    #[case::other_total(206, &[("content-range", "bytes 100-199/1001")], "relocate SourceError")]
    #[case::no_content_range(206, &[("content-length", "100")], "retry SourceError")]
    #[case::unreadable(206, &[("content-range", "items 100-199/1000")], "retry SourceError")]
    #[case::backwards(206, &[("content-range", "bytes 199-100/1000")], "retry SourceError")]
    #[case::overflowing(206, &[("content-range", "bytes 0-18446744073709551615/*")], "retry SourceError")]
    #[case::length_differs(206, &[("content-range", "bytes 100-199/1000"), ("content-length", "99")], "retry SourceError")]
    #[case::multipart(206, &[("content-type", "multipart/byteranges; boundary=x")], "retry SourceError")]
    #[case::gzip(206, &[("content-range", "bytes 100-199/1000"), ("content-encoding", "gzip")], "retry SourceError")]
    #[case::range_ignored(200, &[("content-length", "1000")], "whole")]
    #[case::range_ignored_chunked(200, &[], "whole")]
    #[case::error_page(200, &[("content-type", "text/html; charset=utf-8"), ("content-length", "512")], "retry SourceError")]
    #[case::error_page_chunked(200, &[("content-type", "text/html")], "retry SourceError")]
    #[case::other_length(200, &[("content-length", "999")], "retry SourceError")]
    #[case::gzip_whole(200, &[("content-encoding", "gzip")], "retry SourceError")]
    #[case::no_content(204, &[], "retry SourceError")]
    #[case::moved(302, &[("location", "/elsewhere")], "redirect")]
    #[case::permanently(308, &[("location", "/elsewhere")], "redirect")]
    #[case::not_modified(304, &[], "retry SourceError")]
    #[case::bad_request(400, &[], "relocate SourceError")]
    #[case::unauthorized(401, &[], "relocate SourceError")]
    #[case::expired(403, &[], "relocate SourceError")]
    #[case::not_found(404, &[], "relocate SourceError")]
    #[case::gone(410, &[], "relocate SourceError")]
    #[case::beyond_the_end(416, &[("content-range", "bytes */90")], "relocate SourceError")]
    #[case::too_many(429, &[], "retry RateLimited")]
    #[case::too_many_seconds(429, &[("retry-after", "7")], "retry RateLimited after 7 s")]
    #[case::too_many_date(429, &[("retry-after", "Thu, 01 Jan 2026 00:00:09 GMT")], "retry RateLimited after 9 s")]
    #[case::too_many_window(429, &[("ratelimit", "\"resolvers\";r=0;t=55"), ("retry-after", "1")], "retry RateLimited after 56 s")]
    #[case::proxy(407, &[("proxy-authenticate", "Basic")], "retry SourceUnreachable")]
    #[case::timeout(408, &[], "retry SourceError")]
    #[case::server_error(500, &[], "retry SourceError")]
    #[case::unavailable(503, &[("retry-after", "3")], "retry SourceError after 3 s")]
    fn an_answer_to_a_range_in_the_middle(
        #[case] status: u16,
        #[case] headers: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        assert_eq!(short(&answer(status, headers, &middle())), expected);
    }

    #[test]
    fn a_whole_body_is_accepted_when_the_whole_file_was_requested() {
        let requested = Requested {
            range: 0..1000,
            ..middle()
        };
        assert_eq!(
            short(&answer(200, &[("content-length", "1000")], &requested)),
            "accept 1000 after 0"
        );
        assert_eq!(short(&answer(200, &[], &requested)), "accept 1000 after 0");
        let html = [("content-length", "1000"), ("content-type", "text/html")];
        assert_eq!(short(&answer(200, &html, &requested)), "accept 1000 after 0");
    }

    #[test]
    fn a_resumed_stream_skips_the_bytes_on_disk() {
        let requested = Requested {
            range: 400..1000,
            sequential: true,
            ..middle()
        };
        assert_eq!(
            short(&answer(200, &[("content-length", "1000")], &requested)),
            "accept 600 after 400"
        );
    }

    #[test]
    fn a_refusal_is_about_the_token_only_where_one_was_sent() {
        let requested = Requested {
            credentials: true,
            ..middle()
        };
        assert_eq!(short(&answer(401, &[], &requested)), "relocate AuthenticationFailed");
        assert_eq!(short(&answer(403, &[], &requested)), "relocate AccessDenied");
    }

    #[test]
    fn a_date_that_has_passed_asks_for_no_pause() {
        let Decision::Retry(error) = answer(429, &[("retry-after", "Mon, 01 Jan 2024 00:00:00 GMT")], &middle()) else {
            panic!("not retried");
        };
        assert_eq!(error.retry_after, Some(Duration::ZERO));
    }
}
