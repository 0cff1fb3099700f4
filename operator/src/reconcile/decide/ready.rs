//! The two summary conditions, `Ready` and `Stalled`.

use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};

/// Sets `Ready` and `Stalled` from the conditions of the flow, replacing their former values.
///
/// `Ready` is False, never Unknown, while anything is missing: a pod may not mount the claim yet. It repeats the reason
/// and message of the first condition of the flow that is not True; only a claim that waits for its first consumer
/// gives way to a fetcher that cannot start. `Stalled` is True when that reason is permanent.
pub fn summarize(conditions: &mut Vec<Decided>) {
    conditions.retain(|condition| !matches!(condition.kind, ConditionType::Ready | ConditionType::Stalled));
    let blocking = blocking(conditions).cloned();
    let ready = match &blocking {
        None => Decided {
            kind: ConditionType::Ready,
            status: Status::True,
            reason: Reason::Ready,
            message: conditions
                .iter()
                .find(|condition| condition.kind == ConditionType::Fetched)
                .map(|condition| condition.message.clone())
                .unwrap_or_default(),
        },
        Some(blocking) => Decided {
            kind: ConditionType::Ready,
            status: Status::False,
            reason: blocking.reason,
            message: blocking.message.clone(),
        },
    };
    let stalled = match blocking {
        Some(blocking) if blocking.reason.is_permanent() => Decided {
            kind: ConditionType::Stalled,
            status: Status::True,
            reason: blocking.reason,
            message: blocking.message,
        },
        Some(_) | None => Decided {
            kind: ConditionType::Stalled,
            status: Status::False,
            reason: Reason::Progressing,
            message: "no permanent fault".to_owned(),
        },
    };
    conditions.insert(0, ready);
    conditions.push(stalled);
}

fn blocking(conditions: &[Decided]) -> Option<&Decided> {
    let mut missing = ConditionType::FLOW
        .into_iter()
        .filter_map(|kind| conditions.iter().find(|condition| condition.kind == kind))
        .filter(|condition| condition.status != Status::True);
    let first = missing.next()?;
    match missing.next() {
        Some(next) if first.reason == Reason::WaitingForFirstConsumer && next.status == Status::False => Some(next),
        Some(_) | None => Some(first),
    }
}
