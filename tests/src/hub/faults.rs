//! Faults on demand: rules say which requests they strike, how often, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::http::Method;
use serde::{Deserialize, Serialize};

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
    /// Requests that match and are spared before the first is struck.
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

/// The faults that strike one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects(Vec<Fault>);

impl Effects {
    pub(crate) fn find<T>(&self, pick: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }

    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    pub(crate) fn all(&self) -> &[Fault] {
        &self.0
    }
}

/// Rules in force, with how many requests each has met.
#[derive(Debug, Default)]
pub(crate) struct Rules(Mutex<Vec<(Rule, u64)>>);

impl Rules {
    pub(crate) fn add(&self, rule: Rule) {
        self.lock().push((rule, 0));
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn list(&self) -> Vec<Rule> {
        self.lock().iter().map(|(rule, _)| rule.clone()).collect()
    }

    /// The faults for a request; each is counted as struck.
    pub(crate) fn strike(&self, stage: Stage, method: &Method, subject: &str) -> Effects {
        let mut struck = Vec::new();
        for (rule, met) in self.lock().iter_mut() {
            let matches = rule.stage.is_none_or(|wanted| wanted == stage)
                && rule.method.as_deref().is_none_or(|wanted| wanted == method.as_str())
                && glob(&rule.path, subject);
            if !matches {
                continue;
            }
            *met += 1;
            let turn = met.saturating_sub(rule.skip);
            if turn > 0 && rule.count.is_none_or(|count| turn <= count) {
                struck.push(rule.fault.clone());
            }
        }
        Effects(struck)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Rule, u64)>> {
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
        let struck = |stage, path: &str| !rules.strike(stage, &Method::GET, path).all().is_empty();
        assert!(!struck(Stage::Resolve, "a.safetensors"));
        assert!(!struck(Stage::Cdn, "a.json"));
        let met: Vec<bool> = (0..4).map(|_| struck(Stage::Cdn, "sub/a.safetensors")).collect();
        assert_eq!(met, [false, true, true, false]);
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
