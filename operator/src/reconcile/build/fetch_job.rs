//! Builds the Job that fetches, verifies and publishes.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerPort, PersistentVolumeClaimVolumeSource, Volume, VolumeMount};
use modelcache_crds::fetch_defaults;
use modelcache_crds::model_cache::Resolved;
use modelcache_crds::names;

use super::pod::{self, DefaultResources, Program};
use super::{Attempt, job_metadata};
use crate::context::FetcherImage;
use crate::reconcile::facts::Step;
use crate::reconcile::source::{ClaimLayout, mirror_options};
use crate::reconcile::validate::ValidatedCache;

const MODELS_VOLUME: &str = "models";

const FETCH_RESOURCES: DefaultResources = DefaultResources {
    cpu_request: fetch_defaults::DEFAULT_CPU_REQUEST,
    memory_request: fetch_defaults::DEFAULT_MEMORY_REQUEST,
    memory_limit: fetch_defaults::DEFAULT_MEMORY_LIMIT,
};

/// The Job of one attempt to fetch.
pub(crate) fn fetch_job(
    cache: &ValidatedCache,
    resolved: &Resolved,
    image: &FetcherImage,
    attempt: Attempt<'_>,
) -> Job {
    Job {
        metadata: job_metadata(cache, Step::Fetch, attempt),
        spec: Some(pod::job_spec(
            cache,
            image,
            super::job_labels(cache, Step::Fetch, attempt),
            Program {
                args: args(cache, resolved),
                resources: cache
                    .transfer
                    .resources
                    .clone()
                    .unwrap_or_else(|| FETCH_RESOURCES.into()),
                ports: Some(vec![ContainerPort {
                    name: Some("http".to_owned()),
                    container_port: names::FETCHER_PORT,
                    ..ContainerPort::default()
                }]),
                volume: Some((volume(cache), mount(cache))),
            },
        )),
        status: None,
    }
}

fn args(cache: &ValidatedCache, resolved: &Resolved) -> Vec<String> {
    let mut args = vec![
        "fetch".to_owned(),
        cache.source.kind().address_at(&resolved.revision),
        names::MOUNT_PATH.to_owned(),
        format!("--expect-digest={}", resolved.digest),
        format!("--listen=0.0.0.0:{}", names::FETCHER_PORT),
    ];
    let transfer = &cache.transfer;
    let given = [
        ("connections", transfer.connections.map(i64::from)),
        ("parallel-files", transfer.parallel_files.map(i64::from)),
        ("max-bytes-per-second", transfer.max_bytes_per_second),
        ("stall-timeout", transfer.stall_timeout_seconds.map(i64::from)),
    ];
    args.extend(
        given
            .into_iter()
            .filter_map(|(option, value)| value.map(|value| format!("--{option}={value}"))),
    );
    if let ClaimLayout::HubCache { reference } = &cache.layout {
        // The fetch is of the commit; clients ask for the spec's revision.
        args.push("--layout=hugging-face-cache".to_owned());
        args.push(format!("--ref={reference}"));
    }
    args.extend(transfer.mirrors.iter().flat_map(mirror_options));
    args.extend(pod::selection(cache));
    args.extend(pod::reporting());
    args
}

fn volume(cache: &ValidatedCache) -> Volume {
    Volume {
        name: MODELS_VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: cache.claim.name().to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }
}

fn mount(cache: &ValidatedCache) -> VolumeMount {
    VolumeMount {
        name: MODELS_VOLUME.to_owned(),
        mount_path: names::MOUNT_PATH.to_owned(),
        sub_path: cache.claim.sub_path().map(str::to_owned),
        ..VolumeMount::default()
    }
}
