//! Statistics of the origins, bounded to fit into a termination message and a status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::truncate_at_char;

/// Most origins in a report.
pub const MAX_ORIGINS: usize = 8;

/// Most bytes of JSON for the origins of a report: half of the termination message.
const MAX_ORIGINS_BYTES: usize = super::MAX_REPORT_BYTES / 2;

/// Most bytes of a name or an error; fewer if the origins do not fit.
const MAX_TEXT_BYTES: usize = 200;

/// Statistics of one origin of the files.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OriginReport {
    /// Address of the origin, without credentials and signatures.
    pub name: String,
    /// Bytes downloaded from the origin.
    pub bytes: i64,
    /// Number of failed requests.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i64,
    /// Most recent failure, or the reason the origin was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Why the origin was dropped. Unset if it was used until the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<OriginFault>,
}

/// Reason an origin was dropped. `SentWrongBytes`: it sent data that does not match the digest. `KeptFailing`: its
/// requests failed repeatedly. `LeftOut`: it could not be listed, or lists none of the files. Unset if it was used
/// until the end.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginFault {
    /// It sent data that does not match the digest.
    SentWrongBytes,
    /// Its requests failed repeatedly.
    KeptFailing,
    /// It could not be listed in time, or lists none of the files, so no file was requested from it.
    LeftOut,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &i64) -> bool {
    *count == 0
}

/// The origins to report, at most [`MAX_ORIGINS`], with texts truncated to fit.
///
/// Priority: the source itself, which is first; dropped origins; then by bytes downloaded. The order is kept.
pub(super) fn reported(origins: &[OriginReport]) -> Vec<OriginReport> {
    let mut indices: Vec<usize> = (0..origins.len()).collect();
    indices.sort_by_key(|index| {
        let origin = &origins[*index];
        let rank = match (index, origin.dropped) {
            (0, _) => 0,
            (_, Some(OriginFault::SentWrongBytes)) => 1,
            (_, Some(OriginFault::KeptFailing | OriginFault::LeftOut)) => 2,
            (_, None) => 3,
        };
        (rank, std::cmp::Reverse(origin.bytes))
    });
    indices.truncate(MAX_ORIGINS);
    indices.sort_unstable();
    let chosen: Vec<&OriginReport> = indices.iter().map(|index| &origins[*index]).collect();
    // JSON escaping can turn one byte into six, so halve until it fits.
    let mut keep = MAX_TEXT_BYTES;
    loop {
        let truncated: Vec<OriginReport> = chosen.iter().map(|origin| origin.truncated(keep)).collect();
        let bytes = serde_json::to_string(&truncated).unwrap_or_default().len();
        if bytes <= MAX_ORIGINS_BYTES || keep == 0 {
            return truncated;
        }
        keep /= 2;
    }
}

impl OriginReport {
    fn truncated(&self, keep: usize) -> Self {
        let truncate = |text: &str| {
            let kept = truncate_at_char(text, keep);
            if kept.len() < text.len() {
                format!("{kept}…")
            } else {
                text.to_owned()
            }
        };
        Self {
            name: truncate(&self.name),
            last_error: self.last_error.as_deref().map(truncate),
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
    fn the_source_and_dropped_origins_take_precedence_over_small_ones() {
        let mut origins = vec![origin("source", 0, None)];
        origins.extend((1..10).map(|number| origin(&number.to_string(), number, None)));
        origins.push(origin("corrupt", 0, Some(OriginFault::SentWrongBytes)));
        let names: Vec<String> = reported(&origins).into_iter().map(|origin| origin.name).collect();
        assert_eq!(names, ["source", "4", "5", "6", "7", "8", "9", "corrupt"]);
    }

    #[test]
    fn unset_fields_are_not_serialized() {
        let text = serde_json::to_string(&origin("hub", 5, None)).unwrap();
        assert_eq!(text, r#"{"name":"hub","bytes":5}"#);
    }
}
