//! Condition types and reasons: closed sets, each with its meaning and what to do about it.
//!
//! [`merge`] updates `lastTransitionTime` only when the status of a condition changes. `crdgen` generates
//! `docs/conditions.md` from this file.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Type of a condition. `True` is the normal status of each except `Stalled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// Summary: the model is verified and published.
    Ready,
    /// The source is resolved to an immutable revision and its files are listed.
    SourceResolved,
    /// At least one node has the resources in `spec.requirements` free.
    CapacityAvailable,
    /// The claim exists and is large enough.
    StorageReady,
    /// All files are on the claim.
    Fetched,
    /// Every file has the digest that the source lists.
    Verified,
    /// A permanent fault blocks progress until something is changed; `False` is the normal status.
    Stalled,
}

impl ConditionType {
    /// Every type, in the order of `status.conditions`.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::SourceResolved,
        Self::CapacityAvailable,
        Self::StorageReady,
        Self::Fetched,
        Self::Verified,
        Self::Stalled,
    ];

    /// Types in the order of the steps; `Ready` repeats the reason of the first that is not True.
    pub const FLOW: [Self; 5] = [
        Self::SourceResolved,
        Self::CapacityAvailable,
        Self::StorageReady,
        Self::Fetched,
        Self::Verified,
    ];

    /// Value of the `type` field.
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

    /// Meaning of the type, for the documentation.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ready => {
                "Every file is verified against the digest of the source, durable, and published on the claim. \
                 If it is not True, it repeats the reason and message of the first condition below that is not True; \
                 a fetcher that cannot start takes precedence over `WaitingForFirstConsumer`."
            }
            Self::SourceResolved => "The source is resolved to an immutable revision and its files are listed.",
            Self::CapacityAvailable => {
                "At least one node that `spec.placement` allows has the resources in `spec.requirements` free."
            }
            Self::StorageReady => "The claim exists and is large enough for the listed files.",
            Self::Fetched => "All files of the resolved revision are on the claim.",
            Self::Verified => "Every file has the digest that the source lists.",
            Self::Stalled => {
                "A permanent fault blocks progress: the operator does not retry until the spec or the retry annotation \
                 changes, or the cause is removed. False is the normal status."
            }
        }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The condition holds.
    True,
    /// The condition does not hold, and something blocks it.
    False,
    /// Not known yet, or in progress.
    Unknown,
}

impl Status {
    /// Value of the `status` field.
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
        /// Reason for the status of a condition: a closed, documented set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Value of the `reason` field.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Whether the reason sets `Stalled=True`.
            #[must_use]
            pub const fn is_permanent(self) -> bool {
                match self { $(Self::$name => $permanent,)+ }
            }

            /// Types that can have this reason. `Ready` can also repeat any reason, and `Stalled` any permanent one.
            #[must_use]
            pub const fn conditions(self) -> &'static [ConditionType] {
                match self { $(Self::$name => &[$(ConditionType::$kind),+],)+ }
            }

            /// Meaning of the reason, for the documentation.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What to do about it, for the documentation.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

reasons! {
    Ready, false, [Ready], "The model is verified and published.", "Mount the claim `status.claimName`; the files are at `status.path`.";
    Pending, false, [SourceResolved, CapacityAvailable, StorageReady, Fetched, Verified], "An earlier step is not complete.", "No action needed. See the conditions above this one.";
    Resolving, false, [SourceResolved], "The plan Job is listing the source.", "No action needed.";
    Resolved, false, [SourceResolved], "The source is resolved to an immutable revision.", "No action needed.";
    RepositoryNotFound, true, [SourceResolved, Fetched], "The hub has no such repository, or the repository is private and no token is set.", "Correct `source`, or set `tokenSecretRef`.";
    RevisionNotFound, true, [SourceResolved, Fetched], "The repository has no such branch, tag or commit.", "Correct `revision`.";
    FileNotFound, true, [SourceResolved, Fetched], "The source lists a file that it does not serve.", "Report it to the owner of the model, or exclude the file in `files`.";
    AuthenticationFailed, true, [SourceResolved, Fetched], "The token is invalid or expired.", "Put a valid token into the Secret, then change the `modelcache.dev/retry` annotation.";
    AccessDenied, true, [SourceResolved, Fetched], "The model is gated or disabled, or the token does not grant access to it.", "Accept the license on the hub with the account of the token, then change the `modelcache.dev/retry` annotation.";
    SecretNotFound, false, [SourceResolved, Fetched], "The Secret that `source` refers to does not exist.", "Create the Secret. The fetcher then starts without further action.";
    SecretKeyNotFound, false, [SourceResolved, Fetched], "The Secret that `source` refers to does not have the key.", "Add the key, or correct `tokenSecretRef.key`. The fetcher then starts without further action.";
    NoFilesMatch, true, [SourceResolved, Fetched], "`files.include` and `files.exclude` select no file.", "Correct `files`.";
    InvalidListing, true, [SourceResolved, Fetched], "The listing has an unsafe or unusable entry: an absolute path, `..`, paths that differ only in case, or a file without a usable digest.", "Do not trust this source. If two paths differ only in case, exclude one of them in `files`.";
    SourceChanged, true, [Fetched], "The source now lists different content for the revision than when it was resolved.", "Do not trust this source, or resolve it again by changing the `modelcache.dev/retry` annotation.";
    SourceUnreachable, false, [SourceResolved, Fetched], "The source cannot be reached: DNS failure, connection refused, TLS failure or timeout.", "Check `endpoint` and the egress rules of the cluster. The next attempt starts at `status.attempts.nextAttemptTime`.";
    RateLimited, false, [SourceResolved, Fetched], "The source limits the rate of requests.", "No action needed; the operator retries. A token may raise the limit.";
    SourceError, false, [SourceResolved, Fetched], "The source returned a server error or an invalid response.", "See the message. The operator retries.";
    NotRequired, false, [CapacityAvailable], "`spec.requirements` is not set.", "No action needed.";
    CapacityFound, false, [CapacityAvailable], "At least one node has the required resources free.", "No action needed.";
    InsufficientMemory, false, [CapacityAvailable], "No considered node has enough free memory.", "Free or add memory, or lower `requirements.memory`. The check repeats when nodes or pods change.";
    InsufficientGpu, false, [CapacityAvailable], "No considered node has enough free GPUs.", "Free or add GPUs, or lower `requirements.gpu.count`. The check repeats when nodes or pods change.";
    InsufficientResources, false, [CapacityAvailable], "No considered node has enough of every required resource.", "Free or add resources, or lower `requirements`. The check repeats when nodes or pods change.";
    NoNodesMatch, false, [CapacityAvailable], "No schedulable node matches the node selector and tolerations of `placement`.", "Correct `placement`, or uncordon or label a node.";
    ClaimBound, false, [StorageReady], "The claim is bound and large enough.", "No action needed.";
    WaitingForFirstConsumer, false, [StorageReady], "The volume is provisioned when the fetcher pod is scheduled, as the StorageClass of the claim demands.", "No action needed.";
    ClaimPending, false, [StorageReady], "The claim has no volume yet, is being expanded, or is being deleted.", "See the message and `kubectl describe pvc`.";
    StorageClassNotFound, false, [StorageReady], "The StorageClass of the claim does not exist, or the cluster has no default StorageClass.", "Create the StorageClass, or create another ModelCache with an existing one.";
    ClaimNotFound, false, [SourceResolved, StorageReady, Fetched], "The claim in `storage.existingClaim` or `source.persistentVolumeClaim` does not exist.", "Create the claim. The operator then continues.";
    ClaimTooSmall, true, [StorageReady], "The claim is smaller than the listed files.", "Raise `storage.size`, expand the existing claim, or exclude files.";
    ClaimLost, true, [StorageReady], "The claim lost its volume.", "Delete the claim. The operator then creates another one.";
    ClaimNotOwned, true, [StorageReady], "A claim with the name that the operator would use exists and does not belong to this ModelCache.", "Create the ModelCache under another name, or set that claim in `storage.existingClaim`.";
    Fetching, false, [Fetched], "The fetch Job is running.", "No action needed. See `status.progress`.";
    Fetched, false, [Fetched], "All files are on the claim.", "No action needed.";
    DiskFull, false, [Fetched], "The volume is full.", "Free space or expand the volume. The operator retries and resumes the download.";
    StorageReadOnly, true, [Fetched], "The volume is not writable.", "Make the volume writable for the fetcher (`fsGroup`, access mode), then change the `modelcache.dev/retry` annotation.";
    StorageError, false, [Fetched], "A read from or a write to the volume failed.", "Check the volume. The operator retries.";
    StorageBusy, false, [StorageReady, Fetched], "Another ModelCache or another fetcher uses the same folder on the claim.", "Give each ModelCache its own claim or `subPath`.";
    Interrupted, false, [SourceResolved, Fetched], "The fetcher received SIGTERM.", "No action needed. The operator retries and resumes the download.";
    Killed, false, [SourceResolved, Fetched], "The fetcher ended without a report because it was killed or evicted.", "No action needed. The operator retries and resumes the download.";
    OutOfMemory, false, [SourceResolved, Fetched], "The fetcher exceeded its memory limit.", "Raise `fetch.resources.limits.memory`. The operator retries.";
    FetcherFailed, false, [SourceResolved, Fetched], "The fetcher failed with an error that has no reason of its own.", "Report it with the message. The operator retries.";
    InvalidSpec, true, [SourceResolved, Fetched], "The operator or the API server cannot apply the spec.", "Correct the spec as the message says.";
    ImagePullFailed, false, [SourceResolved, Fetched], "The fetcher image cannot be pulled.", "Correct the fetcher image or the pull Secret in the configuration of the operator. The kubelet retries.";
    Unschedulable, false, [SourceResolved, Fetched], "No node accepts the fetcher pod.", "See the message. Correct `placement`, or free resources.";
    FetcherStarting, false, [SourceResolved, Fetched], "The fetcher pod is starting.", "No action needed. If it does not start, see `kubectl describe pod`.";
    PodRejected, false, [SourceResolved, Fetched], "The API server rejected the fetcher pod or its Job because of a quota or an admission policy.", "See the message. The operator retries.";
    DigestsMatch, false, [Verified], "Every file has the listed digest.", "No action needed.";
    NotYetVerified, false, [Verified], "Files are hashed as they arrive, and some have not arrived.", "No action needed.";
    DigestMismatch, true, [Verified], "The downloaded data does not match the listed digest, even after downloading it again.", "Use another endpoint, or report it to the provider of the source. Then change the `modelcache.dev/retry` annotation.";
    InvalidFormat, true, [Verified, SourceResolved], "The files have the listed digests but are not a complete model: weights are truncated or damaged, or a shard is missing.", "Correct `source.revision` or `files`, or report it to the owner of the model. If the engine can read the files, set `files.formatCheck: Warn`.";
    Progressing, false, [Stalled], "No permanent fault blocks progress.", "No action needed.";
}

/// A condition before it is merged with the one in status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Type of the condition.
    pub kind: ConditionType,
    /// Status of the condition.
    pub status: Status,
    /// Reason for the status.
    pub reason: Reason,
    /// Human-readable message: the current activity, or what blocks it and what to do.
    pub message: String,
}

/// Merges conditions with those in status: `lastTransitionTime` is kept unless the status changes.
///
/// The result has one condition for each in `decided`, in the order of [`ConditionType::ALL`].
#[must_use]
pub fn merge(previous: &[Condition], decided: &[Decided], generation: i64, now: &Time) -> Vec<Condition> {
    let mut sorted: Vec<&Decided> = decided.iter().collect();
    sorted.sort_by_key(|condition| condition.kind);
    sorted
        .into_iter()
        .map(|new| {
            let unchanged_since = previous
                .iter()
                .find(|old| old.type_ == new.kind.as_str() && old.status == new.status.as_str())
                .map(|old| old.last_transition_time.clone());
            Condition {
                type_: new.kind.as_str().to_owned(),
                status: new.status.as_str().to_owned(),
                reason: new.reason.as_str().to_owned(),
                message: new.message.clone(),
                observed_generation: Some(generation),
                last_transition_time: unchanged_since.unwrap_or_else(|| now.clone()),
            }
        })
        .collect()
}

/// Renders the reference page of all conditions and reasons as Markdown.
#[must_use]
pub fn documentation() -> String {
    let mut page = String::from(
        "# Conditions and reasons\n\n\
         <!-- Generated by `crdgen` from crds/src/conditions.rs: `make generate`. -->\n\n\
         Every condition is set on the first reconcile. Its `observedGeneration` is the generation it was computed from, and\n\
         its `lastTransitionTime` changes only when its status changes. To wait for the model, run\n\
         `kubectl wait --for=condition=Ready mc/NAME`.\n\n\
         A permanent fault sets `Stalled=True`. After any other fault the operator retries without limit, with exponential\n\
         backoff; `status.attempts` shows the next attempt. To retry at once, or after a permanent fault whose cause is\n\
         outside the spec, change the retry annotation:\n\n\
         ```\nkubectl annotate mc NAME modelcache.dev/retry=\"$(date +%s)\" --overwrite\n```\n\n\
         | Condition | Meaning |\n|---|---|\n",
    );
    for kind in ConditionType::ALL {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(page, "| `{}` | {} |", kind.as_str(), kind.meaning());
    }
    page.push_str("\n| Reason | Conditions | Permanent | Meaning | What to do |\n|---|---|---|---|---|\n");
    for reason in Reason::ALL {
        let conditions: Vec<String> = reason
            .conditions()
            .iter()
            .map(|kind| format!("`{}`", kind.as_str()))
            .collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            reason.as_str(),
            conditions.join(", "),
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
    fn last_transition_time_changes_only_with_the_status() {
        let first = merge(&[], &[ready(Status::False, "a")], 1, &at(10));
        let same = merge(&first, &[ready(Status::False, "b")], 2, &at(20));
        assert_eq!(same[0].last_transition_time, at(10));
        assert_eq!(same[0].message, "b");
        assert_eq!(same[0].observed_generation, Some(2));
        let changed = merge(&same, &[ready(Status::True, "b")], 2, &at(30));
        assert_eq!(changed[0].last_transition_time, at(30));
    }

    #[test]
    fn every_reason_has_a_condition_a_meaning_and_a_remedy() {
        for reason in Reason::ALL {
            assert!(!reason.conditions().is_empty(), "{reason:?}");
            assert!(
                !reason.meaning().is_empty() && !reason.remedy().is_empty(),
                "{reason:?}"
            );
        }
    }
}
