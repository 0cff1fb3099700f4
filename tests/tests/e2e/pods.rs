//! Pods of users and of the fetcher, and kubectl.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};
use modelcache_crds::names;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::waiting::{LATER, until};
use crate::world::World;

pub(crate) const BUSYBOX: &str = "modelcache.dev/test/busybox:local";
pub(crate) const CONSUMER: &str = "modelcache.dev/consumer:test";

impl World {
    /// Runs a command in a pod that mounts a claim read-only at `/models`, and returns its output.
    pub(crate) async fn run_with_claim(&self, claim: &str, image: &str, command: &[&str]) -> anyhow::Result<String> {
        self.run(user("reader", claim, true, image, command)).await
    }

    /// Runs a shell script in a pod that mounts a claim writable at `/models`, and returns its output.
    pub(crate) async fn fill_claim(&self, claim: &str, script: &str) -> anyhow::Result<String> {
        self.run(user("writer", claim, false, BUSYBOX, &["sh", "-ec", script]))
            .await
    }

    async fn run(&self, pod: Value) -> anyhow::Result<String> {
        let name = pod["metadata"]["name"].as_str().context("a pod has a name")?.to_owned();
        let name = name.as_str();
        self.delete_pod(name).await?;
        self.apply_object(pod).await?;
        let pods = self.api::<Pod>();
        let phase = until("completion of the pod that mounts the claim", LATER, async || {
            let phase = pods.get(name).await?.status.and_then(|status| status.phase);
            Ok(phase.filter(|phase| matches!(phase.as_str(), "Succeeded" | "Failed")))
        })
        .await?;
        let log = pods.logs(name, &LogParams::default()).await?;
        ensure!(phase == "Succeeded", "the pod {name} failed: {log}");
        Ok(log)
    }

    /// Deletes a pod without grace period, if it exists, and waits until it is gone.
    pub(crate) async fn delete_pod(&self, name: &str) -> anyhow::Result<()> {
        let pods = self.api::<Pod>();
        if pods.get_opt(name).await?.is_none() {
            return Ok(());
        }
        pods.delete(name, &kube::api::DeleteParams::default().grace_period(0))
            .await?;
        until("a pod's deletion", LATER, async || {
            Ok(pods.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Jobs of a ModelCache for a step, `plan` or `fetch`.
    pub(crate) async fn jobs(&self, cache: &str, step: &str) -> anyhow::Result<Vec<Job>> {
        Ok(self.api::<Job>().list(&of_step(cache, step)).await?.items)
    }

    /// Waits for a running pod of a ModelCache for a step.
    pub(crate) async fn until_running(&self, cache: &str, step: &str, within: Duration) -> anyhow::Result<Pod> {
        until(&format!("{cache}: a running {step} pod"), within, async || {
            let pods = self.api::<Pod>().list(&of_step(cache, step)).await?;
            Ok(pods.items.into_iter().find(|pod| {
                let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
                running && pod.metadata.deletion_timestamp.is_none()
            }))
        })
        .await
    }

    /// Waits until all Jobs and pods of a ModelCache are gone.
    pub(crate) async fn until_no_jobs(&self, cache: &str) -> anyhow::Result<()> {
        until(&format!("{cache}: no Job and no pod"), LATER, async || {
            let of_cache =
                ListParams::default().labels(&format!("{}={}", names::LABEL_CACHE, names::label_value(cache)));
            let jobs = self.api::<Job>().list(&of_cache).await?.items.len();
            let pods = self.api::<Pod>().list(&of_cache).await?.items.len();
            Ok((jobs + pods == 0).then_some(()))
        })
        .await
    }
}

fn of_step(cache: &str, step: &str) -> ListParams {
    ListParams::default().labels(&format!(
        "{}={},{}={step}",
        names::LABEL_CACHE,
        names::label_value(cache),
        names::LABEL_STEP
    ))
}

/// A consumer's pod that restricted Pod Security admits. It runs as another user than the fetcher.
fn user(name: &str, claim: &str, is_reader: bool, image: &str, command: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "user",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": command,
                "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}, {"name": "HF_HOME", "value": "/tmp/home"}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": "models", "mountPath": "/models", "readOnly": is_reader},
                    {"name": "scratch", "mountPath": "/tmp"},
                ],
            }],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": claim, "readOnly": is_reader}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    })
}

/// Sends SIGKILL to the process of a running container. The control group of the process contains the pod's uid.
///
/// Returns false if it finds no process, since the node may be another machine.
pub(crate) fn kill_process_of(pod: &Pod, program: &str) -> anyhow::Result<bool> {
    let uid = pod.uid().context("a pod without uid")?;
    for entry in std::fs::read_dir("/proc")? {
        let folder = entry?.path();
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        // The kernel keeps 15 characters of a program's name.
        let is_program = read("comm").trim() == &program[..program.len().min(15)];
        if !is_program || !read("cgroup").contains(&uid) {
            continue;
        }
        let pid = folder.file_name().context("a process without id")?.to_string_lossy();
        let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status()?;
        ensure!(killed.success(), "kill -KILL {pid} failed");
        return Ok(true);
    }
    Ok(false)
}

/// Runs kubectl and returns its standard output.
pub(crate) async fn kubectl(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("kubectl").args(arguments).output().await?;
    ensure!(
        output.status.success(),
        "kubectl {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
