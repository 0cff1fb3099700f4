//! Turns the API server's refusal of an action into a condition. Pure.

use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};

use super::apply::ActionTarget;
use super::decide::{Decision, summarize};
use super::facts::Step;

/// Writes the refusal on the condition of the step that it holds back.
///
/// Other errors change no condition: an unreachable API server says nothing about the model, and the reconcile is
/// retried.
pub(crate) fn explain(decision: &mut Decision, target: ActionTarget, error: &kube::Error) {
    let kube::Error::Api(status) = error else {
        return;
    };
    let is_invalid = status.is_invalid() || status.code == 400;
    if !is_invalid && !status.is_forbidden() {
        return;
    }
    let (kind, reason) = match target {
        ActionTarget::Claim { required: false } => return append(decision, &status.message),
        ActionTarget::Claim { required: true } if is_growth_refusal(&status.message) => {
            (ConditionType::StorageReady, Reason::ClaimTooSmall)
        }
        ActionTarget::Claim { required: true } => (ConditionType::StorageReady, Reason::ClaimPending),
        ActionTarget::Job(step) => {
            let reason = if is_invalid {
                Reason::InvalidSpec
            } else {
                Reason::PodRejected
            };
            let kind = match step {
                Step::Plan => ConditionType::SourceResolved,
                Step::Fetch => ConditionType::Fetched,
            };
            (kind, reason)
        }
        ActionTarget::ObsoleteJob => return,
    };
    let condition = Decided {
        kind,
        status: Status::False,
        reason,
        message: format!("the cluster refuses to {}: {}", target.what(), status.message),
    };
    match decision.conditions.iter_mut().find(|condition| condition.kind == kind) {
        Some(old) => *old = condition,
        None => decision.conditions.push(condition),
    }
    summarize(&mut decision.conditions);
}

/// The claim is large enough; the message still reports that it cannot grow.
fn append(decision: &mut Decision, message: &str) {
    let storage = decision
        .conditions
        .iter_mut()
        .find(|condition| condition.kind == ConditionType::StorageReady);
    if let Some(storage) = storage {
        storage.message.push_str("; the cluster refuses to change it: ");
        storage.message.push_str(message);
    }
    summarize(&mut decision.conditions);
}

/// Whether the class cannot expand volumes.
///
/// The admission plugin writes `only dynamically provisioned pvc can be resized and the storageclass that
/// provisions the pvc must support resize`.
fn is_growth_refusal(message: &str) -> bool {
    message.contains("resize")
}

#[cfg(test)]
mod tests {
    use kube::core::Status as ApiStatus;
    use pretty_assertions::assert_eq;

    use super::*;

    fn api_error(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(ApiStatus::failure(message, reason).with_code(code).boxed())
    }

    fn decision() -> Decision {
        let mut decision = Decision {
            conditions: ConditionType::FLOW
                .into_iter()
                .map(|kind| Decided {
                    kind,
                    status: Status::True,
                    reason: Reason::Pending,
                    message: "before".to_owned(),
                })
                .collect(),
            ..Decision::default()
        };
        summarize(&mut decision.conditions);
        decision
    }

    fn ready(decision: &Decision) -> (Status, Reason) {
        (decision.conditions[0].status, decision.conditions[0].reason)
    }

    #[test]
    fn a_refusal_stands_on_the_condition_of_its_step_and_on_ready() {
        for (target, code, reason, message, expected) in [
            (
                ActionTarget::Job(Step::Plan),
                403,
                "Forbidden",
                "exceeded quota",
                Reason::PodRejected,
            ),
            (
                ActionTarget::Job(Step::Fetch),
                403,
                "Forbidden",
                "exceeded quota",
                Reason::PodRejected,
            ),
            (
                ActionTarget::Job(Step::Fetch),
                422,
                "Invalid",
                "limits below requests",
                Reason::InvalidSpec,
            ),
            (
                ActionTarget::Claim { required: true },
                403,
                "Forbidden",
                "exceeded quota",
                Reason::ClaimPending,
            ),
            (
                ActionTarget::Claim { required: true },
                403,
                "Forbidden",
                "only dynamically provisioned pvc can be resized and the storageclass must support resize",
                Reason::ClaimTooSmall,
            ),
        ] {
            let mut decision = decision();
            explain(&mut decision, target, &api_error(code, reason, message));
            assert_eq!(ready(&decision), (Status::False, expected), "{target:?} {code}");
            assert!(decision.conditions[0].message.contains(message));
        }
    }

    #[test]
    fn a_claim_that_need_not_change_stays_ready_and_reports_the_refusal() {
        let mut decision = decision();
        let refusal = api_error(403, "Forbidden", "resize is not supported");
        explain(&mut decision, ActionTarget::Claim { required: false }, &refusal);
        assert_eq!(ready(&decision).0, Status::True);
        assert!(decision.conditions[3].message.ends_with("resize is not supported"));
    }

    #[test]
    fn an_api_server_that_fails_changes_no_condition() {
        let mut after = decision();
        explain(
            &mut after,
            ActionTarget::Job(Step::Plan),
            &api_error(503, "ServiceUnavailable", "later"),
        );
        assert_eq!(after, decision());
    }
}
