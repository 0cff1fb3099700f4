//! Servers whose certificate is of an authority of somebody's own.

use std::process::Output;

use modelcache_crds::report::FailureClass;
use tempfile::TempDir;
use tokio::process::Command;

use crate::encrypted::Authority;
use crate::scripted::{Scripted, answer};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A server of one file under a name, and a folder with the certificate of its authority.
struct Room {
    url: String,
    folder: TempDir,
    hub: Scripted,
}

impl Room {
    async fn new(name: &str) -> Self {
        let hub = Scripted::start().await;
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
            self.hub.asked().is_empty(),
            "something was asked of a server that is not trusted"
        );
        String::from_utf8(output.stderr.clone()).unwrap()
    }
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused_with_what_to_do() {
    let room = Room::new("localhost").await;
    let told = room.assert_refused(&room.fetch(&[], &[]).await);
    assert!(
        told.contains("UnknownIssuer") && told.contains("give its certificate authority with --ca-certificate"),
        "{told}"
    );
}

#[tokio::test]
async fn an_authority_that_is_given_is_trusted_for_the_listing_and_for_the_bytes() {
    for (options, variables) in [
        (&["--ca-certificate", "ca.pem"][..], &[][..]),
        (&[], &[("MODELCACHE_CA_FILE", "ca.pem")]),
        (&[], &[("SSL_CERT_FILE", "ca.pem")]),
    ] {
        let room = Room::new("localhost").await;
        room.assert_fetched(&room.fetch(options, variables).await);
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_whoever_signed_it() {
    let room = Room::new("elsewhere.invalid").await;
    let told = room.assert_refused(&room.fetch(&["--ca-certificate", "ca.pem"], &[]).await);
    assert!(told.contains("certificate"), "{told}");
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_told_before_anything_is_asked() {
    let room = Room::new("localhost").await;
    let output = room.fetch(&["--ca-certificate", "missing.pem"], &[]).await;
    assert_eq!(output.status.code(), Some(FailureClass::Usage.exit_code().into()));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("missing.pem cannot be read"), "{told}");
}

#[tokio::test]
async fn an_encrypted_address_is_not_left_for_an_open_one_by_the_listing_or_by_the_bytes() {
    // The listing asks for the size with HEAD, the fetch for the bytes with GET.
    tokio::join!(
        assert_is_not_left_for_an_open_one("HEAD"),
        assert_is_not_left_for_an_open_one("GET")
    );
}

/// Checks that the program does not follow an encrypted server which redirects one kind of request to an open one.
async fn assert_is_not_left_for_an_open_one(redirected: &str) {
    let room = Room::new("localhost").await;
    let open = Scripted::start().await;
    for method in ["HEAD", "GET"] {
        open.on(&format!("{method} /m.gguf"), [answer(200).body(b"abc")]);
    }
    let elsewhere = answer(302).header("location", &format!("{}/m.gguf", open.url));
    room.hub.on(&format!("{redirected} /m.gguf"), [elsewhere]);
    let output = room.fetch(&["--ca-certificate", "ca.pem"], &[]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    let code = FailureClass::SourceError.exit_code();
    assert_eq!(output.status.code(), Some(code.into()), "{redirected}: {told}");
    let refusal = format!("redirects to {}/m.gguf, which is not encrypted; not followed", open.url);
    assert!(told.contains(&refusal), "{redirected}: {told}");
    assert!(open.asked().is_empty(), "{redirected}: it was followed");
    assert!(!room.folder.path().join("models/current").exists());
}
