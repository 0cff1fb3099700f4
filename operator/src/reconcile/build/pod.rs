//! Builds what both Jobs share: a pod within the restricted Pod Security Standard, and common options.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, LocalObjectReference, PersistentVolumeClaimVolumeSource,
    PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use modelcache_crds::model_cache::FormatCheck;
use modelcache_crds::names;
use modelcache_crds::report::TERMINATION_MESSAGE_PATH;

use crate::context::FetcherImage;
use crate::reconcile::validate::ValidatedCache;

/// The user `nonroot` of distroless images.
const FETCHER_USER_ID: i64 = 65532;

/// Time for the fetcher to flush its bytes and to report.
const TERMINATION_GRACE_SECS: i64 = 30;

/// Volume of a source that is a claim.
const SOURCE_VOLUME: &str = "source";

/// The differences between the two Jobs.
pub(super) struct Program {
    pub(super) args: Vec<String>,
    pub(super) resources: ResourceRequirements,
    pub(super) ports: Option<Vec<ContainerPort>>,
    pub(super) volume: Option<(Volume, VolumeMount)>,
}

/// The spec of a Job with one pod and no retries: the operator counts, spaces and shows attempts.
pub(super) fn job_spec(
    cache: &ValidatedCache,
    image: &FetcherImage,
    labels: BTreeMap<String, String>,
    program: Program,
) -> JobSpec {
    JobSpec {
        backoff_limit: Some(0),
        // The Job replaces a drained or evicted pod; that is not a failed attempt.
        pod_failure_policy: Some(PodFailurePolicy {
            rules: vec![PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_exit_codes: None,
                on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                    type_: "DisruptionTarget".to_owned(),
                    status: "True".to_owned(),
                }]),
            }],
        }),
        // One writer: the replacement waits until the former pod has ended.
        pod_replacement_policy: Some("Failed".to_owned()),
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels),
                annotations: Some(super::annotations(cache)),
                ..ObjectMeta::default()
            }),
            spec: Some(pod_spec(cache, image, program)),
        },
        ..JobSpec::default()
    }
}

fn pod_spec(cache: &ValidatedCache, image: &FetcherImage, program: Program) -> PodSpec {
    let access = cache.source.kind().access();
    let (volumes, mounts) = volumes(access.claim.as_deref(), program.volume);
    let placement = &cache.placement;
    let environment: Vec<EnvVar> = access.variables.iter().map(EnvVar::from).collect();
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(TERMINATION_GRACE_SECS),
        // A cloud role's token is mounted by the cluster.
        automount_service_account_token: Some(false),
        service_account_name: access.service_account,
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(FETCHER_USER_ID),
            run_as_group: Some(FETCHER_USER_ID),
            fs_group: Some(FETCHER_USER_ID),
            // Changing the group of every file of a large model takes minutes.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        node_selector: (!placement.node_selector.is_empty()).then(|| placement.node_selector.clone()),
        tolerations: (!placement.tolerations.is_empty()).then(|| placement.tolerations.clone()),
        image_pull_secrets: (!image.pull_secrets.is_empty()).then(|| {
            let secrets = image.pull_secrets.iter();
            secrets
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect()
        }),
        containers: vec![Container {
            name: names::FETCHER_CONTAINER.to_owned(),
            image: Some(image.image.clone()),
            image_pull_policy: image.pull_policy.clone(),
            args: Some(program.args),
            env: (!environment.is_empty()).then_some(environment),
            resources: Some(program.resources),
            ports: program.ports,
            volume_mounts: (!mounts.is_empty()).then_some(mounts),
            termination_message_path: Some(TERMINATION_MESSAGE_PATH.to_owned()),
            // A fetcher that dies without a report leaves the end of its log.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                run_as_non_root: Some(true),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".to_owned()]),
                    add: None,
                }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }],
        volumes: (!volumes.is_empty()).then_some(volumes),
        ..PodSpec::default()
    }
}

/// The volume to write to, if any, and a source claim, read-only.
///
/// The same claim becomes one volume: the kubelet cannot mount two volumes of one claim in a pod.
fn volumes(source: Option<&str>, written: Option<(Volume, VolumeMount)>) -> (Vec<Volume>, Vec<VolumeMount>) {
    let (mut volumes, mut mounts): (Vec<_>, Vec<_>) = written.into_iter().unzip();
    let Some(claim) = source else {
        return (volumes, mounts);
    };
    let is_claim = |volume: &&Volume| {
        let mounted = volume.persistent_volume_claim.as_ref();
        mounted.is_some_and(|mounted| mounted.claim_name == claim)
    };
    let name = if let Some(volume) = volumes.iter().find(is_claim) {
        volume.name.clone()
    } else {
        volumes.push(Volume {
            name: SOURCE_VOLUME.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.to_owned(),
                read_only: Some(true),
            }),
            ..Volume::default()
        });
        SOURCE_VOLUME.to_owned()
    };
    mounts.push(VolumeMount {
        name,
        mount_path: names::SOURCE_MOUNT_PATH.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    (volumes, mounts)
}

/// Default resources of a container. CPU has no limit, because hashing bounds a fast fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct DefaultResources {
    pub(super) cpu_request: &'static str,
    pub(super) memory_request: &'static str,
    pub(super) memory_limit: &'static str,
}

impl From<DefaultResources> for ResourceRequirements {
    fn from(resources: DefaultResources) -> Self {
        let amounts = |amounts: &[(&str, &str)]| {
            amounts
                .iter()
                .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())))
                .collect()
        };
        Self {
            requests: Some(amounts(&[
                ("cpu", resources.cpu_request),
                ("memory", resources.memory_request),
            ])),
            limits: Some(amounts(&[("memory", resources.memory_limit)])),
            claims: None,
        }
    }
}

/// Options of the source and the selected files.
///
/// As `--option=value`, so that no value reads as an option.
pub(super) fn selection(cache: &ValidatedCache) -> Vec<String> {
    let mut options = Vec::new();
    options.extend(cache.source.kind().options());
    options.extend(cache.files.include.iter().map(|pattern| format!("--include={pattern}")));
    if let Some(exclude) = &cache.files.exclude {
        options.push("--no-default-exclude".to_owned());
        options.extend(exclude.iter().map(|pattern| format!("--exclude={pattern}")));
    }
    if cache.files.format_check == Some(FormatCheck::Warn) {
        options.push("--format-check=warn".to_owned());
    }
    options
}

/// Options for the report and the log.
pub(super) fn reporting() -> [String; 2] {
    [
        format!("--termination-log={TERMINATION_MESSAGE_PATH}"),
        "--log-format=json".to_owned(),
    ]
}
