//! The closed sets of condition types and reasons, what each means and what a person can do, and the one
//! rule that a condition's `lastTransitionTime` moves only when its status flips.
//!
//! `docs/conditions.md` is generated from this file by `crdgen`.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// State of a ModelCache, by aspect. All positive but `Stalled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// Summary: every byte proven and published.
    Ready,
    /// The source is resolved to an immutable revision and listed.
    SourceResolved,
    /// A node has what `spec.requirements` ask for.
    CapacityAvailable,
    /// The claim is there and large enough.
    StorageReady,
    /// Every byte is on the claim.
    Fetched,
    /// Every file has the digest the source lists.
    Verified,
    /// Abnormal-true: a permanent fault; nothing happens until somebody changes something.
    Stalled,
}

impl ConditionType {
    /// Every type, in the order they stand in status.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::SourceResolved,
        Self::CapacityAvailable,
        Self::StorageReady,
        Self::Fetched,
        Self::Verified,
        Self::Stalled,
    ];

    /// The aspects in the order of the flow; `Ready` repeats the reason of the first that is not True.
    pub const FLOW: [Self; 5] = [
        Self::SourceResolved,
        Self::CapacityAvailable,
        Self::StorageReady,
        Self::Fetched,
        Self::Verified,
    ];

    /// The type as it stands in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::SourceResolved => "SourceResolved",
            Self::CapacityAvailable => "CapacityAvailable",
            Self::StorageReady => "StorageReady",
            Self::Fetched => "Fetched",
            Self::Verified => "Verified",
            Self::Stalled => "Stalled",
        }
    }

    /// One sentence for the documentation.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ready => {
                "Every file is proven against the source's digests, durable, and published on the claim. \
                 While it is not True it repeats the reason and message of the first condition below that is not True; \
                 only a claim that waits for its first consumer gives way to a fetcher that cannot start."
            }
            Self::SourceResolved => "The source is resolved to an immutable revision, and its files are listed.",
            Self::CapacityAvailable => "At least one node that placement allows has what spec.requirements ask for.",
            Self::StorageReady => "The claim is there and large enough for the listed files.",
            Self::Fetched => "Every byte of the resolved revision is on the claim.",
            Self::Verified => "Every file has the digest that the source lists.",
            Self::Stalled => {
                "True only for a permanent fault: nothing happens until somebody changes something. \
                 This is the one condition that is good when False."
            }
        }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold, and something is in the way.
    False,
    /// Not known yet, or being worked on.
    Unknown,
}

impl Status {
    /// The status as it stands in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

macro_rules! reasons {
    ($($name:ident, $permanent:literal, [$($kind:ident),+], $meaning:literal, $remedy:literal;)+) => {
        /// Why a condition has its status: a closed, documented set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The reason as it stands in status.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Whether it comes with `Stalled=True`.
            #[must_use]
            pub const fn is_permanent(self) -> bool {
                match self { $(Self::$name => $permanent,)+ }
            }

            /// Conditions it can stand on, beside `Ready`, which repeats any of them, and `Stalled`, which repeats the permanent ones.
            #[must_use]
            pub const fn conditions(self) -> &'static [ConditionType] {
                match self { $(Self::$name => &[$(ConditionType::$kind),+],)+ }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What a person can do.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

reasons! {
    Ready, false, [Ready], "The model is proven and published.", "Mount `status.claimName` at `status.path`.";
    Pending, false, [SourceResolved, CapacityAvailable, StorageReady, Fetched, Verified], "An earlier step has to be done first.", "Nothing; see the conditions above it.";
    Resolving, false, [SourceResolved], "The plan Job lists the source.", "Nothing.";
    Resolved, false, [SourceResolved], "The source is resolved to an immutable revision.", "Nothing.";
    RepositoryNotFound, true, [SourceResolved, Fetched], "The hub has no such repository, or it is private and no token was given.", "Correct `source`, or give `tokenSecretRef`.";
    RevisionNotFound, true, [SourceResolved, Fetched], "The repository has no such branch, tag or commit.", "Correct `revision`.";
    FileNotFound, true, [SourceResolved, Fetched], "A file that the hub lists is not there.", "Report it to the model's owner, or exclude the file.";
    AuthenticationFailed, true, [SourceResolved, Fetched], "The token is wrong or expired.", "Put a valid token into the Secret, then change the `modelcache.dev/retry` annotation.";
    AccessDenied, true, [SourceResolved, Fetched], "The model is gated or disabled, or the token may not read it.", "Accept the licence on the hub with the token's account, then change the `modelcache.dev/retry` annotation.";
    SecretNotFound, false, [SourceResolved, Fetched], "The Secret that `tokenSecretRef` names does not exist.", "Create it; the fetcher starts by itself.";
    SecretKeyNotFound, false, [SourceResolved, Fetched], "The Secret that `tokenSecretRef` names has no such key.", "Add the key or correct `tokenSecretRef.key`; the fetcher starts by itself.";
    NoFilesMatch, true, [SourceResolved, Fetched], "Include and exclude leave no file.", "Correct `files`.";
    InvalidListing, true, [SourceResolved, Fetched], "The listing holds what must not be written (absolute paths, `..`, case collisions, unusable digests).", "Do not trust this source; report it.";
    SourceChanged, true, [Fetched], "The source lists other bytes for the same revision than were planned.", "Do not trust this source, or plan anew by changing the `modelcache.dev/retry` annotation.";
    SourceUnreachable, false, [SourceResolved, Fetched], "The source cannot be reached: DNS, refused connection, TLS, timeout.", "Check `endpoint` and the cluster's egress; it is tried again at `status.attempts.nextAttemptTime`.";
    RateLimited, false, [SourceResolved, Fetched], "The source asks for fewer requests.", "Nothing, or give a token with a higher quota; it is tried again.";
    SourceError, false, [SourceResolved, Fetched], "The source answers with errors, or against its protocol.", "Look at the message; it is tried again.";
    NotRequired, false, [CapacityAvailable], "`spec.requirements` is not given.", "Nothing.";
    CapacityFound, false, [CapacityAvailable], "A node has what is asked for.", "Nothing.";
    InsufficientMemory, false, [CapacityAvailable], "No considered node has enough free memory.", "Free or add memory, or lower `requirements.memory`; it is checked again when nodes or pods change.";
    InsufficientGpu, false, [CapacityAvailable], "No considered node has enough free GPUs.", "Free or add GPUs, or lower `requirements.gpu.count`; it is checked again when nodes or pods change.";
    InsufficientResources, false, [CapacityAvailable], "Each resource is free somewhere or nowhere, but no one node has all of them.", "Free or add resources, or lower `requirements`; it is checked again when nodes or pods change.";
    NoNodesMatch, false, [CapacityAvailable], "No schedulable node has the labels and tolerated taints that `placement` asks for.", "Correct `placement`, or uncordon or label a node.";
    ClaimBound, false, [StorageReady], "The claim is bound and large enough.", "Nothing.";
    WaitingForFirstConsumer, false, [StorageReady], "The claim's class makes the volume when the fetcher is scheduled.", "Nothing.";
    ClaimPending, false, [StorageReady], "The claim waits for its volume.", "Nothing, or see `kubectl describe pvc`.";
    StorageClassNotFound, false, [StorageReady], "The claim's StorageClass does not exist, or there is no default class.", "Create the class, or make another ModelCache that names an existing one.";
    ClaimNotFound, false, [SourceResolved, StorageReady, Fetched], "`storage.existingClaim`, or `source.persistentVolumeClaim`, names a claim that does not exist.", "Create it; it is looked for again.";
    ClaimTooSmall, true, [StorageReady], "The claim is smaller than the listed files.", "Raise `storage.size`, expand the existing claim, or exclude files.";
    ClaimLost, true, [StorageReady], "The claim lost its volume.", "Delete the claim so that it is made anew.";
    ClaimNotOwned, true, [StorageReady], "A claim of the name we would use is there and is not ours.", "Rename this ModelCache, or name the claim in `storage.existingClaim`.";
    Fetching, false, [Fetched], "The fetch Job runs.", "Nothing; see `status.progress`.";
    Fetched, false, [Fetched], "Every byte is on the claim.", "Nothing.";
    DiskFull, false, [Fetched], "The volume is full.", "Free or add room; it is tried again and continues where it stopped.";
    StorageReadOnly, true, [Fetched], "The volume cannot be written.", "Make the volume writable for the fetcher (fsGroup, access mode), then change the `modelcache.dev/retry` annotation.";
    StorageError, false, [Fetched], "The volume failed to read or write.", "Check the volume; it is tried again.";
    StorageBusy, false, [StorageReady, Fetched], "Another ModelCache, or another fetcher, works in the same folder.", "Give each ModelCache its own claim or `subPath`.";
    Interrupted, false, [SourceResolved, Fetched], "The fetcher was asked to stop.", "Nothing; it continues where it stopped.";
    Killed, false, [SourceResolved, Fetched], "The fetcher ended without a report: killed or evicted.", "Nothing; it continues where it stopped.";
    OutOfMemory, false, [SourceResolved, Fetched], "The fetcher reached its memory limit.", "Raise `fetch.resources.limits.memory`.";
    FetcherFailed, false, [SourceResolved, Fetched], "The fetcher failed in a way it has no class for.", "Report it with the message; it is tried again.";
    InvalidSpec, true, [SourceResolved, Fetched], "The spec asks for something the operator cannot do.", "Correct the spec as the message says.";
    ImagePullFailed, false, [SourceResolved, Fetched], "The fetcher's image cannot be pulled.", "Correct the operator's fetcher image or its pull secret; the kubelet keeps trying.";
    Unschedulable, false, [SourceResolved, Fetched], "No node takes the fetcher's pod.", "See the message: correct `placement`, or free resources.";
    FetcherStarting, false, [SourceResolved, Fetched], "The fetcher's pod is being started.", "Nothing, or see `kubectl describe pod`.";
    PodRejected, false, [SourceResolved, Fetched], "The cluster refused to create the fetcher's pod: a quota, or admission.", "See the message; it is tried again.";
    DigestsMatch, false, [Verified], "Every file has the listed digest.", "Nothing.";
    NotYetVerified, false, [Verified], "Files are hashed as they arrive; not all have arrived.", "Nothing.";
    DigestMismatch, true, [Verified], "The source's bytes are not the ones it lists, also when fetched again.", "Use another endpoint, or report it; then change the `modelcache.dev/retry` annotation.";
    InvalidFormat, true, [Verified, SourceResolved], "The files are those that the source lists, and are no whole model: weights are cut short or damaged, or a shard is missing.", "Correct `source.revision` or `files`, report it to the model's owner, or set `files.formatCheck: Warn` if an engine reads it all the same.";
    Progressing, false, [Stalled], "No permanent fault.", "Nothing.";
}

/// A condition as decided, before it is merged with what stood in status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Which aspect.
    pub kind: ConditionType,
    /// Its state.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// For people: what happens or what is in the way, with what to do.
    pub message: String,
}

/// Merges decided conditions with those in status: `lastTransitionTime` is kept unless the status flips.
///
/// The result holds one condition per decided one, in the order of [`ConditionType::ALL`].
#[must_use]
pub fn merge(previous: &[Condition], decided: &[Decided], generation: i64, now: &Time) -> Vec<Condition> {
    let mut sorted: Vec<&Decided> = decided.iter().collect();
    sorted.sort_by_key(|condition| condition.kind);
    sorted
        .into_iter()
        .map(|new| {
            let unflipped = previous
                .iter()
                .find(|old| old.type_ == new.kind.as_str() && old.status == new.status.as_str())
                .map(|old| old.last_transition_time.clone());
            Condition {
                type_: new.kind.as_str().to_owned(),
                status: new.status.as_str().to_owned(),
                reason: new.reason.as_str().to_owned(),
                message: new.message.clone(),
                observed_generation: Some(generation),
                last_transition_time: unflipped.unwrap_or_else(|| now.clone()),
            }
        })
        .collect()
}

/// The reference page of all conditions and reasons.
#[must_use]
pub fn documentation() -> String {
    let mut page = String::from(
        "# Conditions and reasons\n\n\
         <!-- Generated by `crdgen` from crds/src/conditions.rs: `make generate`. -->\n\n\
         Every condition is set on the first visit, carries the `observedGeneration` it speaks of, and moves its\n\
         `lastTransitionTime` only when its status flips. `kubectl wait --for=condition=Ready mc/NAME` waits for the model.\n\
         A permanent fault sets `Stalled=True`; every other fault is tried again for ever, with growing pauses that\n\
         `status.attempts` shows. To try again at once, and after a permanent fault whose cause is outside the spec:\n\n\
         ```\nkubectl annotate mc NAME modelcache.dev/retry=\"$(date +%s)\" --overwrite\n```\n\n\
         | Condition | Meaning |\n|---|---|\n",
    );
    for kind in ConditionType::ALL {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(page, "| `{}` | {} |", kind.as_str(), kind.meaning());
    }
    page.push_str("\n| Reason | On | Permanent | Meaning | What to do |\n|---|---|---|---|---|\n");
    for reason in Reason::ALL {
        let on: Vec<String> = reason
            .conditions()
            .iter()
            .map(|kind| format!("`{}`", kind.as_str()))
            .collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            reason.as_str(),
            on.join(", "),
            if reason.is_permanent() { "yes" } else { "no" },
            reason.meaning(),
            reason.remedy(),
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use pretty_assertions::assert_eq;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn ready(status: Status, message: &str) -> Decided {
        Decided {
            kind: ConditionType::Ready,
            status,
            reason: Reason::Pending,
            message: message.to_owned(),
        }
    }

    #[test]
    fn last_transition_time_moves_only_on_a_flip() {
        let first = merge(&[], &[ready(Status::False, "a")], 1, &at(10));
        let same = merge(&first, &[ready(Status::False, "b")], 2, &at(20));
        assert_eq!(same[0].last_transition_time, at(10));
        assert_eq!(same[0].message, "b");
        assert_eq!(same[0].observed_generation, Some(2));
        let flipped = merge(&same, &[ready(Status::True, "b")], 2, &at(30));
        assert_eq!(flipped[0].last_transition_time, at(30));
    }

    #[test]
    fn only_permanent_reasons_are_told_as_permanent_and_each_stands_somewhere() {
        for reason in Reason::ALL {
            assert!(!reason.conditions().is_empty(), "{reason:?}");
            assert!(
                !reason.meaning().is_empty() && !reason.remedy().is_empty(),
                "{reason:?}"
            );
        }
    }
}
