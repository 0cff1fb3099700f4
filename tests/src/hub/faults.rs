//! Faults on demand: rules say which requests they strike, how often, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Method;
use serde::{Deserialize, Serialize};

use super::range::{self, Wanted};

/// Part of the hub that a request asks.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Model information; its subject is the request's path.
    Info,
    /// Listing; its subject is the request's path.
    Tree,
    /// `resolve`; its subject is the file's path in the model.
    Resolve,
    /// The CDN; its subject is the file's path in the model.
    Cdn,
    /// Anything else; its subject is the request's path.
    Other,
}

/// What goes wrong, and where.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Glob on the request's subject: `*` is anything, `?` one character.
    #[serde(default = "everything")]
    pub path: String,
    /// Part of the hub; left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Method; left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Requests that match and could be struck, but are spared before the first is.
    #[serde(default)]
    pub skip: u64,
    /// Requests to strike; left out: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What goes wrong.
    pub fault: Fault,
}

fn everything() -> String {
    "*".to_owned()
}

impl Rule {
    /// Strikes every request for matching subjects at one part of the hub.
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

    /// Only this often.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            count: Some(count),
            ..self
        }
    }

    /// Only after so many were spared.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }
}

/// What can go wrong.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This status instead of the answer.
    Status {
        /// Status code.
        status: u16,
        /// More headers, such as `retry-after`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// Body.
        #[serde(default)]
        body: String,
    },
    /// A page of a captive portal or a broken proxy, with this status.
    Html {
        /// Status code, often 200.
        status: u16,
    },
    /// The connection is closed without an answer.
    Refuse,
    /// The answer comes late.
    Latency {
        /// By how much.
        milliseconds: u64,
    },
    /// A redirect to the same place.
    RedirectLoop,
    /// The connection is cut after so many bytes of the body.
    Cut {
        /// Bytes sent before.
        after_bytes: u64,
    },
    /// Nothing is sent for a while after so many bytes of the body.
    Stall {
        /// Bytes sent before.
        after_bytes: u64,
        /// How long.
        seconds: u64,
    },
    /// The body comes slowly.
    Slow {
        /// At this rate.
        bytes_per_second: u64,
    },
    /// One bit of the file is another, every time it is sent.
    Flip {
        /// Offset in the file.
        offset: u64,
    },
    /// Another range than the one asked for is sent, and said to be.
    ShiftRange {
        /// By so many bytes.
        by: u64,
    },
    /// The whole file with status 200, whatever range was asked for.
    IgnoreRange,
    /// The body is encoded although `identity` was asked for.
    Gzip,
    /// The signed URL has expired: 403 from the CDN.
    Expired,
    /// A signed URL expires when it has been asked this often, whatever it says of itself: 403 from the CDN.
    ExpiredAfter {
        /// Requests that each URL is good for.
        requests: u64,
    },
    /// Digest headers name another digest.
    OtherEtag,
    /// A small file is not sent but redirected to, by a relative URL whose query matters.
    ResolveCache,
    /// A page of the listing comes without its entries.
    DropPage,
    /// A listing ends in the middle: the page does not say that there is a next one.
    DropNext,
    /// A listing holds one more file.
    ExtraPath {
        /// Its path, hostile perhaps.
        path: String,
    },
    /// A listing shows asterisks for hashes.
    HiddenHashes,
    /// A branch moves before the answer.
    MoveBranch {
        /// Model.
        model: String,
        /// Branch.
        branch: String,
        /// Commit it moves to.
        commit: String,
    },
}

impl Fault {
    /// Whether an answer to such a request has what goes wrong. Others do not use up a rule.
    fn concerns(&self, method: &Method, range: Option<&str>) -> bool {
        match self {
            Self::Flip { offset } => {
                // Of a suffix, without the file's size, nobody knows where it begins.
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

/// A fault that is to strike one request.
#[derive(Debug)]
pub(crate) struct Strike {
    fault: Fault,
    has_struck: AtomicBool,
    struck: Arc<AtomicU64>,
}

impl Strike {
    pub(crate) fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The fault has done to the answer what it does.
    pub(crate) fn struck(&self) {
        if !self.has_struck.swap(true, Ordering::Relaxed) {
            self.struck.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The faults that are to strike one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects(Arc<[Strike]>);

impl Effects {
    /// What is picked of the first fault that something is picked of, which strikes.
    pub(crate) fn find<T>(&self, mut pick: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|strike| {
            let picked = pick(&strike.fault)?;
            strike.struck();
            Some(picked)
        })
    }

    /// Whether there is this fault, which strikes.
    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.find(|there| (there == fault).then_some(())).is_some()
    }

    pub(crate) fn all(&self) -> &[Strike] {
        &self.0
    }
}

/// A rule in force.
#[derive(Debug)]
struct InForce {
    rule: Rule,
    /// Requests that it could strike.
    met: u64,
    /// Requests that it did strike.
    struck: Arc<AtomicU64>,
}

/// Rules in force.
#[derive(Debug, Default)]
pub(crate) struct Rules(Mutex<Vec<InForce>>);

impl Rules {
    pub(crate) fn add(&self, rule: Rule) {
        self.lock().push(InForce {
            rule,
            met: 0,
            struck: Arc::default(),
        });
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn list(&self) -> Vec<Rule> {
        self.lock().iter().map(|in_force| in_force.rule.clone()).collect()
    }

    /// How many requests each rule has struck.
    pub(crate) fn struck(&self) -> Vec<u64> {
        let rules = self.lock();
        let struck = rules.iter().map(|in_force| in_force.struck.load(Ordering::Relaxed));
        struck.collect()
    }

    /// The faults for a request. Whether one strikes is seen when it is answered.
    pub(crate) fn strike(&self, stage: Stage, method: &Method, subject: &str, range: Option<&str>) -> Effects {
        let mut strikes = Vec::new();
        for InForce { rule, met, struck } in self.lock().iter_mut() {
            let matches = rule.stage.is_none_or(|wanted| wanted == stage)
                && rule.method.as_deref().is_none_or(|wanted| wanted == method.as_str())
                && glob(&rule.path, subject)
                && rule.fault.concerns(method, range);
            if !matches {
                continue;
            }
            *met += 1;
            let turn = met.saturating_sub(rule.skip);
            if turn > 0 && rule.count.is_none_or(|count| turn <= count) {
                strikes.push(Strike {
                    fault: rule.fault.clone(),
                    has_struck: AtomicBool::new(false),
                    struck: Arc::clone(struck),
                });
            }
        }
        Effects(strikes.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<InForce>> {
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
    fn a_rule_strikes_its_stage_and_paths_after_the_spared_ones_and_so_often() {
        let rules = Rules::default();
        rules.add(Rule::on(Stage::Cdn, "*.safetensors", Fault::Refuse).after(1).times(2));
        let struck = |stage, path: &str| !rules.strike(stage, &Method::GET, path, None).all().is_empty();
        assert!(!struck(Stage::Resolve, "a.safetensors"));
        assert!(!struck(Stage::Cdn, "a.json"));
        let met: Vec<bool> = (0..4).map(|_| struck(Stage::Cdn, "sub/a.safetensors")).collect();
        assert_eq!(met, [false, true, true, false]);
    }

    #[test]
    fn a_rule_is_not_used_up_by_a_request_that_has_nothing_to_go_wrong() {
        let rules = Rules::default();
        rules.add(Rule::on(Stage::Cdn, "*", Fault::Flip { offset: 5 }).times(1));
        let strikes = |method, range| rules.strike(Stage::Cdn, &method, "a", range);
        assert!(strikes(Method::HEAD, None).all().is_empty());
        assert!(strikes(Method::GET, Some("bytes=0-4")).all().is_empty());
        let effects = strikes(Method::GET, Some("bytes=5-9"));
        assert_eq!((effects.all().len(), rules.struck()), (1, vec![0]), "not answered yet");
        for _ in 0..2 {
            assert!(effects.has(&Fault::Flip { offset: 5 }));
        }
        assert_eq!(rules.struck(), [1]);
        assert!(strikes(Method::GET, None).all().is_empty(), "it is used up");
    }

    #[test]
    fn a_rule_reads_as_the_readme_writes_it() {
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
