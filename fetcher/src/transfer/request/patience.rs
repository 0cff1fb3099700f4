//! Decides how long an origin is retried for a piece. Pure.
//!
//! The only origin of a fetch is retried with backoff until its attempts are used up, because no other has the bytes. One of
//! several is retried only while it delivers, because another one is faster than a pause.

use std::time::Duration;

use super::error::RequestError;
use crate::http::retry::{Backoff, Policy};
use crate::model::error::{FetchError, SourceError};

/// How the fetch of a piece ended.
#[derive(Debug)]
pub(crate) enum PieceOutcome {
    /// Every byte of it is written.
    Written,
    /// The server ignores ranges.
    RangesIgnored,
    /// Another connection has it, or its origin must rest.
    NotNeeded,
    /// The server refuses this connection but serves others, which continue with the piece.
    Refused,
    /// The origin failed.
    Failed(SourceError),
    /// The fetcher itself failed.
    Local(FetchError),
}

/// Retries of one piece at one origin.
#[derive(Debug)]
pub(crate) struct Patience {
    is_sole_origin: bool,
    policy: Policy,
    backoff: Backoff,
    /// Failures since the last complete block. Not since the last byte: bytes of a block that never completes are lost.
    failures: u32,
    /// Whether the file was located again since the last byte.
    is_relocated: bool,
}

impl Patience {
    pub(crate) fn new(is_sole_origin: bool, policy: Policy, seed: u64) -> Self {
        Self {
            is_sole_origin,
            policy,
            backoff: Backoff::new(policy, seed),
            failures: 0,
            is_relocated: false,
        }
    }

    /// Records that bytes arrived.
    pub(crate) fn bytes_arrived(&mut self) {
        self.backoff.progressed();
        self.is_relocated = false;
    }

    /// Records that a block arrived completely.
    pub(crate) fn block_arrived(&mut self) {
        self.failures = 0;
    }

    /// The error, if it counts in the statistics of the origin. The first loss of a location does not: it may have expired.
    pub(crate) fn counted_error<'a>(&self, error: &'a RequestError) -> Option<&'a SourceError> {
        match error {
            RequestError::Permanent(error) | RequestError::Transient { error, .. } => Some(error),
            RequestError::LocationLost {
                error,
                is_refusal: false,
            } if self.is_relocated => Some(error),
            RequestError::LocationLost { .. }
            | RequestError::Refused(_)
            | RequestError::RangesIgnored
            | RequestError::Local(_) => None,
        }
    }

    /// Decides after a failed request: the pause before the next one, or how the piece ends. `has_gained`: the failed request
    /// delivered bytes. `is_shared`: other connections use the origin as well.
    pub(crate) fn on_failure(
        &mut self,
        error: RequestError,
        has_gained: bool,
        is_shared: bool,
    ) -> Result<Duration, PieceOutcome> {
        let error = match error {
            RequestError::RangesIgnored => return Err(PieceOutcome::RangesIgnored),
            RequestError::Local(error) => return Err(PieceOutcome::Local(error)),
            RequestError::Permanent(error) => return Err(PieceOutcome::Failed(error)),
            RequestError::LocationLost { .. } if !self.is_relocated => {
                self.is_relocated = true;
                return Ok(Duration::ZERO);
            }
            // The operator waits that long instead, without the cost of an idle pod.
            RequestError::Refused(error) | RequestError::Transient { error, .. }
                if self.is_sole_origin && self.policy.is_too_long(error.retry_after) =>
            {
                return Err(PieceOutcome::Failed(error));
            }
            // A refusal while others are served says nothing about the file. Fewer connections continue with it.
            RequestError::LocationLost { is_refusal: true, .. } if is_shared => return Err(PieceOutcome::Refused),
            // Only for a sole origin: of several, another one is faster.
            RequestError::Refused(_) if self.is_sole_origin && is_shared => return Err(PieceOutcome::Refused),
            // The new location fails like the old one, so the location is not the reason.
            RequestError::LocationLost { error, .. } if error.class.is_permanent() => {
                return Err(PieceOutcome::Failed(error));
            }
            RequestError::LocationLost { error, .. }
            | RequestError::Refused(error)
            | RequestError::Transient { error, .. } => error,
        };
        if self.is_sole_origin {
            self.retry_sole(&error)
        } else {
            self.retry_one_of_several(error, has_gained)
        }
    }

    fn retry_sole(&mut self, error: &SourceError) -> Result<Duration, PieceOutcome> {
        self.backoff.failed(error.retry_after).ok_or_else(|| {
            let message = format!(
                "{} (gave up after {} tries without receiving a byte)",
                error.message, self.policy.attempts
            );
            PieceOutcome::Failed(SourceError::new(error.class, message).with_retry_after(error.retry_after))
        })
    }

    fn retry_one_of_several(&mut self, error: SourceError, has_gained: bool) -> Result<Duration, PieceOutcome> {
        self.failures += 1;
        if has_gained && self.failures < self.policy.attempts {
            Ok(Duration::ZERO)
        } else {
            Err(PieceOutcome::Failed(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use modelcache_crds::report::FailureClass;
    use rstest::rstest;

    use super::*;

    const SOLE: bool = true;
    const SHARED: bool = true;

    fn error(class: FailureClass) -> SourceError {
        SourceError::new(class, "answered 500")
    }

    fn transient() -> RequestError {
        RequestError::transient(error(FailureClass::SourceError))
    }

    fn lost(is_refusal: bool) -> RequestError {
        RequestError::LocationLost {
            error: error(FailureClass::AccessDenied),
            is_refusal,
        }
    }

    fn refused() -> RequestError {
        RequestError::Refused(error(FailureClass::RateLimited))
    }

    fn patience(is_sole: bool) -> Patience {
        let policy = Policy {
            attempts: 3,
            ..Policy::default()
        };
        Patience::new(is_sole, policy, 7)
    }

    /// The decision in a word.
    fn word(next: &Result<Duration, PieceOutcome>) -> &'static str {
        match next {
            Ok(pause) if pause.is_zero() => "at once",
            Ok(_) => "later",
            Err(PieceOutcome::Refused) => "refused",
            Err(PieceOutcome::Failed(_)) => "failed",
            Err(PieceOutcome::RangesIgnored) => "ranges ignored",
            Err(PieceOutcome::Written | PieceOutcome::NotNeeded | PieceOutcome::Local(_)) => "other",
        }
    }

    #[rstest]
    #[case::sole_origin_is_retried_after_a_pause(SOLE, transient(), false, !SHARED, "later")]
    #[case::one_of_several_that_delivers_is_retried_at_once(!SOLE, transient(), true, !SHARED, "at once")]
    #[case::one_of_several_that_does_not_deliver_fails(!SOLE, transient(), false, !SHARED, "failed")]
    #[case::refusal_of_one_connection_of_several_ends_the_piece(SOLE, refused(), false, SHARED, "refused")]
    #[case::refusal_of_the_last_connection_is_retried_after_a_pause(SOLE, refused(), false, !SHARED, "later")]
    #[case::refusal_by_one_of_several_origins_is_a_failure(!SOLE, refused(), false, SHARED, "failed")]
    #[case::ranges_are_ignored(SOLE, RequestError::RangesIgnored, false, !SHARED, "ranges ignored")]
    #[case::lost_location_is_located_again(SOLE, lost(false), false, SHARED, "at once")]
    fn a_failed_request_is_retried_or_ends_the_piece(
        #[case] is_sole: bool,
        #[case] error: RequestError,
        #[case] has_gained: bool,
        #[case] is_shared: bool,
        #[case] expected: &str,
    ) {
        assert_eq!(
            word(&patience(is_sole).on_failure(error, has_gained, is_shared)),
            expected
        );
    }

    #[rstest]
    #[case::the_location_is_not_the_reason(false, SHARED, "failed")]
    #[case::refused_while_others_are_served(true, SHARED, "refused")]
    #[case::refused_alone(true, !SHARED, "failed")]
    fn a_location_that_is_lost_twice_in_a_row(
        #[case] is_refusal: bool,
        #[case] is_shared: bool,
        #[case] expected: &str,
    ) {
        let mut patience = patience(SOLE);
        assert_eq!(
            word(&patience.on_failure(lost(is_refusal), false, is_shared)),
            "at once"
        );
        assert_eq!(word(&patience.on_failure(lost(is_refusal), false, is_shared)), expected);
    }

    #[test]
    fn attempts_count_since_the_last_progress() {
        let mut sole = patience(SOLE);
        for _ in 0..2 {
            assert_eq!(word(&sole.on_failure(transient(), false, false)), "later");
        }
        sole.bytes_arrived();
        assert_eq!(word(&sole.on_failure(transient(), false, false)), "later");
        let mut one = patience(!SOLE);
        for _ in 0..2 {
            assert_eq!(word(&one.on_failure(transient(), true, false)), "at once");
        }
        assert_eq!(
            word(&one.on_failure(transient(), true, false)),
            "failed",
            "no block was complete"
        );
        one.block_arrived();
        assert_eq!(word(&one.on_failure(transient(), true, false)), "at once");
    }

    #[test]
    fn a_pause_too_long_for_a_pod_ends_the_piece() {
        let asked = error(FailureClass::RateLimited).with_retry_after(Some(Duration::from_hours(9)));
        let next = patience(SOLE).on_failure(RequestError::Refused(asked), false, false);
        assert_eq!(word(&next), "failed");
    }
}
