//! How long an origin is retried for a piece. Pure.
//!
//! The only origin of a fetch is retried with backoff until attempts are used up: nobody else has the bytes. One of several
//! is retried only as long as it delivers: another one is quicker than patience.

use std::time::Duration;

use super::error::RequestError;
use crate::http::retry::{Backoff, Policy};
use crate::model::error::{FetchError, SourceError};

/// How the work on a piece ended.
#[derive(Debug)]
pub(crate) enum PieceOutcome {
    /// Every byte of it is written.
    Written,
    /// Its server does not serve ranges.
    RangesIgnored,
    /// Another connection has it, or its origin is to rest.
    NotNeeded,
    /// Its server is asked by too many connections; one that is served takes it.
    Refused,
    /// Its origin failed.
    Failed(SourceError),
    /// Something here failed.
    Local(FetchError),
}

/// Retries of one piece at one origin.
#[derive(Debug)]
pub(crate) struct Patience {
    is_sole_origin: bool,
    policy: Policy,
    backoff: Backoff,
    /// Failures since the last whole block: of one that is never whole nothing stays.
    cuts: u32,
    /// The file was located again since bytes last arrived.
    is_relocated: bool,
}

impl Patience {
    pub(crate) fn new(is_sole_origin: bool, policy: Policy, seed: u64) -> Self {
        Self {
            is_sole_origin,
            policy,
            backoff: Backoff::new(policy, seed),
            cuts: 0,
            is_relocated: false,
        }
    }

    /// Bytes arrived.
    pub(crate) fn bytes_arrived(&mut self) {
        self.backoff.progressed();
        self.is_relocated = false;
    }

    /// A block arrived whole.
    pub(crate) fn block_arrived(&mut self) {
        self.cuts = 0;
    }

    /// The error that counts against the origin. A location that is lost for the first time may only have expired.
    pub(crate) fn counted<'a>(&self, error: &'a RequestError) -> Option<&'a SourceError> {
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

    /// The pause before the next request after a failed one, or how the piece ends. `has_gained` says whether the failed
    /// request delivered bytes, `is_shared` whether other connections ask the origin as well.
    pub(crate) fn after(
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
            // The operator waits that long, and nobody pays for an idle pod meanwhile.
            RequestError::Refused(error) | RequestError::Transient { error, .. }
                if self.is_sole_origin && self.policy.is_too_long(error.retry_after) =>
            {
                return Err(PieceOutcome::Failed(error));
            }
            // Refused beside others: that says nothing about the file. Fewer connections continue with it.
            RequestError::LocationLost { is_refusal: true, .. } if is_shared => return Err(PieceOutcome::Refused),
            // Of several origins, another one is quicker than that.
            RequestError::Refused(_) if self.is_sole_origin && is_shared => return Err(PieceOutcome::Refused),
            // A new location is refused like the old one: it is not the location.
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
                "{} (gave up after {} tries without a byte gained)",
                error.message, self.policy.attempts
            );
            PieceOutcome::Failed(SourceError::new(error.class, message).with_retry_after(error.retry_after))
        })
    }

    fn retry_one_of_several(&mut self, error: SourceError, has_gained: bool) -> Result<Duration, PieceOutcome> {
        self.cuts += 1;
        if has_gained && self.cuts < self.policy.attempts {
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

    /// A word for what follows.
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
    #[case::the_sole_origin_is_waited_for(SOLE, transient(), false, !SHARED, "later")]
    #[case::one_of_several_that_delivers_is_asked_at_once(!SOLE, transient(), true, !SHARED, "at once")]
    #[case::one_of_several_that_does_not_is_left(!SOLE, transient(), false, !SHARED, "failed")]
    #[case::a_refusal_beside_others_is_left_to_them(SOLE, refused(), false, SHARED, "refused")]
    #[case::a_refusal_of_the_last_connection_is_waited_for(SOLE, refused(), false, !SHARED, "later")]
    #[case::a_refusal_of_one_of_several_is_a_failure(!SOLE, refused(), false, SHARED, "failed")]
    #[case::ranges_are_ignored(SOLE, RequestError::RangesIgnored, false, !SHARED, "ranges ignored")]
    #[case::a_lost_location_is_located_again(SOLE, lost(false), false, SHARED, "at once")]
    fn what_follows_from_a_failed_request(
        #[case] is_sole: bool,
        #[case] error: RequestError,
        #[case] has_gained: bool,
        #[case] is_shared: bool,
        #[case] expected: &str,
    ) {
        assert_eq!(word(&patience(is_sole).after(error, has_gained, is_shared)), expected);
    }

    #[rstest]
    #[case::it_is_not_the_location(false, SHARED, "failed")]
    #[case::refused_beside_others(true, SHARED, "refused")]
    #[case::refused_alone(true, !SHARED, "failed")]
    fn a_location_that_is_lost_twice_in_a_row(
        #[case] is_refusal: bool,
        #[case] is_shared: bool,
        #[case] expected: &str,
    ) {
        let mut patience = patience(SOLE);
        assert_eq!(word(&patience.after(lost(is_refusal), false, is_shared)), "at once");
        assert_eq!(word(&patience.after(lost(is_refusal), false, is_shared)), expected);
    }

    #[test]
    fn attempts_count_since_the_last_gain() {
        let mut sole = patience(SOLE);
        for _ in 0..2 {
            assert_eq!(word(&sole.after(transient(), false, false)), "later");
        }
        sole.bytes_arrived();
        assert_eq!(word(&sole.after(transient(), false, false)), "later");
        let mut one = patience(!SOLE);
        for _ in 0..2 {
            assert_eq!(word(&one.after(transient(), true, false)), "at once");
        }
        assert_eq!(
            word(&one.after(transient(), true, false)),
            "failed",
            "no block came whole"
        );
        one.block_arrived();
        assert_eq!(word(&one.after(transient(), true, false)), "at once");
    }

    #[test]
    fn a_pause_too_long_for_a_pod_ends_the_piece() {
        let asked = error(FailureClass::RateLimited).with_retry_after(Some(Duration::from_hours(9)));
        let next = patience(SOLE).after(RequestError::Refused(asked), false, false);
        assert_eq!(word(&next), "failed");
    }
}
