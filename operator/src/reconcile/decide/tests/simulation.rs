//! The cluster, as far as decisions see it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use modelcache_crds::conditions::ConditionType;
use modelcache_crds::report::{Failed, FailureClass, OriginReport, Planned, Published, Report};
use modelcache_crds::{ModelCache, ModelCacheStatus, names};
use serde_json::{Value, json};

use crate::capacity::NodeFacts;
use crate::cluster_view::ClusterCapacity;
use crate::context::FetcherImage;
use crate::reconcile::decide::{Action, Decision, Input, decide};
use crate::reconcile::facts::{
    BindingMode, ClaimFacts, ClaimPhase, ClassFacts, FetcherPod, JobFacts, JobState, Observation, PodEnd, PodPhase,
    Step,
};
use crate::reconcile::status;
use crate::reconcile::validate::{ValidatedCache, validate};

pub(super) const BYTES: i64 = 90_000_000;

pub(super) fn model_cache(spec: &Value) -> ModelCache {
    serde_json::from_value(json!({
        "apiVersion": "modelcache.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": { "name": "llama", "namespace": "demo", "uid": "uid-1", "generation": 1 },
        "spec": spec,
    }))
    .unwrap()
}

pub(super) fn simple_spec(revision: &str) -> Value {
    json!({ "source": { "huggingFace": { "repo": "org/llama", "revision": revision } } })
}

pub(super) fn image() -> FetcherImage {
    FetcherImage {
        image: "modelcache.dev/fetcher:test".to_owned(),
        pull_policy: None,
        pull_secrets: Vec::new(),
    }
}

pub(super) fn failure(class: FailureClass) -> Report {
    Report::Failed(Failed {
        class,
        message: format!("it failed with {class}"),
        file: Some("model.safetensors".to_owned()),
        offset: Some(7),
        retry_after_seconds: None,
        origins: Vec::new(),
    })
}

/// One ModelCache in a cluster of one namespace.
pub(super) struct Simulation {
    pub(super) cache: ValidatedCache,
    pub(super) status: ModelCacheStatus,
    pub(super) observed: Observation,
    pub(super) now: Timestamp,
    pub(super) image: FetcherImage,
    /// Revision that is listed and fetched, by Job.
    programs: BTreeMap<String, String>,
    /// What `current` leads to, by the claim's uid.
    pub(super) content: BTreeMap<String, String>,
    /// Whether the Job controller is slow to notice how pods end.
    pub(super) is_lagging: bool,
    /// Pods that ran to publication.
    pub(super) publications: usize,
    uids: usize,
}

impl Simulation {
    pub(super) fn new(spec: &Value) -> Self {
        let mut simulation = Self {
            cache: validate(&model_cache(spec)).unwrap(),
            status: ModelCacheStatus::default(),
            observed: Observation::default(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            image: image(),
            programs: BTreeMap::new(),
            content: BTreeMap::new(),
            is_lagging: false,
            publications: 0,
            uids: 0,
        };
        simulation.observed.classes = vec![ClassFacts {
            name: "standard".to_owned(),
            is_default: true,
            binding: BindingMode::WaitForFirstConsumer,
        }];
        simulation
    }

    pub(super) fn with_nodes(mut self, nodes: Vec<NodeFacts>) -> Self {
        self.observed.capacity = ClusterCapacity::of_idle_nodes(nodes);
        self
    }

    pub(super) fn change_spec(&mut self, spec: &Value) {
        self.cache = validate(&model_cache(spec)).unwrap();
    }

    pub(super) fn decide(&self) -> Decision {
        decide(&Input {
            cache: &self.cache,
            status: &self.status,
            observed: &self.observed,
            image: &self.image,
            now: self.now,
        })
    }

    /// One whole reconcile.
    pub(super) fn reconcile(&mut self) -> Decision {
        let decision = self.decide();
        for action in &decision.actions {
            self.apply(action);
        }
        self.status = status::assemble(&decision, None, Some(1), self.now);
        decision
    }

    /// A reconcile of an operator that is killed after this many actions.
    pub(super) fn reconcile_until_killed(&mut self, actions: usize) {
        let decision = self.decide();
        for action in decision.actions.iter().take(actions) {
            self.apply(action);
        }
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-of-{}", self.uids)
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::ApplyClaim { bytes, current, .. } => self.apply_claim(*bytes, current.as_deref()),
            Action::CreatePlanJob { inputs, attempt } => {
                // A tag of the same commit.
                let revision = self
                    .cache
                    .source
                    .kind()
                    .revision()
                    .unwrap()
                    .trim_start_matches("tag-of-")
                    .to_owned();
                self.create_job(Step::Plan, inputs, *attempt, &revision);
            }
            Action::CreateFetchJob {
                inputs,
                attempt,
                resolved,
            } => {
                assert!(self.observed.claim.is_some(), "a fetch Job without a claim");
                let revision = resolved.revision.trim_start_matches("commit-of-").to_owned();
                self.create_job(Step::Fetch, inputs, *attempt, &revision);
            }
            Action::DeleteJob {
                name,
                uid,
                wait_for_pods,
            } => self.delete_job(name, uid, *wait_for_pods),
        }
    }

    fn apply_claim(&mut self, bytes: i64, current: Option<&ClaimFacts>) {
        let uid = self.uid();
        let claim = self.observed.claim.get_or_insert_with(|| ClaimFacts {
            uid,
            created: self.now,
            storage_class: self.observed.classes.first().map(|class| class.name.clone()),
            ..ClaimFacts::default()
        });
        assert!(bytes >= claim.requested, "a claim cannot shrink");
        assert!(current.is_none_or(|current| current.uid == claim.uid));
        claim.requested = bytes;
        claim.capacity = claim.capacity.map(|_| bytes);
        claim.made_for = Some(names::label_value(&self.cache.name));
        claim.cache_uid = Some(self.cache.uid.clone());
    }

    fn create_job(&mut self, step: Step, inputs: &str, attempt: i32, revision: &str) {
        let name = names::job_name(&self.cache.name, step.as_str(), inputs, attempt);
        if self.observed.jobs.iter().any(|job| job.name == name) {
            return;
        }
        let uid = self.uid();
        self.programs.insert(uid.clone(), revision.to_owned());
        self.observed.jobs.push(JobFacts {
            name: name.clone(),
            uid: uid.clone(),
            step,
            inputs: inputs.to_owned(),
            attempt,
            state: JobState::Active,
            created: self.now,
            finished: None,
            is_deleting: false,
        });
        self.observed.pods.push(FetcherPod {
            name: format!("{name}-pod"),
            job_uid: uid,
            step,
            phase: PodPhase::Starting(None),
            ip: None,
            created: self.now,
            ended: None,
        });
        let writers = self
            .observed
            .pods
            .iter()
            .filter(|pod| pod.step == Step::Fetch && !pod.is_over())
            .count();
        assert!(writers <= 1, "two fetchers on one claim");
    }

    fn delete_job(&mut self, name: &str, uid: &str, wait_for_pods: bool) {
        let Some(job) = self
            .observed
            .jobs
            .iter_mut()
            .find(|job| job.name == name && job.uid == uid)
        else {
            return;
        };
        job.is_deleting = true;
        if !wait_for_pods {
            assert!(job.is_over(), "a running Job is deleted without waiting for its pods");
            // In the background: its pods are still there when another Job takes the name.
            self.observed.jobs.retain(|job| job.uid != uid);
        }
    }

    /// The garbage collector: deleted Jobs go, and pods whose Job has gone.
    pub(super) fn collect(&mut self) {
        self.observed.jobs.retain(|job| !job.is_deleting);
        let jobs: Vec<String> = self.observed.jobs.iter().map(|job| job.uid.clone()).collect();
        self.observed.pods.retain(|pod| jobs.contains(&pod.job_uid));
    }

    /// The scheduler and the kubelet: pods that can run do, and what they wait for is bound.
    pub(super) fn start_pods(&mut self) {
        let has_fetcher = self
            .observed
            .pods
            .iter()
            .any(|pod| pod.step == Step::Fetch && !pod.is_over());
        if let Some(claim) = self.observed.claim.as_mut().filter(|_| has_fetcher) {
            claim.phase = ClaimPhase::Bound;
            claim.capacity = Some(claim.requested);
        }
        for pod in &mut self.observed.pods {
            if pod.phase == PodPhase::Starting(None) {
                pod.phase = PodPhase::Running;
            }
        }
    }

    /// Every running pod ends well.
    pub(super) fn succeed(&mut self) {
        self.end(|step, revision| match step {
            Step::Plan => Report::Planned(Planned {
                revision: format!("commit-of-{revision}"),
                digest: format!("sha256:{revision}"),
                files: 3,
                bytes: BYTES,
                unpacking_bytes: None,
            }),
            Step::Fetch => Report::Published(Published {
                revision: format!("commit-of-{revision}"),
                digest: format!("sha256:{revision}"),
                files: 3,
                bytes: BYTES,
                bytes_fetched: BYTES,
                bytes_reused: 0,
                duration_milliseconds: 1,
                path: names::CURRENT.to_owned(),
                origins: vec![OriginReport {
                    name: format!("hub@{revision}"),
                    bytes: BYTES,
                    failures: 0,
                    last_error: None,
                    dropped: None,
                }],
            }),
        });
    }

    /// Every running pod ends with this failure.
    pub(super) fn fail(&mut self, report: &Report) {
        self.end(|_, _| report.clone());
    }

    fn end(&mut self, report: impl Fn(Step, &str) -> Report) {
        for pod in &mut self.observed.pods {
            if pod.phase != PodPhase::Running {
                continue;
            }
            let report = report(pod.step, &self.programs[&pod.job_uid]);
            if let (Report::Published(published), Some(claim)) = (&report, &self.observed.claim) {
                self.publications += 1;
                self.content.insert(claim.uid.clone(), published.digest.clone());
            }
            pod.ended = Some(self.now);
            pod.phase = PodPhase::Ended(PodEnd::Reported(Box::new(report)));
        }
        if !self.is_lagging {
            self.finish_jobs();
        }
    }

    /// The Job controller: Jobs whose pod has ended are over.
    pub(super) fn finish_jobs(&mut self) {
        for job in self.observed.jobs.iter_mut().filter(|job| !job.is_over()) {
            let pod = self.observed.pods.iter().find(|pod| pod.job_uid == job.uid);
            let Some((report, ended)) = pod.and_then(|pod| Some((pod.report()?, pod.ended?))) else {
                continue;
            };
            job.finished = Some(ended);
            job.state = match report {
                Report::Failed(_) => JobState::Failed {
                    message: "Job has reached the specified backoff limit".to_owned(),
                    at: ended,
                },
                Report::Planned(_) | Report::Published(_) => JobState::Complete,
            };
        }
    }

    /// Somebody deletes every pod that has not ended; their Jobs fail without a report.
    pub(super) fn kill_pods(&mut self) {
        let killed: Vec<String> = self
            .observed
            .pods
            .iter()
            .filter(|pod| !pod.is_over())
            .map(|pod| pod.job_uid.clone())
            .collect();
        self.observed.pods.retain(|pod| !killed.contains(&pod.job_uid));
        for job in self.observed.jobs.iter_mut().filter(|job| killed.contains(&job.uid)) {
            job.finished = Some(self.now);
            job.state = JobState::Failed {
                message: "Job has reached the specified backoff limit".to_owned(),
                at: self.now,
            };
        }
    }

    /// Lets everything go well until nothing changes any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..40 {
            self.finish_jobs();
            self.reconcile();
            self.collect();
            self.start_pods();
            self.reconcile();
            self.succeed();
            self.pass(700);
        }
    }

    /// Status and reason of a condition, as they stand in status.
    pub(super) fn condition(&self, kind: ConditionType) -> (String, String) {
        let found = self
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind.as_str())
            .unwrap();
        (found.status.clone(), found.reason.clone())
    }

    pub(super) fn message(&self, kind: ConditionType) -> String {
        let mut conditions = self.status.conditions.iter();
        conditions
            .find(|condition| condition.type_ == kind.as_str())
            .unwrap()
            .message
            .clone()
    }

    pub(super) fn ready(&self) -> (String, String) {
        self.condition(ConditionType::Ready)
    }

    pub(super) fn jobs(&self, step: Step) -> Vec<&JobFacts> {
        self.observed.jobs.iter().filter(|job| job.step == step).collect()
    }
}

pub(super) fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}
