//! A volume that fills up: a small tmpfs, as a static volume of a node on this machine.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use tokio::process::Command;

use crate::world::World;

/// A mounted tmpfs with its volume and its own StorageClass.
pub(crate) struct SmallDisk {
    pub(crate) class: String,
    folder: PathBuf,
}

impl SmallDisk {
    /// Whether the nodes run on this machine, so that they see its mounts.
    pub(crate) fn is_possible() -> bool {
        std::env::var_os("MODELCACHE_HOST_NAME").is_some()
    }

    pub(crate) async fn create(world: &World, node: &str, size: &str) -> anyhow::Result<Self> {
        let disk = Self {
            class: format!("{}-small", world.namespace),
            folder: PathBuf::from(format!("/run/{}", world.namespace)),
        };
        std::fs::create_dir_all(&disk.folder)?;
        let mount = ["-t", "tmpfs", "-o", &format!("size={size},mode=1777"), "tmpfs"];
        run("mount", &mount, &disk.folder).await?;
        let volume = serde_json::from_value(json!({
            "metadata": {"name": disk.class},
            "spec": {
                // The declared capacity; the tmpfs is smaller.
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": disk.class,
                "local": {"path": disk.folder},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
                ]}]}},
            },
        }))?;
        volumes(world).create(&PostParams::default(), &volume).await?;
        let class = serde_json::from_value(json!({
            "metadata": {"name": disk.class},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }))?;
        let classes: Api<k8s_openapi::api::storage::v1::StorageClass> = Api::all(world.client.clone());
        classes.create(&PostParams::default(), &class).await?;
        Ok(disk)
    }

    /// Fills the disk until the given number of bytes is free.
    pub(crate) fn fill_until_free(&self, left: u64) -> anyhow::Result<()> {
        let filler = std::fs::File::create(self.folder.join("filler"))?;
        let mut chunk = 1 << 20;
        let block = vec![1; chunk];
        while chunk >= 4096 {
            if std::io::Write::write_all(&mut &filler, &block[..chunk]).is_err() {
                chunk /= 2;
            }
        }
        let length = filler.metadata()?.len();
        filler.set_len(length.saturating_sub(left))?;
        Ok(())
    }

    pub(crate) async fn enlarge(&self, size: &str) -> anyhow::Result<()> {
        run("mount", &["-o", &format!("remount,size={size}")], &self.folder).await
    }

    /// Removes volume, class and mount. Pods that use it must be gone.
    pub(crate) async fn remove(self, world: &World) -> anyhow::Result<()> {
        let classes: Api<k8s_openapi::api::storage::v1::StorageClass> = Api::all(world.client.clone());
        classes.delete(&self.class, &DeleteParams::default()).await?;
        volumes(world).delete(&self.class, &DeleteParams::default()).await?;
        // The mount in a pod may outlive the pod by a moment.
        run("umount", &["--lazy"], &self.folder).await?;
        std::fs::remove_dir(&self.folder)?;
        Ok(())
    }
}

fn volumes(world: &World) -> Api<PersistentVolume> {
    Api::all(world.client.clone())
}

async fn run(program: &str, arguments: &[&str], folder: &Path) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).arg(folder).output().await?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
