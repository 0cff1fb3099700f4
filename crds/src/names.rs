//! Names in the Kubernetes API: group, labels, annotations, field managers and the names of created objects.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// API group.
pub const GROUP: &str = "modelcache.dev";

/// Field manager of created objects.
pub const FIELD_MANAGER: &str = "modelcache-operator";

/// Field manager of the status.
pub const STATUS_FIELD_MANAGER: &str = "modelcache-operator/status";

/// `reportingController` of events.
pub const EVENT_REPORTER: &str = "modelcache.dev/operator";

/// Name of the leader election Lease.
pub const LEASE_NAME: &str = "modelcache-operator";

/// Name of the fetcher's container, by which its status is found beside injected sidecars.
pub const FETCHER_CONTAINER: &str = "fetcher";

/// Label on every created object: name of the ModelCache, shortened to 63 characters by [`label_value`].
pub const LABEL_CACHE: &str = "modelcache.dev/cache";

/// Label on every created object: UID of the ModelCache, so that a recreated ModelCache does not adopt the Jobs of its
/// predecessor.
pub const LABEL_CACHE_UID: &str = "modelcache.dev/cache-uid";

/// Label on Jobs and pods: `plan` or `fetch`.
pub const LABEL_STEP: &str = "modelcache.dev/step";

/// Label on Jobs and pods: hash of everything the result of the step depends on.
pub const LABEL_INPUTS: &str = "modelcache.dev/inputs";

/// Label on Jobs and pods: number of the attempt, from 1.
pub const LABEL_ATTEMPT: &str = "modelcache.dev/attempt";

/// Annotation on every created object: full name of the ModelCache.
pub const ANNOTATION_CACHE: &str = LABEL_CACHE;

/// Annotation on a ModelCache; changing its value retries at once, also after a permanent failure.
pub const ANNOTATION_RETRY: &str = "modelcache.dev/retry";

/// Recommended labels, <https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>.
pub mod recommended {
    /// Name of the product.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// Instance of the product: here, one ModelCache.
    pub const INSTANCE: &str = "app.kubernetes.io/instance";
    /// Component within the product.
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    /// Product that the component is part of.
    pub const PART_OF: &str = "app.kubernetes.io/part-of";
    /// Tool that manages the object.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
}

/// Value of `app.kubernetes.io/managed-by` on every created object; watches select on it.
pub const MANAGED_BY: &str = "modelcache-operator";

/// Value of `app.kubernetes.io/name` on every created object.
pub const PRODUCT: &str = "modelcache";

/// Port on which the fetcher serves `/progress` and `/metrics`.
pub const FETCHER_PORT: i32 = 8080;

/// Mount path of the claim in the fetcher.
pub const MOUNT_PATH: &str = "/models";

/// Mount path of a source claim in the fetcher.
pub const SOURCE_MOUNT_PATH: &str = "/source";

/// Symbolic link on the claim to the published revision; last component of `status.path`.
pub const CURRENT: &str = "current";

/// Most characters of a label value, and of a Job name, which is a label of its pods.
const MAX_LABEL_LENGTH: usize = 63;

/// Label value for a text: the text itself if it is valid and short enough, else a prefix and a hash of it.
///
/// Different texts get different values.
#[must_use]
pub fn label_value(text: &str) -> String {
    shortened(text, MAX_LABEL_LENGTH)
}

/// Name of the claim that is created for a ModelCache.
#[must_use]
pub fn claim_name(cache: &str) -> String {
    // A claim name can have 253 characters, but provisioners use it as a label value.
    shortened(cache, MAX_LABEL_LENGTH)
}

/// Name of the Job for one step, one set of inputs and one attempt.
///
/// It is deterministic, so a second create fails with a conflict instead of starting a second Job.
#[must_use]
pub fn job_name(cache: &str, step: &str, inputs: &str, attempt: i32) -> String {
    let suffix = format!("-{step}-{inputs}-{attempt}");
    // The name of a pod is the name of its Job, a dash and five characters.
    let prefix = shortened(cache, MAX_LABEL_LENGTH - 6 - suffix.len());
    format!("{prefix}{suffix}")
}

/// Short hash of a set of inputs: the first ten hex digits of the SHA-256 of its JSON.
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
    fn a_short_valid_name_is_unchanged() {
        assert_eq!(label_value("llama-3"), "llama-3");
        assert_eq!(
            job_name("llama-3", "fetch", "0123456789", 2),
            "llama-3-fetch-0123456789-2"
        );
    }

    #[test]
    fn a_dotted_name_does_not_collide_with_the_same_name_in_dashes() {
        assert_ne!(claim_name("llama-3.2"), claim_name("llama-3-2"));
    }

    proptest! {
        #[test]
        fn derived_names_are_valid_and_short_enough(name in "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", attempt in 1i32..1_000_000) {
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
