//! A scenario: one hub with one model, one folder, and the program that fetches between them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use bytes::Bytes;
use modelcache_crds::report::{FailureClass, Published, Report};
use modelcache_tests::hub::{Hub, HubConfig};
use modelcache_tests::program::fetcher;
use pretty_assertions::assert_eq;
use tokio::process::Command;

pub(crate) const MODEL: &str = "org/model";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const MEBIBYTE: usize = 1 << 20;
/// A little more than two pieces.
pub(crate) const SIZE: usize = 20 * MEBIBYTE;

/// The files of a model whose weights have this size.
pub(crate) fn files(size: usize) -> BTreeMap<String, Bytes> {
    let weights = (0..size).map(|at| u8::try_from((at * at / 7 + at / 1021) % 251).unwrap());
    let files = [
        ("config.json", b"{\"hidden_size\": 7}".to_vec()),
        (WEIGHTS, weights.collect()),
        ("sub/empty.txt", Vec::new()),
        ("sub/tokenizer.json", b"{}".to_vec()),
    ];
    files
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.into()))
        .collect()
}

/// A hub with one model, and a folder to fetch it into.
pub(crate) struct Scenario {
    pub(crate) hub: Hub,
    pub(crate) folder: tempfile::TempDir,
    files: BTreeMap<String, Bytes>,
}

impl Scenario {
    pub(crate) async fn new() -> Self {
        Self::with(HubConfig {
            page_size: 2,
            xet_headers: true,
            ..HubConfig::default()
        })
        .await
    }

    pub(crate) async fn with(config: HubConfig) -> Self {
        Self::of(config, files(SIZE)).await
    }

    /// A hub whose model has these files.
    pub(crate) async fn of(config: HubConfig, files: BTreeMap<String, Bytes>) -> Self {
        let hub = Hub::start(config).await.unwrap();
        hub.commit_bytes(MODEL, "main", files.clone()).await.unwrap();
        Self {
            hub,
            folder: tempfile::tempdir().unwrap(),
            files,
        }
    }

    pub(crate) fn command(&self) -> Command {
        self.command_with(2)
    }

    /// The `fetch` command with the given number of connections.
    pub(crate) fn command_with(&self, connections: u16) -> Command {
        let mut command = Command::new(fetcher().unwrap());
        command
            .args(["fetch", MODEL, "--json", "--quiet", "--stall-timeout", "1"])
            .args(["--connections", &connections.to_string()])
            .args(["--endpoint", &self.hub.endpoint()])
            .arg("--termination-log")
            .arg(self.folder.path().join("report"))
            .arg(self.model())
            .env_remove("HF_TOKEN")
            // These weights have no safetensors header.
            .args(["--format-check", "warn"])
            .kill_on_drop(true);
        command
    }

    /// The command `verify` or `repair` on the folder, with further arguments.
    pub(crate) fn command_on_folder(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(fetcher().unwrap());
        command
            .args([arguments[0], self.model().to_str().unwrap()])
            .args(&arguments[1..])
            .args(["--quiet", "--json", "--termination-log"])
            .arg(self.folder.path().join("report"))
            .env_remove("HF_TOKEN")
            // These weights have no safetensors header.
            .env("MODELCACHE_FORMAT_CHECK", "warn")
            .env("HF_ENDPOINT", "https://elsewhere.invalid")
            .kill_on_drop(true);
        command
    }

    /// Inverts one byte of the published weights, in place.
    pub(crate) fn damage(&self, offset: usize) {
        let path = self.model().join("current").join(WEIGHTS);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[!self.files[WEIGHTS][offset]], offset as u64)
            .unwrap();
    }

    pub(crate) fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    pub(crate) async fn fetch(&self) -> Output {
        self.command().output().await.unwrap()
    }

    pub(crate) fn report(&self) -> Report {
        let text = std::fs::read_to_string(self.folder.path().join("report")).unwrap();
        Report::from_termination_message(&text).unwrap()
    }

    /// Checks that exactly the files of the hub are published, with the right bytes.
    pub(crate) fn assert_published(&self, output: &Output, after: &str) -> Published {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{after}: {:?}\n{stderr}", output.status);
        let found = contents_below(&self.model().join("current").canonicalize().unwrap());
        assert!(found == self.files, "{after}: published {:?}", found.keys());
        match self.report() {
            Report::Published(published) => published,
            report => panic!("{after}: {report:?}"),
        }
    }

    /// Checks that every file under a final name is complete and right.
    pub(crate) fn assert_nothing_wrong_is_published(&self, after: &str) {
        let revisions = self.model().join("revisions");
        for revision in std::fs::read_dir(revisions).into_iter().flatten() {
            let found = contents_below(&revision.unwrap().path());
            assert!(
                found == self.files,
                "{after}: wrong files under a final name: {:?}",
                found.keys()
            );
        }
        if let Ok(current) = self.model().join("current").canonicalize() {
            assert!(contents_below(&current) == self.files, "{after}: current is wrong");
        }
    }

    /// Checks that the failure is reported, and that nothing is published.
    pub(crate) fn assert_failed(&self, output: &Output, class: FailureClass, after: &str) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(i32::from(class.exit_code())),
            "{after}: {stderr}"
        );
        match self.report() {
            Report::Failed(failed) => assert_eq!(failed.class, class, "{after}"),
            report => panic!("{after}: {report:?}"),
        }
        assert!(stderr.contains("error: "), "{after}: {stderr}");
        assert!(
            !stderr.contains("Signature="),
            "{after}: stderr contains a signed URL: {stderr}"
        );
        assert!(
            !self.model().join("current").exists(),
            "{after}: something is published"
        );
        let outside = contents_below(self.folder.path());
        let stray = outside
            .keys()
            .find(|path| !path.starts_with("model/") && *path != "report");
        assert_eq!(stray, None, "{after}");
    }
}

/// Wraps a command in its own mount namespace. The script mounts what it needs and gets the arguments as `$1` and on.
pub(crate) fn with_mount(command: &Command, script: &str, arguments: &[&Path]) -> Command {
    let command = command.as_std();
    let script = format!(r#"{script} && shift {} && exec "$@""#, arguments.len());
    let mut mounted = Command::new("unshare");
    mounted
        .args(["--mount", "sh", "-c", &script, "sh"])
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args())
        .kill_on_drop(true);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => mounted.env(name, value),
            None => mounted.env_remove(name),
        };
    }
    mounted
}

/// Wraps a command so that it sees another boot id, as after a restart of the machine.
pub(crate) fn after_a_restart(command: &Command, boot: &Path) -> Command {
    std::fs::write(boot, format!("{:032x}\n", rand::random::<u128>())).unwrap();
    with_mount(command, r#"mount --bind "$1" /proc/sys/kernel/random/boot_id"#, &[boot])
}

/// The contents of all files below a folder, by relative path.
pub(crate) fn contents_below(folder: &Path) -> BTreeMap<String, Bytes> {
    let mut contents = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.exists() {
                // Skips links whose target does not exist yet.
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                contents.insert(name, std::fs::read(path).unwrap().into());
            }
        }
    }
    contents
}
