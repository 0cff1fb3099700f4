//! Every name that crosses the wire: group, labels, annotations, field managers, names of children.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// API group.
pub const GROUP: &str = "modelcache.dev";

/// Field manager of the children.
pub const FIELD_MANAGER: &str = "modelcache-operator";

/// Field manager of the status.
pub const STATUS_FIELD_MANAGER: &str = "modelcache-operator/status";

/// `reportingController` of events.
pub const EVENT_REPORTER: &str = "modelcache.dev/operator";

/// Name of the leader election Lease.
pub const LEASE_NAME: &str = "modelcache-operator";

/// Label on every child: the ModelCache's name, shortened where a label's 63 characters demand it.
pub const LABEL_CACHE: &str = "modelcache.dev/cache";

/// Label on every child: the ModelCache's uid, so that one deleted and made anew never adopts another's Job.
pub const LABEL_CACHE_UID: &str = "modelcache.dev/cache-uid";

/// Label on Jobs and pods: `plan` or `fetch`.
pub const LABEL_STEP: &str = "modelcache.dev/step";

/// Label on Jobs and pods: hash of all that the step's result depends on.
pub const LABEL_INPUTS: &str = "modelcache.dev/inputs";

/// Label on Jobs and pods: which attempt this is, from 1.
pub const LABEL_ATTEMPT: &str = "modelcache.dev/attempt";

/// Annotation on every child: the ModelCache's whole name.
pub const ANNOTATION_CACHE: &str = LABEL_CACHE;

/// Annotation a person changes to try again after a permanent failure.
pub const ANNOTATION_RETRY: &str = "modelcache.dev/retry";

/// Recommended labels, <https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>.
pub mod recommended {
    /// The product.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// One installation of it: here, one ModelCache.
    pub const INSTANCE: &str = "app.kubernetes.io/instance";
    /// Part played in it.
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    /// The larger thing it belongs to.
    pub const PART_OF: &str = "app.kubernetes.io/part-of";
    /// What manages it.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
}

/// Value of `app.kubernetes.io/managed-by` on every child; watches select on it.
pub const MANAGED_BY: &str = "modelcache-operator";

/// Value of `app.kubernetes.io/name` on every child.
pub const PRODUCT: &str = "modelcache";

/// Port of the fetcher's `/progress` and `/metrics`.
pub const FETCHER_PORT: i32 = 8080;

/// Where the claim is mounted in the fetcher.
pub const MOUNT_PATH: &str = "/models";

/// Where the claim of a source is mounted in the fetcher.
pub const SOURCE_MOUNT_PATH: &str = "/source";

/// Pointer in the claim to the published revision; what `status.path` names.
pub const CURRENT: &str = "current";

/// A label value, and a Job's name (its pods carry it as a label), holds this many characters.
const MAX_LABEL: usize = 63;

/// The text itself where it is a legal label value and short enough, else its beginning and a hash of the whole.
///
/// Two different texts never give the same value.
#[must_use]
pub fn label_value(text: &str) -> String {
    shortened(text, MAX_LABEL)
}

/// Name of the claim made for a ModelCache.
#[must_use]
pub fn claim_name(cache: &str) -> String {
    // A claim's name may have 253 characters, but provisioners put it into labels.
    shortened(cache, MAX_LABEL)
}

/// Name of the Job of one step, one set of inputs, one attempt; the same inputs give the same name, so
/// creating it twice is harmless.
#[must_use]
pub fn job_name(cache: &str, step: &str, inputs: &str, attempt: i32) -> String {
    let suffix = format!("-{step}-{inputs}-{attempt}");
    // Pods of a Job get five characters and a dash behind the Job's name.
    let prefix = shortened(cache, MAX_LABEL - 6 - suffix.len());
    format!("{prefix}{suffix}")
}

/// A short hash that names a set of inputs: ten hex digits of the sha256 of its JSON.
#[must_use]
pub fn inputs_hash<T: serde::Serialize>(inputs: &T) -> String {
    short_hash(&serde_json::to_vec(inputs).unwrap_or_default())
}

fn short_hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut hex = String::new();
    for byte in digest.iter().take(5) {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn shortened(text: &str, max: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' {
                c
            } else {
                '-'
            }
        })
        .collect();
    if clean == text && text.len() <= max {
        return text.to_owned();
    }
    let hash = short_hash(text.as_bytes());
    let stem: String = clean.chars().take(max - hash.len() - 1).collect();
    format!("{}-{hash}", stem.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_name_is_kept_as_it_is() {
        assert_eq!(label_value("llama-3"), "llama-3");
        assert_eq!(
            job_name("llama-3", "fetch", "0123456789", 2),
            "llama-3-fetch-0123456789-2"
        );
    }

    #[test]
    fn a_dotted_name_does_not_collide_with_its_dashed_twin() {
        assert_ne!(claim_name("llama-3.2"), claim_name("llama-3-2"));
    }

    proptest! {
        #[test]
        fn derived_names_are_legal_and_short_enough(name in "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", attempt in 1i32..1_000_000) {
            let job = job_name(&name, "fetch", "0123456789", attempt);
            prop_assert!(job.len() <= 57, "{job}");
            for derived in [job, label_value(&name), claim_name(&name)] {
                prop_assert!(derived.len() <= 63);
                prop_assert!(derived.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
                prop_assert!(!derived.starts_with('-') && !derived.ends_with('-'), "{derived}");
            }
        }
    }
}
