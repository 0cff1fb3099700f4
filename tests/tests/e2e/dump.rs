//! Diagnostics after a failed test.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams};

use crate::operator;
use crate::pods::kubectl;
use crate::world::World;

impl World {
    /// Prints objects, events and logs of the namespace, the end of the operator's log, and the requests to the hub.
    pub(crate) async fn dump(&self) {
        let namespace = ["-n", &self.namespace];
        for command in [
            &["get", "modelcaches", "-o", "yaml"][..],
            &["get", "jobs,pods,persistentvolumeclaims", "-o", "wide"],
            &["describe", "pods"],
            &["events"],
        ] {
            let arguments: Vec<&str> = namespace.iter().copied().chain(command.iter().copied()).collect();
            eprintln!("$ kubectl {}", arguments.join(" "));
            eprintln!(
                "{}",
                kubectl(&arguments).await.unwrap_or_else(|error| format!("{error:#}"))
            );
        }
        self.print_logs(&self.namespace).await;
        self.print_logs(operator::NAMESPACE).await;
        let stats = self.hub.stats();
        eprintln!("hub: {} requests, {} bytes", stats.requests, stats.bytes_sent);
        for request in stats.log.iter().rev().take(40).rev() {
            eprintln!("hub: {request:?}");
        }
    }

    async fn print_logs(&self, namespace: &str) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let Ok(list) = pods.list(&ListParams::default()).await else {
            return;
        };
        for pod in list {
            let name = pod.name_any();
            let tail = LogParams {
                tail_lines: Some(40),
                ..LogParams::default()
            };
            let log = pods.logs(&name, &tail).await.unwrap_or_else(|error| error.to_string());
            eprintln!("$ kubectl logs -n {namespace} {name}\n{log}");
        }
    }
}
