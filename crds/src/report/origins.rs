//! What each origin of the files was good for, short enough for a termination message and a status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::truncate_at_char;

/// Origins told of at most.
pub const MAX_ORIGINS: usize = 8;

/// Bytes of JSON that the origins of a report may take: half of what Kubernetes keeps.
const MAX_BYTES: usize = super::MAX_REPORT_BYTES / 2;

/// Bytes of a name, or of an error, before all of them have to be shortened.
const MAX_TEXT: usize = 200;

/// What an origin of the files was good for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OriginReport {
    /// What it is called: its address, without credentials and signatures.
    pub name: String,
    /// Bytes that came from it.
    pub bytes: i64,
    /// Requests that failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i64,
    /// The last failure, or why it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Why it was not asked any more; left out when it was asked to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<OriginFault>,
}

/// Why an origin was not asked any more.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginFault {
    /// Other bytes than the digest promises.
    SentWrongBytes,
    /// One failure after the other.
    KeptFailing,
    /// It could not be listed in time, or lists none of the files: it was never asked for one.
    LeftOut,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &i64) -> bool {
    *count == 0
}

/// The origins worth telling of, with texts as long as there is room: the first, which is the source itself, then those
/// that were dropped, then those that brought most. Their order stays.
pub(super) fn fitting(origins: &[OriginReport]) -> Vec<OriginReport> {
    let mut places: Vec<usize> = (0..origins.len()).collect();
    places.sort_by_key(|place| {
        let origin = &origins[*place];
        let rank = match (place, origin.dropped) {
            (0, _) => 0,
            (_, Some(OriginFault::SentWrongBytes)) => 1,
            (_, Some(OriginFault::KeptFailing | OriginFault::LeftOut)) => 2,
            (_, None) => 3,
        };
        (rank, std::cmp::Reverse(origin.bytes))
    });
    places.truncate(MAX_ORIGINS);
    places.sort_unstable();
    let chosen: Vec<&OriginReport> = places.iter().map(|place| &origins[*place]).collect();
    // JSON escaping can make six bytes of one, so halve until it fits.
    let mut keep = MAX_TEXT;
    loop {
        let shortened: Vec<OriginReport> = chosen.iter().map(|origin| origin.shortened(keep)).collect();
        let bytes = serde_json::to_string(&shortened).unwrap_or_default().len();
        if bytes <= MAX_BYTES || keep == 0 {
            return shortened;
        }
        keep /= 2;
    }
}

impl OriginReport {
    fn shortened(&self, keep: usize) -> Self {
        let cut = |text: &str| {
            let kept = truncate_at_char(text, keep);
            if kept.len() < text.len() {
                format!("{kept}…")
            } else {
                text.to_owned()
            }
        };
        Self {
            name: cut(&self.name),
            last_error: self.last_error.as_deref().map(cut),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str, bytes: i64, dropped: Option<OriginFault>) -> OriginReport {
        OriginReport {
            name: name.to_owned(),
            bytes,
            failures: 0,
            last_error: None,
            dropped,
        }
    }

    #[test]
    fn the_source_and_the_dropped_are_told_before_those_that_brought_little() {
        let mut origins = vec![origin("source", 0, None)];
        origins.extend((1..10).map(|number| origin(&number.to_string(), number, None)));
        origins.push(origin("liar", 0, Some(OriginFault::SentWrongBytes)));
        let told: Vec<String> = fitting(&origins).into_iter().map(|origin| origin.name).collect();
        assert_eq!(told, ["source", "4", "5", "6", "7", "8", "9", "liar"]);
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let text = serde_json::to_string(&origin("hub", 5, None)).unwrap();
        assert_eq!(text, r#"{"name":"hub","bytes":5}"#);
    }
}
