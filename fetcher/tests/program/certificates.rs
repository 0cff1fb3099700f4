//! Servers with a certificate of a private authority.

use std::process::Output;

use modelcache_crds::report::FailureClass;
use tempfile::TempDir;
use tokio::process::Command;

use crate::encrypted::Authority;
use crate::scripted::{ScriptedServer, answer};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A server with one file and a certificate for a name, and a folder with the certificate of its authority.
struct Scenario {
    url: String,
    folder: TempDir,
    hub: ScriptedServer,
}

impl Scenario {
    async fn new(name: &str) -> Self {
        let hub = ScriptedServer::start().await;
        for method in ["HEAD", "GET"] {
            hub.on(&format!("{method} /m.gguf"), [answer(200).body(b"abc")]);
        }
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        authority.write(&folder.path().join("ca.pem"));
        let address = authority.serve(name, &hub.url).await;
        Self {
            url: format!("https://localhost:{}/m.gguf#sha256={ABC}", address.port()),
            folder,
            hub,
        }
    }

    async fn fetch(&self, options: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"));
        command
            .args(["fetch", &self.url, "models"])
            .args(options)
            .env_clear()
            // The weights here are three bytes.
            .env("MODELCACHE_FORMAT_CHECK", "warn")
            .envs(variables.iter().copied())
            .current_dir(self.folder.path());
        command.output().await.unwrap()
    }

    fn assert_fetched(&self, output: &Output) {
        assert!(output.status.success(), "{output:?}");
        let published = std::fs::read(self.folder.path().join("models/current/m.gguf")).unwrap();
        assert_eq!(published, b"abc");
    }

    fn assert_refused(&self, output: &Output) -> String {
        let class = FailureClass::SourceUnreachable;
        assert_eq!(output.status.code(), Some(class.exit_code().into()), "{output:?}");
        assert!(
            self.hub.requests().is_empty(),
            "a request was sent to an untrusted server"
        );
        String::from_utf8(output.stderr.clone()).unwrap()
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_with_advice() {
    let scenario = Scenario::new("localhost").await;
    let stderr = scenario.assert_refused(&scenario.fetch(&[], &[]).await);
    assert!(
        stderr.contains("UnknownIssuer") && stderr.contains("give its certificate authority with --ca-certificate"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_configured_authority_is_trusted_for_listing_and_download() {
    for (options, variables) in [
        (&["--ca-certificate", "ca.pem"][..], &[][..]),
        (&[], &[("MODELCACHE_CA_FILE", "ca.pem")]),
        (&[], &[("SSL_CERT_FILE", "ca.pem")]),
    ] {
        let scenario = Scenario::new("localhost").await;
        scenario.assert_fetched(&scenario.fetch(options, variables).await);
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_even_from_a_trusted_authority() {
    let scenario = Scenario::new("elsewhere.invalid").await;
    let stderr = scenario.assert_refused(&scenario.fetch(&["--ca-certificate", "ca.pem"], &[]).await);
    assert!(stderr.contains("certificate"), "{stderr}");
}

#[tokio::test]
async fn an_unreadable_file_of_authorities_is_reported_before_any_request() {
    let scenario = Scenario::new("localhost").await;
    let output = scenario.fetch(&["--ca-certificate", "missing.pem"], &[]).await;
    assert_eq!(output.status.code(), Some(FailureClass::Usage.exit_code().into()));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("missing.pem cannot be read"), "{stderr}");
}

#[tokio::test]
async fn redirects_from_https_to_http_are_not_followed_by_listing_or_download() {
    // The listing requests the size with HEAD, the fetch requests the bytes with GET.
    tokio::join!(
        assert_redirect_to_http_is_not_followed("HEAD"),
        assert_redirect_to_http_is_not_followed("GET")
    );
}

/// Checks that the program does not follow a redirect from https to http, for requests with the method `redirected`.
async fn assert_redirect_to_http_is_not_followed(redirected: &str) {
    let scenario = Scenario::new("localhost").await;
    let open = ScriptedServer::start().await;
    for method in ["HEAD", "GET"] {
        open.on(&format!("{method} /m.gguf"), [answer(200).body(b"abc")]);
    }
    let elsewhere = answer(302).header("location", &format!("{}/m.gguf", open.url));
    scenario.hub.on(&format!("{redirected} /m.gguf"), [elsewhere]);
    let output = scenario.fetch(&["--ca-certificate", "ca.pem"], &[]).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let code = FailureClass::SourceError.exit_code();
    assert_eq!(output.status.code(), Some(code.into()), "{redirected}: {stderr}");
    let refusal = format!("redirects to {}/m.gguf, which is not encrypted; not followed", open.url);
    assert!(stderr.contains(&refusal), "{redirected}: {stderr}");
    assert!(open.requests().is_empty(), "{redirected}: it was followed");
    assert!(!scenario.folder.path().join("models/current").exists());
}
