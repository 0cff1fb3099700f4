//! The program, started as a user or a pod starts it.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use modelcache_crds::report::{Failed, FailureClass, Report};
use pretty_assertions::assert_eq;
use rstest::rstest;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::scripted::{Answer, ScriptedServer, answer, json};

const COMMIT: &str = "b45ef6fec89518d314f546fd6c3025367b721684";
const TREE: &str = "GET /api/models/org/name/tree/b45ef6fec89518d314f546fd6c3025367b721684?recursive=true&expand=false";
const REVISION: &str = "GET /api/models/org/name/revision/main";

/// `config.json` is `Hello, World!`; `model.safetensors` is `abc`; `pytorch_model.bin` stands for the same weights.
const FILES: &str = r#"[
    {"type":"directory","oid":"","size":0,"path":"sub"},
    {"type":"file","oid":"b45ef6fec89518d314f546fd6c3025367b721684","size":13,"path":"sub/config.json"},
    {"type":"file","oid":"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391","size":0,"path":"empty"},
    {"type":"file","oid":"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391","size":134,"path":"model.safetensors",
     "lfs":{"oid":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3,"pointerSize":134}},
    {"type":"file","oid":"e69de29bb2d1d6434b8b29ae775ad8c2e48c5392","size":5,"path":"pytorch_model.bin"}
]"#;

/// A hub, a CDN and a folder.
struct Scenario {
    hub: ScriptedServer,
    cdn: ScriptedServer,
    folder: TempDir,
}

impl Scenario {
    async fn new() -> Self {
        let (hub, cdn) = (ScriptedServer::start().await, ScriptedServer::start().await);
        hub.on(REVISION, [json(&format!(r#"{{"sha":"{COMMIT}"}}"#))]);
        hub.on(TREE, [json(FILES)]);
        for method in ["HEAD", "GET"] {
            let file = |path: &str| format!("{method} /org/name/resolve/{COMMIT}/{path}");
            hub.on(&file("sub/config.json"), [answer(200).body(b"Hello, World!")]);
            hub.on(&file("empty"), [answer(200)]);
            hub.on(&file("pytorch_model.bin"), [answer(200).body(b"torch")]);
            let redirect = answer(302).header("location", &format!("{}/abc?sig=secret", cdn.url));
            hub.on(&file("model.safetensors"), [redirect.header("x-linked-size", "3")]);
        }
        cdn.on("GET /abc?sig=secret", [answer(200).body(b"abc")]);
        let folder = tempfile::tempdir().unwrap();
        Self { hub, cdn, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The program, without the environment of the caller.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"));
        command
            .args(args)
            .env_clear()
            .env("HF_ENDPOINT", &self.hub.url)
            .env("HF_TOKEN", "hf_secret")
            // The weights here are three bytes.
            .env("MODELCACHE_FORMAT_CHECK", "warn")
            .env("MODELCACHE_TERMINATION_LOG", self.folder.path().join("termination-log"))
            .kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().await.unwrap()
    }

    async fn fetch(&self, args: &[&str]) -> Output {
        self.run(&[&["fetch", "org/name", &self.path("models")], args].concat())
            .await
    }

    fn report(&self) -> Report {
        let text = fs::read_to_string(self.folder.path().join("termination-log")).unwrap();
        Report::from_termination_message(&text).unwrap()
    }

    fn failure(&self) -> Failed {
        match self.report() {
            Report::Failed(failed) => failed,
            report => panic!("{report:?}"),
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn read(root: &str, path: &str) -> String {
    fs::read_to_string(Path::new(root).join(path)).unwrap()
}

#[tokio::test]
async fn plan_prints_files_sizes_digests_and_the_total() {
    let scenario = Scenario::new().await;
    let output = scenario.run(&["plan", "org/name"]).await;
    let stdout = text(&output.stdout).replace(&scenario.hub.url, "http://hub");
    insta::assert_snapshot!(stdout, @r"
    source    http://hub/org/name@b45ef6fec89518d314f546fd6c3025367b721684
    revision  b45ef6fec89518d314f546fd6c3025367b721684
    digest    sha256:7db23b1d74f6b1a4a1d2552f5e55407b9ca2a0a79b85f67a529ffbf0afd37021

         SIZE  DIGEST                 FILE
         13 B  git-sha1:b45ef6fec895  sub/config.json
          0 B  git-sha1:e69de29bb2d1  empty
          3 B  sha256:ba7816bf8f01cf  model.safetensors
            -                         pytorch_model.bin (skipped by default: the same weights exist as safetensors)

    3 files, 16 B; 1 skipped, 5 B
    ");
    let Report::Planned(planned) = scenario.report() else {
        panic!()
    };
    assert_eq!(
        (planned.revision.as_str(), planned.files, planned.bytes),
        (COMMIT, 3, 16)
    );
    assert!(stdout.contains(&planned.digest));
}

#[tokio::test]
async fn plan_prints_the_full_list_as_json() {
    let scenario = Scenario::new().await;
    let output = scenario
        .run(&["plan", "hf://org/name", "--json", "--exclude", "sub/"])
        .await;
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    insta::assert_json_snapshot!(list, @r#"
    {
      "bytes": 8,
      "digest": "sha256:95ffb903afe49f80303e8ace54393341fe012a3d0f21fed2b96dc92e8486e0db",
      "files": [
        {
          "digest": "git-sha1:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
          "path": "empty",
          "size": 0
        },
        {
          "digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
          "path": "model.safetensors",
          "size": 3
        },
        {
          "digest": "git-sha1:e69de29bb2d1d6434b8b29ae775ad8c2e48c5392",
          "path": "pytorch_model.bin",
          "size": 5
        }
      ],
      "leftOut": [
        {
          "digest": "git-sha1:b45ef6fec89518d314f546fd6c3025367b721684",
          "path": "sub/config.json",
          "reason": "excluded by sub/",
          "size": 13
        }
      ],
      "revision": "b45ef6fec89518d314f546fd6c3025367b721684"
    }
    "#);
}

#[tokio::test]
async fn a_model_is_fetched_verified_and_published_and_not_fetched_twice() {
    let scenario = Scenario::new().await;
    let output = scenario.fetch(&[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let models = scenario.path("models");
    assert_eq!(read(&models, "current/sub/config.json"), "Hello, World!");
    assert_eq!(read(&models, "current/model.safetensors"), "abc");
    assert_eq!(read(&models, "current/empty"), "");
    let Report::Published(published) = scenario.report() else {
        panic!()
    };
    let result = (
        published.files,
        published.bytes,
        published.bytes_fetched,
        published.path.as_str(),
    );
    assert_eq!(result, (3, 16, 16, "current"));

    scenario.fetch(&["--expect-digest", &published.digest]).await;
    let Report::Published(again) = scenario.report() else {
        panic!()
    };
    assert_eq!((again.bytes_fetched, again.bytes_reused), (0, 16));
    assert_eq!(scenario.cdn.count("GET /abc?sig=secret"), 1);
}

#[tokio::test]
async fn the_token_is_sent_only_to_the_hub() {
    let scenario = Scenario::new().await;
    let output = scenario.fetch(&[]).await;
    assert!(output.status.success());
    let sent =
        |server: &ScriptedServer| -> HashSet<_> { server.requests().into_iter().map(|a| a.authorization).collect() };
    assert_eq!(
        sent(&scenario.hub),
        HashSet::from([Some("Bearer hf_secret".to_owned())])
    );
    assert_eq!(sent(&scenario.cdn), HashSet::from([None]));
    let printed = [output.stdout, output.stderr].concat();
    assert!(!text(&printed).contains("secret"), "{}", text(&printed));
}

#[rstest]
#[case::no_repository(404, &[("x-error-code", "RepoNotFound")], FailureClass::RepositoryNotFound)]
#[case::no_revision(404, &[("x-error-code", "RevisionNotFound")], FailureClass::RevisionNotFound)]
#[case::gated(403, &[("x-error-code", "GatedRepo")], FailureClass::AccessDenied)]
#[case::wrong_token(401, &[("x-error-message", "Invalid credentials in Authorization header")], FailureClass::AuthenticationFailed)]
#[case::limited(429, &[("retry-after", "120")], FailureClass::RateLimited)]
#[tokio::test]
async fn a_refusal_by_the_hub_is_reported_in_one_line_with_its_exit_code(
    #[case] status: u16,
    #[case] headers: &[(&'static str, &str)],
    #[case] class: FailureClass,
) {
    let scenario = Scenario::new().await;
    let refusal = headers
        .iter()
        .fold(answer(status), |given, (name, value)| given.header(name, value));
    scenario.hub.on(REVISION, [refusal]);
    let output = scenario.run(&["plan", "org/name"]).await;
    let failed = scenario.failure();
    assert_eq!(failed.class, class);
    assert_eq!(output.status.code(), Some(class.exit_code().into()));
    assert_eq!(text(&output.stderr), format!("error: {}\n", failed.message));
    assert_eq!(failed.retry_after_seconds, (status == 429).then_some(120));
}

#[tokio::test]
async fn plan_reports_a_gated_model_whose_listing_is_public() {
    let scenario = Scenario::new().await;
    let weights = format!("HEAD /org/name/resolve/{COMMIT}/model.safetensors");
    scenario
        .hub
        .on(TREE, [json(&FILES.replace("\"size\":13", "\"size\":1"))]);
    scenario
        .hub
        .on(&weights, [answer(403).header("x-error-code", "GatedRepo")]);
    let output = scenario.run(&["plan", "org/name"]).await;
    assert_eq!(output.status.code(), Some(14));
    assert_eq!(scenario.failure().file.as_deref(), Some("model.safetensors"));
}

#[tokio::test]
async fn content_other_than_planned_is_not_fetched() {
    let scenario = Scenario::new().await;
    let output = scenario
        .fetch(&["--expect-digest", &format!("sha256:{}", "0".repeat(64))])
        .await;
    assert_eq!(output.status.code(), Some(17));
    assert_eq!(scenario.failure().class, FailureClass::SourceChanged);
    assert!(!Path::new(&scenario.path("models")).exists());
}

#[tokio::test]
async fn patterns_that_select_no_file_are_reported() {
    let scenario = Scenario::new().await;
    let output = scenario.run(&["plan", "org/name", "--include", "*.gguf"]).await;
    assert_eq!(output.status.code(), Some(15));
    assert!(
        scenario.failure().message.contains("select none of the 4 listed files"),
        "{}",
        scenario.failure().message
    );
}

#[tokio::test]
async fn paths_that_collide_on_some_volumes_are_refused_unless_excluded() {
    let scenario = Scenario::new().await;
    let both = FILES.replace("\"empty\"", "\"SUB/config.json\"");
    scenario.hub.on(TREE, [json(&both)]);
    let output = scenario.run(&["plan", "org/name"]).await;
    assert_eq!(output.status.code(), Some(16));
    let output = scenario.run(&["plan", "org/name", "--exclude", "SUB/*"]).await;
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn a_file_with_wrong_bytes_is_never_published() {
    let scenario = Scenario::new().await;
    scenario.cdn.on("GET /abc?sig=secret", [answer(200).body(b"xyz")]);
    let output = scenario.fetch(&[]).await;
    assert_eq!(output.status.code(), Some(40), "{}", text(&output.stderr));
    assert_eq!(scenario.failure().file.as_deref(), Some("model.safetensors"));
    assert!(!Path::new(&scenario.path("models")).join("current").exists());
}

#[tokio::test]
async fn a_storage_error_is_reported_with_its_file() {
    let scenario = Scenario::new().await;
    let models = scenario.path("models");
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    // A folder with the name of the staging file makes its creation fail.
    let folder = Path::new(&models).join(format!(".modelcache/partial/sha256-{digest}"));
    fs::create_dir_all(folder).unwrap();
    let output = scenario.fetch(&[]).await;
    assert_eq!(output.status.code(), Some(32), "{}", text(&output.stderr));
    assert_eq!(scenario.failure().file.as_deref(), Some("model.safetensors"));

    fs::remove_dir_all(&models).unwrap();
    fs::write(&models, "").unwrap();
    assert!(!scenario.fetch(&[]).await.status.success());
    let file = scenario.failure().file.unwrap();
    assert!(file.starts_with(&models), "{file}");
}

#[tokio::test]
async fn an_invalid_command_line_is_reported() {
    let scenario = Scenario::new().await;
    let output = scenario.run(&["fetch", "gs://bucket/x", "/models"]).await;
    assert_eq!(output.status.code(), Some(2));
    let failed = scenario.failure();
    assert_eq!(failed.class, FailureClass::Usage);
    assert!(failed.message.contains("gs:// is not supported"), "{}", failed.message);
}

#[tokio::test]
async fn help_and_version_succeed_without_a_report() {
    let scenario = Scenario::new().await;
    for argument in ["--help", "--version"] {
        let output = scenario.run(&[argument]).await;
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("modelcache-fetcher"));
    }
    assert!(!scenario.folder.path().join("termination-log").exists());
}

#[tokio::test]
async fn verify_names_damaged_files_and_a_fetch_repairs_them() {
    let scenario = Scenario::new().await;
    let models = scenario.path("models");
    assert_eq!(
        scenario.run(&["verify", &models]).await.status.code(),
        Some(2),
        "nothing is published yet"
    );
    scenario.fetch(&[]).await;
    assert_eq!(scenario.run(&["verify", &models]).await.status.code(), Some(0));

    let damaged = Path::new(&models).join("current/model.safetensors");
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, "xyz").unwrap();
    let output = scenario.run(&["verify", &models]).await;
    assert_eq!(output.status.code(), Some(40));
    assert!(
        text(&output.stdout).contains("model.safetensors: hashes to"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(scenario.failure().file.as_deref(), Some("model.safetensors"));

    assert_eq!(scenario.fetch(&[]).await.status.code(), Some(0));
    assert_eq!(scenario.run(&["verify", &models, "--all"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn verify_names_every_damaged_or_unreadable_file() {
    let scenario = Scenario::new().await;
    let models = scenario.path("models");
    scenario.fetch(&[]).await;
    let current = Path::new(&models).join("current");
    fs::remove_dir_all(current.join("sub")).unwrap();
    // A link to itself cannot be followed, not even by root.
    symlink("sub", current.join("sub")).unwrap();

    let output = scenario.run(&["verify", &models]).await;
    assert_eq!(output.status.code(), Some(32), "{}", text(&output.stderr));
    let failed = scenario.failure();
    assert_eq!(failed.class, FailureClass::StorageError);
    assert_eq!(failed.file.as_deref(), Some("sub/config.json"));
    assert!(
        failed.message.contains("1 of 3 published files cannot be read"),
        "{}",
        failed.message
    );
    let printed = text(&output.stdout);
    assert!(
        printed.starts_with("unread   revisions/") && printed.contains("sub/config.json: "),
        "{printed}"
    );

    fs::remove_file(current.join("empty")).unwrap();
    let damaged = current.join("model.safetensors");
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, "xyz").unwrap();
    let output = scenario.run(&["verify", &models]).await;
    assert_eq!(output.status.code(), Some(40), "{}", text(&output.stderr));
    let failed = scenario.failure();
    assert_eq!(failed.file.as_deref(), Some("empty"));
    assert!(
        failed
            .message
            .contains("2 of 3 published files are damaged, the first is empty, and 1 cannot be read"),
        "{}",
        failed.message
    );
    let printed = text(&output.stdout);
    for line in ["empty: missing", "model.safetensors: hashes to", "sub/config.json: "] {
        assert!(printed.contains(line), "{printed}");
    }
    assert_eq!(printed.lines().count(), 3, "{printed}");
}

#[tokio::test]
async fn verify_and_repair_print_only_their_report_as_json() {
    let scenario = Scenario::new().await;
    let models = scenario.path("models");
    scenario.fetch(&[]).await;
    let hub = ["GET /api/models/org/name/revision/", COMMIT].concat();
    scenario.hub.on(&hub, [json(&format!(r#"{{"sha":"{COMMIT}"}}"#))]);
    let printed = async |command: &str| -> Report {
        let output = scenario.run(&[command, &models, "--json"]).await;
        let report = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report, scenario.report(), "{command}");
        report
    };
    let published = |report: Report| match report {
        Report::Published(published) => (
            published.files,
            published.bytes_fetched,
            published.bytes_reused,
            published.path,
        ),
        report => panic!("{report:?}"),
    };
    assert_eq!(published(printed("verify").await), (3, 0, 16, "current".to_owned()));

    let damaged = Path::new(&models).join("current/model.safetensors");
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, "xyz").unwrap();
    match printed("verify").await {
        Report::Failed(failed) => assert_eq!(failed.class, FailureClass::DigestMismatch),
        report => panic!("{report:?}"),
    }
    assert_eq!(published(printed("repair").await), (3, 3, 13, "current".to_owned()));
    assert_eq!(published(printed("verify").await), (3, 0, 16, "current".to_owned()));
}

/// Starts a run against a hub that never responds, and waits until the run serves its progress.
async fn started(scenario: &Scenario) -> (Child, String) {
    scenario.hub.on(REVISION, [answer(200).withheld()]);
    let mut child = scenario
        .command(&["plan", "org/name", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = event["address"].as_str().unwrap().to_owned();
    // Drain stderr, so that the program never blocks on a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

#[tokio::test]
async fn progress_is_served_during_a_run() {
    let scenario = Scenario::new().await;
    let (_child, address) = started(&scenario).await;
    let get = async |path: &str| {
        reqwest::get(format!("http://{address}{path}"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    assert!(get("/progress").await.contains("\"bytesTotal\":0"));
    assert!(
        get("/metrics")
            .await
            .contains("modelcache_fetcher_received_bytes_total 0")
    );
    assert_eq!(get("/healthz").await, "ok\n");
}

#[tokio::test]
async fn sigterm_ends_the_run_cleanly_and_is_reported() {
    let scenario = Scenario::new().await;
    let (mut child, _) = started(&scenario).await;
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(5), child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(50));
    assert_eq!(scenario.failure().class, FailureClass::Interrupted);
}

#[tokio::test]
async fn a_failure_is_printed_as_json_on_request() {
    let scenario = Scenario::new().await;
    let refusal: Answer = answer(404).header("x-error-code", "RepoNotFound");
    scenario.hub.on(REVISION, [refusal]);
    let output = scenario.run(&["plan", "org/name", "--json"]).await;
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report, scenario.report());
}

#[tokio::test]
async fn plan_shows_the_bytes_on_disk_and_estimates_the_time_for_the_rest() {
    let scenario = Scenario::new().await;
    let models = scenario.path("models");
    let plan = ["plan", "org/name", "--dir", &models, "--probe"];
    let output = scenario.run(&[&plan[..], &["--json"]].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["disk"]["bytesPresent"], 0);
    assert_eq!(list["disk"]["bytesToFetch"], 16);
    assert_eq!(list["disk"]["roomNeeded"], 16);
    assert!(list["disk"]["roomFree"].as_u64().unwrap() > 0);
    let origin = &list["origins"][0];
    assert!(
        origin["bytesPerSecond"].as_u64().unwrap() > 0 && origin["firstByteMilliseconds"].is_u64(),
        "{origin}"
    );
    assert_eq!(list["estimatedSeconds"], 1);
    assert!(!Path::new(&models).exists(), "a plan writes nothing");

    scenario.fetch(&[]).await;
    let count = scenario.cdn.count("GET /abc?sig=secret");
    let output = scenario.run(&["plan", "org/name", "--dir", &models]).await;
    let printed = text(&output.stdout);
    assert!(
        printed.contains(&format!("16 B already in {models}, 0 B to fetch")),
        "{printed}"
    );
    assert_eq!(
        scenario.cdn.count("GET /abc?sig=secret"),
        count,
        "without a terminal, origins are probed only on request"
    );
}

#[tokio::test]
async fn an_origin_that_cannot_be_probed_is_reported() {
    let scenario = Scenario::new().await;
    scenario.cdn.on("GET /abc?sig=secret", [answer(503)]);
    let only = ["--include", "model.safetensors", "--probe"];
    let output = scenario.run(&[&["plan", "org/name"], &only[..]].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(
        printed.contains("(returned 503") && printed.contains("no time estimate"),
        "{printed}"
    );
    assert!(!printed.contains("secret"), "{printed}");
}

#[rstest]
#[case("bash", "complete -F")]
#[case("zsh", "#compdef modelcache-fetcher")]
#[case("fish", "complete -c modelcache-fetcher")]
#[tokio::test]
async fn completions_contain_every_command(#[case] shell: &str, #[case] marker: &str) {
    let scenario = Scenario::new().await;
    let output = scenario.run(&["completions", shell]).await;
    assert!(output.status.success());
    let script = text(&output.stdout);
    for word in [marker, "repair", "verify", "stall-timeout"] {
        assert!(script.contains(word), "{word}");
    }
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command_and_no_value_of_the_environment() {
    let scenario = Scenario::new().await;
    let folder = scenario.path("man/man1");
    assert!(scenario.run(&["man", &folder]).await.status.success());
    for page in ["", "-plan", "-fetch", "-verify", "-repair", "-completions"] {
        let page = read(&folder, &format!("modelcache-fetcher{page}.1"));
        assert!(
            page.contains(".TH modelcache") && !page.contains(&scenario.hub.url),
            "{page}"
        );
    }
    assert!(read(&folder, "modelcache-fetcher.1").contains("Exit codes"));

    fs::write(scenario.path("file"), "").unwrap();
    let output = scenario.run(&["man", &scenario.path("file")]).await;
    assert_eq!(output.status.code(), Some(32));
    assert!(text(&output.stderr).starts_with("error: failed to write manual pages to"));
}
