//! The hub's own clients read a model in the layout of the hub's cache, as in a pod: offline, as another user, from a
//! read-only mount. Needs root for the mount, and the clients that `tests/tools` installs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot continue fails"
)]

use std::path::Path;
use std::process::Command;

use modelcache_tests::hub::{Hub, HubConfig};
use modelcache_tests::program::fetcher;
use modelcache_tests::real_model;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const REAL: &str = "sentence-transformers/all-MiniLM-L6-v2";
const SMALL: &str = "org/small";

/// Common beginning of the reader scripts.
const PRELUDE: &str = r#"
import errno, hashlib, json, os, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
repo = sys.argv[1]
result = {"uid": os.getuid()}
try:
    open(os.path.join(os.environ["HF_HUB_CACHE"], "new"), "w")
except OSError as error:
    result["write"] = errno.errorcode[error.errno]
def is_found(**revision):
    try:
        return bool(snapshot_download(repo, **revision))
    except LocalEntryNotFoundError:
        return False
"#;

const LOAD: &str = r#"
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoTokenizer
snapshot = snapshot_download(repo)
weights = hf_hub_download(repo, "model.safetensors")
result["commit"] = os.path.basename(snapshot)
result["same"] = snapshot == snapshot_download(repo, revision=result["commit"])
result["sha256"] = hashlib.sha256(open(weights, "rb").read()).hexdigest()
result["blob"] = os.path.basename(os.path.realpath(weights))
result["tensors"] = len(load_file(weights))
result["type"] = AutoConfig.from_pretrained(repo).model_type
result["tokens"] = AutoTokenizer.from_pretrained(repo)("Every byte is proven.")["input_ids"]
result["files"] = sorted(os.path.relpath(os.path.join(at, name), snapshot) for at, _, names in os.walk(snapshot) for name in names)
cache = scan_cache_dir()
result["warnings"] = [str(warning) for warning in cache.warnings]
result["found"] = [[found.repo_id, sorted(found.refs), found.size_on_disk] for found in cache.repos]
print(json.dumps(result))
"#;

const FIND: &str = r#"
result["found"] = [is_found(), is_found(revision=sys.argv[2]), is_found(revision=sys.argv[3])]
result["warnings"] = [str(warning) for warning in scan_cache_dir().warnings]
print(json.dumps(result))
"#;

/// Mounts the model's folder, Python and the clients read-only, then runs the script as an unprivileged user without
/// network.
const AS_USER: &str = r#"
mount -t tmpfs -o mode=755 none /mnt
for name in models python clients; do
    mkdir "/mnt/$name"
    mount --bind "$1" "/mnt/$name"
    mount -o remount,bind,ro "/mnt/$name"
    shift
done
mount -o remount,ro /mnt
program=$1
shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups env -i PYTHONDONTWRITEBYTECODE=1 HOME=/nonexistent \
    LD_LIBRARY_PATH=/mnt/python/lib PYTHONHOME=/mnt/python PYTHONPATH=/mnt/clients \
    HF_HUB_CACHE=/mnt/models/current HF_HUB_OFFLINE=1 \
    "/mnt/python/$program" -c "$@"
"#;

/// Prints the folders of Python and of the clients, and the path of the interpreter below the former.
const PATHS: &str = r#"
import os, sys, sysconfig
base = os.path.realpath(sys.base_prefix)
print(base, sysconfig.get_path("purelib"), os.path.relpath(os.path.realpath(sys.executable), base), sep="\n")
"#;

/// The paths of the Python environment with the clients.
fn clients() -> Vec<String> {
    let found = Command::new("hub-clients-python").args(["-c", PATHS]).output();
    let missing = "hub-clients-python is missing: eval \"$(tests/tools)\" installs it";
    let output = found.ok().filter(|output| output.status.success());
    let paths = String::from_utf8(output.expect(missing).stdout).unwrap();
    paths.lines().map(str::to_owned).collect()
}

/// A hub, and a folder for its models.
struct Scenario {
    hub: Hub,
    folder: tempfile::TempDir,
}

impl Scenario {
    async fn new() -> Self {
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        assert!(is_root, "this test mounts folders and changes the user: run it as root");
        Self {
            hub: Hub::start(HubConfig::default()).await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn fetch(&self, source: &str) {
        let mut command = Command::new(fetcher().unwrap());
        command
            .args(["fetch", source, "--layout", "hugging-face-cache", "--quiet"])
            .args(["--no-default-exclude", "--endpoint", &self.hub.endpoint()])
            .arg(self.folder.path())
            .env_remove("HF_TOKEN");
        self.succeed(command).await;
    }

    /// Runs a reader script and returns the JSON that it prints.
    async fn read(&self, script: &str, args: &[&str]) -> Value {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--", "bash", "-ec", AS_USER, "bash"])
            .arg(self.folder.path())
            .args(clients())
            .arg(format!("{PRELUDE}{script}"))
            .args(args);
        let result = self.succeed(command).await;
        serde_json::from_str(result.lines().last().unwrap_or_default()).unwrap()
    }

    async fn succeed(&self, mut command: Command) -> String {
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The sorted files below a folder, and their total bytes.
fn files_below(folder: &Path) -> (Vec<String>, u64) {
    let (mut names, mut bytes) = (Vec::new(), 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                bytes += path.metadata().unwrap().len();
                names.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    (names, bytes)
}

#[tokio::test]
async fn the_hubs_clients_load_a_model_by_its_name_offline_as_another_user_from_a_read_only_mount() {
    let scenario = Scenario::new().await;
    let model = real_model::folder().unwrap();
    let commit = scenario.hub.commit_folder(REAL, "main", &model).await.unwrap();
    scenario.fetch(REAL).await;
    let result = scenario.read(LOAD, &[REAL]).await;
    let (names, bytes) = files_below(&model);
    assert_eq!((&result["uid"], &result["write"]), (&json!(65534), &json!("EROFS")));
    assert_eq!((&result["commit"], &result["same"]), (&json!(commit), &json!(true)));
    assert_eq!(result["sha256"], json!(real_model::WEIGHTS_SHA256));
    assert_eq!(result["blob"], result["sha256"]);
    assert_eq!((&result["type"], &result["tensors"]), (&json!("bert"), &json!(104)));
    assert!(
        result["tokens"].as_array().is_some_and(|tokens| tokens.len() > 4),
        "{result}"
    );
    assert_eq!(result["files"], json!(names));
    assert_eq!(result["warnings"], json!([]));
    assert_eq!(result["found"], json!([[REAL, ["main"], bytes]]));
}

#[tokio::test]
async fn a_revision_is_found_by_its_requested_name_and_its_commit_only() {
    let scenario = Scenario::new().await;
    let files = [("config.json", b"{}".to_vec()), ("sub/copy.json", b"{}".to_vec())];
    let reference = "refs/pr/1";
    let commit = scenario.hub.commit_bytes(SMALL, reference, files).await.unwrap();
    scenario.fetch(&format!("{SMALL}@{reference}")).await;
    let result = scenario.read(FIND, &[SMALL, reference, &commit]).await;
    assert_eq!(result["found"], json!([false, true, true]));
    assert_eq!(result["warnings"], json!([]));

    scenario.fetch(&format!("{SMALL}@{commit}")).await;
    let result = scenario.read(FIND, &[SMALL, reference, &commit]).await;
    assert_eq!(result["found"], json!([false, false, true]));
}
