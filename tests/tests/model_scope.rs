//! The fetcher's program against the ModelScope API of the test hub, which `hub_clients` checks with ModelScope's own
//! client.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]

use std::path::Path;
use std::process::Output;

use modelcache_crds::report::FailureClass;
use modelcache_tests::hub::{Access, Hub, HubConfig};
use modelcache_tests::program::fetcher;
use pretty_assertions::assert_eq;
use tokio::process::Command;

const MODEL: &str = "org/model";
/// Several pieces.
const SIZE: usize = 20 << 20;

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let weights = (0..SIZE).map(|at| u8::try_from((at * at / 7 + at / 1021) % 251).unwrap());
    vec![
        ("config.json", b"{\"hidden_size\": 7}".to_vec()),
        ("model.safetensors", weights.collect()),
        ("sub/a b+c.txt", b"text".to_vec()),
        ("sub/empty.txt", Vec::new()),
    ]
}

async fn fetch(hub: &Hub, folder: &Path, token: Option<&str>) -> Output {
    Command::new(fetcher().unwrap())
        .args([
            "fetch",
            "modelscope://org/model",
            "--modelscope-endpoint",
            &hub.endpoint(),
        ])
        .arg(folder)
        .env("MODELSCOPE_API_TOKEN", token.unwrap_or_default())
        // These weights have no safetensors header.
        .env("MODELCACHE_FORMAT_CHECK", "warn")
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_private_model_is_published_with_its_token_and_ranges_with_status_200() {
    let hub = Hub::start(HubConfig::default()).await.unwrap();
    hub.commit_bytes(MODEL, "master", files()).await.unwrap();
    hub.set_access(MODEL, Access::Private).unwrap();
    hub.grant("ms-friend", &[MODEL]);
    let folder = tempfile::tempdir().unwrap();
    let output = fetch(&hub, folder.path(), None).await;
    let class = FailureClass::AuthenticationFailed;
    assert_eq!(output.status.code(), Some(i32::from(class.exit_code())), "{output:?}");
    let output = fetch(&hub, folder.path(), Some("ms-friend")).await;
    assert!(output.status.success(), "{output:?}");
    for (name, bytes) in files() {
        assert!(
            std::fs::read(folder.path().join("current").join(name)).unwrap() == bytes,
            "{name}"
        );
    }
    let log = hub.stats().log;
    assert!(
        log.iter()
            .any(|request| request.range.is_some() && request.bytes_sent > 1),
        "{log:?}"
    );
    assert!(log.iter().all(|request| request.status != 206), "{log:?}");
}
