//! Fault injection: rules that select requests and inject a fault into their responses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Method;
use serde::{Deserialize, Serialize};

use super::range::{self, Wanted};

/// The part of the hub that a request addresses.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Model information; subject: the request's path.
    Info,
    /// Listing; subject: the request's path.
    Tree,
    /// `resolve`; subject: the file's path in the model.
    Resolve,
    /// The CDN; subject: the file's path in the model.
    Cdn,
    /// Anything else; subject: the request's path.
    Other,
}

/// A fault and the requests to inject it into.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Glob on the request's subject: `*` matches anything, `?` one character.
    #[serde(default = "everything")]
    pub path: String,
    /// Part of the hub; default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Method; default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Number of matching requests to skip first.
    #[serde(default)]
    pub skip: u64,
    /// Number of requests to inject the fault into; default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The fault.
    pub fault: Fault,
}

fn everything() -> String {
    "*".to_owned()
}

impl Rule {
    /// A rule for every request to one part of the hub with a matching subject.
    #[must_use]
    pub fn on(stage: Stage, path: &str, fault: Fault) -> Self {
        Self {
            path: path.to_owned(),
            stage: Some(stage),
            method: None,
            skip: 0,
            count: None,
            fault,
        }
    }

    /// Limits the number of injections.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            count: Some(count),
            ..self
        }
    }

    /// Skips the given number of matching requests first.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }
}

/// A fault to inject.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This status instead of the answer.
    Status {
        /// Status code.
        status: u16,
        /// Additional headers, such as `retry-after`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// Body.
        #[serde(default)]
        body: String,
    },
    /// An HTML page, as from a captive portal or a broken proxy, with this status.
    Html {
        /// Status code, often 200.
        status: u16,
    },
    /// The connection is closed without an answer.
    Refuse,
    /// The response is delayed.
    Latency {
        /// Delay.
        milliseconds: u64,
    },
    /// A redirect to the same URL.
    RedirectLoop,
    /// The connection is cut after the given number of body bytes.
    Cut {
        /// Body bytes before the cut.
        after_bytes: u64,
    },
    /// The body pauses after the given number of bytes.
    Stall {
        /// Body bytes before the pause.
        after_bytes: u64,
        /// Length of the pause.
        seconds: u64,
    },
    /// The body is slow.
    Slow {
        /// Rate.
        bytes_per_second: u64,
    },
    /// One bit of the file is flipped in each response that contains it.
    Flip {
        /// Offset in the file.
        offset: u64,
    },
    /// The body is another range than the requested one, with a matching Content-Range.
    ShiftRange {
        /// Shift in bytes.
        by: u64,
    },
    /// The whole file with status 200, whatever the requested range.
    IgnoreRange,
    /// The body is gzip although the request asks for `identity`.
    Gzip,
    /// The signed URL has expired: 403 from the CDN.
    Expired,
    /// A signed URL expires after a number of requests, before the expiry that it states: 403 from the CDN.
    ExpiredAfter {
        /// Number of requests that each URL accepts.
        requests: u64,
    },
    /// Digest headers contain another digest.
    OtherEtag,
    /// A small file is a redirect to a relative URL whose query is required.
    ResolveCache,
    /// A page of the listing has no entries.
    DropPage,
    /// A listing is truncated: the page has no link to the next one.
    DropNext,
    /// A listing has one more file.
    ExtraPath {
        /// Its path, which may be malicious.
        path: String,
    },
    /// A listing shows asterisks for hashes.
    HiddenHashes,
    /// A branch moves before the response.
    MoveBranch {
        /// Model.
        model: String,
        /// Branch.
        branch: String,
        /// New commit of the branch.
        commit: String,
    },
}

impl Fault {
    /// Whether the fault can affect the response to such a request. Other requests do not count towards the rule.
    fn concerns(&self, method: &Method, range: Option<&str>) -> bool {
        match self {
            Self::Flip { offset } => {
                // Without the size of the file, the start of a suffix range is unknown.
                let covers = range.is_some_and(|range| range.starts_with("bytes=-"))
                    || match range::parse(range, u64::MAX) {
                        Wanted::Part { start, end } => (start..end).contains(offset),
                        Wanted::Whole => true,
                        Wanted::Unsatisfiable => false,
                    };
                covers && method != Method::HEAD
            }
            Self::IgnoreRange | Self::ShiftRange { .. } => range.is_some() && method != Method::HEAD,
            Self::Cut { .. } | Self::Stall { .. } | Self::Slow { .. } | Self::Gzip => method != Method::HEAD,
            _ => true,
        }
    }
}

/// A fault selected for one request.
#[derive(Debug)]
pub(crate) struct Injection {
    fault: Fault,
    is_recorded: AtomicBool,
    injected: Arc<AtomicU64>,
}

impl Injection {
    pub(crate) fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Counts the request, once: the fault has taken effect.
    pub(crate) fn record(&self) {
        if !self.is_recorded.swap(true, Ordering::Relaxed) {
            self.injected.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The faults selected for one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects(Arc<[Injection]>);

impl Effects {
    /// Returns the first value that `pick` returns, and records that fault.
    pub(crate) fn find<T>(&self, mut pick: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|injection| {
            let picked = pick(&injection.fault)?;
            injection.record();
            Some(picked)
        })
    }

    /// Whether this fault is selected; records it if so.
    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.find(|selected| (selected == fault).then_some(())).is_some()
    }

    pub(crate) fn all(&self) -> &[Injection] {
        &self.0
    }
}

/// An active rule with its counts.
#[derive(Debug)]
struct ActiveRule {
    rule: Rule,
    /// Requests that match.
    matched: u64,
    /// Requests that the fault took effect on.
    injected: Arc<AtomicU64>,
}

/// The active rules.
#[derive(Debug, Default)]
pub(crate) struct Rules(Mutex<Vec<ActiveRule>>);

impl Rules {
    pub(crate) fn add(&self, rule: Rule) {
        self.lock().push(ActiveRule {
            rule,
            matched: 0,
            injected: Arc::default(),
        });
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn list(&self) -> Vec<Rule> {
        self.lock().iter().map(|active| active.rule.clone()).collect()
    }

    /// Number of requests that each rule has injected its fault into.
    pub(crate) fn injected(&self) -> Vec<u64> {
        let rules = self.lock();
        let injected = rules.iter().map(|active| active.injected.load(Ordering::Relaxed));
        injected.collect()
    }

    /// Selects the faults for a request. The response decides which of them take effect.
    pub(crate) fn select(&self, stage: Stage, method: &Method, subject: &str, range: Option<&str>) -> Effects {
        let mut selected = Vec::new();
        for ActiveRule {
            rule,
            matched,
            injected,
        } in self.lock().iter_mut()
        {
            let matches = rule.stage.is_none_or(|wanted| wanted == stage)
                && rule.method.as_deref().is_none_or(|wanted| wanted == method.as_str())
                && glob(&rule.path, subject)
                && rule.fault.concerns(method, range);
            if !matches {
                continue;
            }
            *matched += 1;
            let turn = matched.saturating_sub(rule.skip);
            if turn > 0 && rule.count.is_none_or(|count| turn <= count) {
                selected.push(Injection {
                    fault: rule.fault.clone(),
                    is_recorded: AtomicBool::new(false),
                    injected: Arc::clone(injected),
                });
            }
        }
        Effects(selected.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ActiveRule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => matches(&pattern[1..], text) || (!text.is_empty() && matches(pattern, &text[1..])),
            (Some(b'?'), Some(_)) => matches(&pattern[1..], &text[1..]),
            (Some(wanted), Some(found)) if wanted == found => matches(&pattern[1..], &text[1..]),
            _ => false,
        }
    }
    matches(pattern.as_bytes(), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_selects_by_stage_and_path_and_applies_skip_and_count() {
        let rules = Rules::default();
        rules.add(Rule::on(Stage::Cdn, "*.safetensors", Fault::Refuse).after(1).times(2));
        let is_selected = |stage, path: &str| !rules.select(stage, &Method::GET, path, None).all().is_empty();
        assert!(!is_selected(Stage::Resolve, "a.safetensors"));
        assert!(!is_selected(Stage::Cdn, "a.json"));
        let selected: Vec<bool> = (0..4).map(|_| is_selected(Stage::Cdn, "sub/a.safetensors")).collect();
        assert_eq!(selected, [false, true, true, false]);
    }

    #[test]
    fn a_request_that_the_fault_cannot_affect_does_not_count() {
        let rules = Rules::default();
        rules.add(Rule::on(Stage::Cdn, "*", Fault::Flip { offset: 5 }).times(1));
        let select = |method, range| rules.select(Stage::Cdn, &method, "a", range);
        assert!(select(Method::HEAD, None).all().is_empty());
        assert!(select(Method::GET, Some("bytes=0-4")).all().is_empty());
        let effects = select(Method::GET, Some("bytes=5-9"));
        assert_eq!(
            (effects.all().len(), rules.injected()),
            (1, vec![0]),
            "not answered yet"
        );
        for _ in 0..2 {
            assert!(effects.has(&Fault::Flip { offset: 5 }));
        }
        assert_eq!(rules.injected(), [1]);
        assert!(select(Method::GET, None).all().is_empty(), "the count is reached");
    }

    #[test]
    fn a_rule_is_parsed_from_json() {
        let rule: Rule = serde_json::from_str(
            r#"{"stage": "cdn", "path": "*.bin", "count": 2,
                "fault": {"kind": "status", "status": 503, "headers": {"retry-after": "1"}}}"#,
        )
        .unwrap();
        assert_eq!(rule.count, Some(2));
        assert!(matches!(rule.fault, Fault::Status { status: 503, .. }));
        assert!(serde_json::from_str::<Rule>(r#"{"fault": {"kind": "refuse"}, "time": 1}"#).is_err());
    }
}
