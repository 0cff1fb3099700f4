//! A model in the layout of the hub's cache, read back by the hub's own clients as its users run them: offline, as
//! another user, from a read-only mount. Needs root for that, and the clients that `tests/tools` installs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

use modelcache_tests::hub::{Hub, HubConfig};
use modelcache_tests::program::fetcher;
use modelcache_tests::real_model;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const REAL: &str = "sentence-transformers/all-MiniLM-L6-v2";
const SMALL: &str = "org/small";

/// What every reader does first.
const BEGIN: &str = r#"
import errno, hashlib, json, os, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
repo = sys.argv[1]
told = {"uid": os.getuid()}
try:
    open(os.path.join(os.environ["HF_HUB_CACHE"], "new"), "w")
except OSError as error:
    told["write"] = errno.errorcode[error.errno]
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
told["commit"] = os.path.basename(snapshot)
told["same"] = snapshot == snapshot_download(repo, revision=told["commit"])
told["sha256"] = hashlib.sha256(open(weights, "rb").read()).hexdigest()
told["blob"] = os.path.basename(os.path.realpath(weights))
told["tensors"] = len(load_file(weights))
told["type"] = AutoConfig.from_pretrained(repo).model_type
told["tokens"] = AutoTokenizer.from_pretrained(repo)("Every byte is proven.")["input_ids"]
told["files"] = sorted(os.path.relpath(os.path.join(at, name), snapshot) for at, _, names in os.walk(snapshot) for name in names)
cache = scan_cache_dir()
told["warnings"] = [str(warning) for warning in cache.warnings]
told["found"] = [[found.repo_id, sorted(found.refs), found.size_on_disk] for found in cache.repos]
print(json.dumps(told))
"#;

const LOOK: &str = r#"
told["found"] = [is_found(), is_found(revision=sys.argv[2]), is_found(revision=sys.argv[3])]
told["warnings"] = [str(warning) for warning in scan_cache_dir().warnings]
print(json.dumps(told))
"#;

/// Mounts the model's folder, Python and the clients where another user may read them and nobody write, and becomes that
/// user without a network.
const AS_A_USER: &str = r#"
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

/// Prints where Python is, where the clients are, and the interpreter below Python.
const PLACES: &str = r#"
import os, sys, sysconfig
base = os.path.realpath(sys.base_prefix)
print(base, sysconfig.get_path("purelib"), os.path.relpath(os.path.realpath(sys.executable), base), sep="\n")
"#;

/// The places of the Python environment that holds the clients.
fn clients() -> Vec<String> {
    let found = Command::new("hub-clients-python").args(["-c", PLACES]).output();
    let missing = "hub-clients-python is not there: eval \"$(tests/tools)\" installs it";
    let output = found.ok().filter(|output| output.status.success());
    let places = String::from_utf8(output.expect(missing).stdout).unwrap();
    places.lines().map(str::to_owned).collect()
}

/// A folder that models of a hub are fetched into.
struct Room {
    hub: Hub,
    folder: tempfile::TempDir,
}

impl Room {
    async fn new() -> Self {
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        assert!(
            is_root,
            "this test mounts folders and becomes another user: run it as root"
        );
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

    /// What a reader tells.
    async fn read(&self, script: &str, args: &[&str]) -> Value {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--", "bash", "-ec", AS_A_USER, "bash"])
            .arg(self.folder.path())
            .args(clients())
            .arg(format!("{BEGIN}{script}"))
            .args(args);
        let told = self.succeed(command).await;
        serde_json::from_str(told.lines().last().unwrap_or_default()).unwrap()
    }

    async fn succeed(&self, mut command: Command) -> String {
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Files below a folder, sorted, and their bytes.
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
    let room = Room::new().await;
    let model = real_model::folder().unwrap();
    let commit = room.hub.commit_folder(REAL, "main", &model).await.unwrap();
    room.fetch(REAL).await;
    let told = room.read(LOAD, &[REAL]).await;
    let (names, bytes) = files_below(&model);
    assert_eq!((&told["uid"], &told["write"]), (&json!(65534), &json!("EROFS")));
    assert_eq!((&told["commit"], &told["same"]), (&json!(commit), &json!(true)));
    assert_eq!(told["sha256"], json!(real_model::WEIGHTS_SHA256));
    assert_eq!(told["blob"], told["sha256"]);
    assert_eq!((&told["type"], &told["tensors"]), (&json!("bert"), &json!(104)));
    assert!(
        told["tokens"].as_array().is_some_and(|tokens| tokens.len() > 4),
        "{told}"
    );
    assert_eq!(told["files"], json!(names));
    assert_eq!(told["warnings"], json!([]));
    assert_eq!(told["found"], json!([[REAL, ["main"], bytes]]));
}

#[tokio::test]
async fn a_revision_is_found_by_the_name_it_was_asked_for_by_and_by_its_commit_and_by_no_other() {
    let room = Room::new().await;
    let files = [("config.json", b"{}".to_vec()), ("sub/copy.json", b"{}".to_vec())];
    let reference = "refs/pr/1";
    let commit = room.hub.commit_bytes(SMALL, reference, files).await.unwrap();
    room.fetch(&format!("{SMALL}@{reference}")).await;
    let told = room.read(LOOK, &[SMALL, reference, &commit]).await;
    assert_eq!(told["found"], json!([false, true, true]));
    assert_eq!(told["warnings"], json!([]));

    room.fetch(&format!("{SMALL}@{commit}")).await;
    let told = room.read(LOOK, &[SMALL, reference, &commit]).await;
    assert_eq!(told["found"], json!([false, false, true]));
}
