//! What to make of a server's answer to a request for a byte range: status and headers in, a decision out.
//!
//! A server may ignore the range, answer another one, answer an error page with status 200, or say `200` and
//! still send the range. Nothing is accepted here that could put a byte in a wrong place; what is sent in the
//! right place and is wrong all the same is found by the digest.

use std::ops::Range;

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName};

use super::client::proxy_refuses;
use super::retry::retry_after;
use crate::model::error::SourceError;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Bytes, never empty.
    pub range: Range<u64>,
    /// Bytes of the whole file.
    pub size: u64,
    /// Whether the file is read in one stream, because its server ignores ranges.
    pub sequential: bool,
    /// Whether credentials were sent along, so that a refusal is about them.
    pub credentials: bool,
}

/// What to do with an answer.
#[derive(Debug)]
pub enum Decision {
    /// Read the body: throw `skip` bytes away, then `length` bytes are the first ones asked for.
    Accept {
        /// Bytes before the range asked for.
        skip: u64,
        /// Bytes of the range, at most as many as asked for.
        length: u64,
    },
    /// The server ignores ranges: fetch the file in one stream.
    Whole,
    /// Ask where `Location` says.
    Redirect,
    /// This address does not serve the file (any more): locate it anew.
    Relocate(SourceError),
    /// Ask again.
    Retry(SourceError),
}

/// Decides about an answer.
#[must_use]
pub fn decide(status: StatusCode, headers: &HeaderMap, asked: &Asked, now: Timestamp) -> Decision {
    match status.as_u16() {
        200 | 206 => body(status, headers, asked),
        301 | 302 | 303 | 307 | 308 => Decision::Redirect,
        429 => Decision::Retry(
            SourceError::new(FailureClass::RateLimited, "asks for fewer requests (429)")
                .with_retry_after(retry_after(headers, now)),
        ),
        407 => Decision::Retry(proxy_refuses()),
        408 | 500..=599 => {
            Decision::Retry(against_protocol(format!("answered {status}")).with_retry_after(retry_after(headers, now)))
        }
        401 if asked.credentials => Decision::Relocate(SourceError::new(
            FailureClass::AuthenticationFailed,
            "refused the token (401): give a valid one",
        )),
        403 if asked.credentials => Decision::Relocate(SourceError::new(
            FailureClass::AccessDenied,
            "refused access (403): ask for access to the model, or give a token that has it",
        )),
        416 => Decision::Relocate(against_protocol(format!(
            "has no bytes {}-{} ({status}, {}), though the file is listed with {} bytes",
            asked.range.start,
            asked.range.end - 1,
            text(headers, &CONTENT_RANGE).unwrap_or("no Content-Range"),
            asked.size,
        ))),
        412 => Decision::Relocate(SourceError::new(
            FailureClass::SourceChanged,
            "holds another version of the file than was listed (412): plan it anew",
        )),
        // Signed addresses answer 400, 401, 403, 404 or 410 when they have expired, by vendor.
        400..=499 => Decision::Relocate(against_protocol(format!("answered {status}"))),
        _ => Decision::Retry(against_protocol(format!(
            "answered {status}, which no range request allows for"
        ))),
    }
}

fn body(status: StatusCode, headers: &HeaderMap, asked: &Asked) -> Decision {
    if let Some(encoding) = text(headers, &CONTENT_ENCODING)
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return retry(format!(
            "sent {encoding} encoded bytes, though plain ones were asked for"
        ));
    }
    let length = match text(headers, &CONTENT_LENGTH).map(str::parse::<u64>) {
        None => None,
        Some(Ok(length)) => Some(length),
        Some(Err(_)) => return retry("sent a Content-Length that is no number".to_owned()),
    };
    // Whether a range is sent is decided by Content-Range: ModelScope sends one with status 200.
    match headers.get(CONTENT_RANGE) {
        Some(value) => match value.to_str().ok().and_then(ContentRange::parse) {
            Some(range) => ranged(&range, length, asked),
            None => retry("sent a Content-Range that cannot be read".to_owned()),
        },
        None if status == StatusCode::PARTIAL_CONTENT => retry("sent a part (206) without saying which".to_owned()),
        None => whole(headers, length, asked),
    }
}

fn ranged(sent: &ContentRange, length: Option<u64>, asked: &Asked) -> Decision {
    if let Some(total) = sent.total
        && total != asked.size
    {
        return Decision::Relocate(against_protocol(format!(
            "serves a file of {total} bytes, though it is listed with {}",
            asked.size
        )));
    }
    let range = &sent.range;
    if range.start != asked.range.start || range.end > asked.range.end {
        return retry(format!(
            "sent bytes {}-{}, though {}-{} were asked for",
            range.start,
            range.end - 1,
            asked.range.start,
            asked.range.end - 1
        ));
    }
    let sends = range.end - range.start;
    match length {
        Some(length) if length != sends => retry(format!("announced {length} bytes for a range of {sends}")),
        // A server may answer only the beginning of a range; the rest is asked for next.
        _ => Decision::Accept { skip: 0, length: sends },
    }
}

fn whole(headers: &HeaderMap, length: Option<u64>, asked: &Asked) -> Decision {
    let html = text(headers, &CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
    match length {
        Some(length) if length != asked.size => {
            let what = if html { "an HTML page" } else { "a body" };
            return retry(format!(
                "sent {what} of {length} bytes, though the file is listed with {}; it may be an error page",
                asked.size
            ));
        }
        None if html => return retry("sent an HTML page of unknown length; it may be an error page".to_owned()),
        _ => {}
    }
    if asked.sequential || asked.range == (0..asked.size) {
        Decision::Accept {
            skip: asked.range.start,
            length: asked.range.end - asked.range.start,
        }
    } else {
        Decision::Whole
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn retry(message: String) -> Decision {
    Decision::Retry(against_protocol(message))
}

fn against_protocol(message: String) -> SourceError {
    SourceError::new(FailureClass::SourceError, message)
}

/// `bytes 0-99/1234`, with `*` for an unknown total.
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

    fn answer(status: u16, headers: &[(&str, &str)], asked: &Asked) -> Decision {
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
            asked,
            NOW.parse().unwrap(),
        )
    }

    /// Bytes 100 to 199 of 1000.
    fn middle() -> Asked {
        Asked {
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
    fn a_whole_body_is_taken_when_the_whole_file_was_asked_for() {
        let asked = Asked {
            range: 0..1000,
            ..middle()
        };
        assert_eq!(
            short(&answer(200, &[("content-length", "1000")], &asked)),
            "accept 1000 after 0"
        );
        assert_eq!(short(&answer(200, &[], &asked)), "accept 1000 after 0");
        let html = [("content-length", "1000"), ("content-type", "text/html")];
        assert_eq!(short(&answer(200, &html, &asked)), "accept 1000 after 0");
    }

    #[test]
    fn a_stream_taken_up_again_skips_what_is_there() {
        let asked = Asked {
            range: 400..1000,
            sequential: true,
            ..middle()
        };
        assert_eq!(
            short(&answer(200, &[("content-length", "1000")], &asked)),
            "accept 600 after 400"
        );
    }

    #[test]
    fn a_refusal_is_about_the_token_only_where_one_was_sent() {
        let asked = Asked {
            credentials: true,
            ..middle()
        };
        assert_eq!(short(&answer(401, &[], &asked)), "relocate AuthenticationFailed");
        assert_eq!(short(&answer(403, &[], &asked)), "relocate AccessDenied");
    }

    #[test]
    fn a_date_that_has_passed_asks_for_no_pause() {
        let Decision::Retry(error) = answer(429, &[("retry-after", "Mon, 01 Jan 2024 00:00:00 GMT")], &middle()) else {
            panic!("not retried");
        };
        assert_eq!(error.retry_after, Some(Duration::ZERO));
    }
}
