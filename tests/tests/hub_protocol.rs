//! Tests of the test hub: the Hugging Face Hub's protocol, fault injection and counts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use modelcache_tests::hub::{Access, Fault, GatedListing, Hub, HubConfig, Rule, Signing, Stage};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderMap, LINK, RANGE};
use reqwest::{Client, Response, StatusCode, redirect};
use serde_json::{Value, json};

const MODEL: &str = "org/model";
const WEIGHTS: &[u8] = b"0123456789";

struct Served {
    hub: Hub,
    client: Client,
    commit: String,
}

async fn serve(config: HubConfig) -> Served {
    // Fails if another test of the same process has installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let hub = Hub::start(config).await.unwrap();
    let files = [
        ("config.json", &b"{}"[..]),
        ("model.safetensors", WEIGHTS),
        ("sub/folder/a b.txt", b"Hello, World!"),
    ];
    let commit = hub.commit_bytes(MODEL, "main", files).await.unwrap();
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    Served { hub, client, commit }
}

impl Served {
    async fn get(&self, path: &str) -> Response {
        self.send(path, HeaderMap::new()).await
    }

    async fn send(&self, path: &str, headers: HeaderMap) -> Response {
        let url = format!("{}{path}", self.hub.endpoint());
        self.client.get(url).headers(headers).send().await.unwrap()
    }

    async fn ranged(&self, url: &str, range: &str) -> reqwest::Result<Response> {
        self.client.get(url).header(RANGE, range).send().await
    }

    /// The signed URL of the weights.
    async fn weights_url(&self) -> String {
        let response = self.get("/org/model/resolve/main/model.safetensors").await;
        assert_eq!(response.status(), StatusCode::FOUND);
        header(&response, "location")
    }

    /// Requests a range of the weights with one injected fault.
    async fn get_with_fault(&self, url: &str, fault: Fault) -> reqwest::Result<Vec<u8>> {
        self.hub.fault(Rule::on(Stage::Cdn, "*.safetensors", fault).times(1));
        let response = self.ranged(url, "bytes=2-5").await?.error_for_status()?;
        Ok(response.bytes().await?.to_vec())
    }
}

fn header(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().unwrap().to_owned()
}

fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
}

#[tokio::test]
async fn a_revision_resolves_to_a_commit_and_lists_in_pages() {
    let served = serve(HubConfig {
        page_size: 2,
        ..HubConfig::default()
    })
    .await;
    let information: Value = served
        .get("/api/models/org/model/revision/main")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(information["sha"], json!(served.commit));

    let mut url = format!(
        "/api/models/org/model/tree/{}?recursive=true&expand=false",
        served.commit
    );
    let mut entries: Vec<Value> = Vec::new();
    loop {
        let response = served.get(&url).await;
        let next = response
            .headers()
            .get(LINK)
            .map(|link| link.to_str().unwrap().to_owned());
        let page: Vec<Value> = response.json().await.unwrap();
        assert!(page.len() <= 2, "{page:?}");
        entries.extend(page);
        let Some(next) = next else { break };
        let (target, rel) = next.split_once("; ").unwrap();
        assert_eq!(rel, "rel=\"next\"");
        url = target
            .trim_matches(['<', '>'])
            .strip_prefix(&served.hub.endpoint())
            .unwrap()
            .to_owned();
    }
    let kinds: Vec<(&str, &str)> = entries
        .iter()
        .map(|entry| (entry["path"].as_str().unwrap(), entry["type"].as_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("config.json", "file"),
            ("model.safetensors", "file"),
            ("sub", "directory"),
            ("sub/folder", "directory"),
            ("sub/folder/a b.txt", "file"),
        ]
    );
    assert_eq!(entries[0]["oid"], json!("9e26dfeeb6e641a33dae4961196235bdb965b21b"));
    assert_eq!(
        entries[1]["lfs"]["oid"],
        json!("84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882")
    );
}

#[tokio::test]
async fn the_hub_sends_small_files_and_redirects_large_ones_to_signed_urls() {
    for signing in [Signing::CloudFront, Signing::Aws4] {
        let served = serve(HubConfig {
            signing,
            ..HubConfig::default()
        })
        .await;
        let small = served.get("/org/model/resolve/main/sub/folder/a%20b.txt").await;
        assert_eq!(header(&small, "x-repo-commit"), served.commit);
        assert_eq!(header(&small, "etag"), "\"b45ef6fec89518d314f546fd6c3025367b721684\"");
        assert_eq!(small.text().await.unwrap(), "Hello, World!");

        let large = served.get("/org/model/resolve/main/model.safetensors").await;
        assert_eq!(header(&large, "x-linked-size"), "10");
        assert_eq!(header(&large, "x-linked-etag").len(), 66);
        let url = served.weights_url().await;
        assert!(
            url.starts_with(&format!("http://{}/", served.hub.cdn_address())),
            "{url}"
        );
        let part = served.ranged(&url, "bytes=2-4").await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(header(&part, CONTENT_RANGE.as_str()), "bytes 2-4/10");
        assert_ne!(header(&part, ETAG.as_str()), header(&large, "x-linked-etag"));
        assert_eq!(part.text().await.unwrap(), "234");
        let beyond = served.ranged(&url, "bytes=10-").await.unwrap();
        assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    }
}

#[tokio::test]
async fn the_cdn_refuses_credentials_forged_urls_and_expired_ones() {
    let served = serve(HubConfig::default()).await;
    let url = served.weights_url().await;
    let with_credentials = served.client.get(&url).headers(bearer("hf_x")).send().await.unwrap();
    assert_eq!(with_credentials.status(), StatusCode::BAD_REQUEST);
    assert_eq!(served.hub.stats().credentials_at_cdn, 1);
    let forged = served.client.get(url.replace("Expires=", "Expires=9")).send().await;
    assert_eq!(forged.unwrap().status(), StatusCode::FORBIDDEN);
    let head = served.client.head(&url).send().await.unwrap();
    assert_eq!(
        head.status(),
        StatusCode::FORBIDDEN,
        "a URL signed for GET does not permit HEAD"
    );

    let expired = serve(HubConfig {
        url_lifetime_seconds: -1,
        ..HubConfig::default()
    })
    .await;
    let url = expired.weights_url().await;
    assert_eq!(
        expired.client.get(url).send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn missing_access_is_refused_as_on_the_real_hub() {
    let served = serve(HubConfig::default()).await;
    served.hub.grant("hf_friend", &[MODEL]);
    served.hub.grant("hf_stranger", &[]);
    let info = "/api/models/org/model/revision/main";
    let file = "/org/model/resolve/main/config.json";
    let missing = "/api/models/org/none/revision/main";
    let no_revision = "/api/models/org/model/revision/none";
    let no_file = "/org/model/resolve/main/none";
    let open = Access::Gated(GatedListing::Open);
    let refused = Access::Gated(GatedListing::Refused);
    for (access, token, path, status, code) in [
        (Access::Public, None, info, 200, None),
        (Access::Public, Some("hf_wrong"), info, 401, None),
        (Access::Public, None, missing, 401, Some("RepoNotFound")),
        (Access::Public, Some("hf_stranger"), missing, 404, Some("RepoNotFound")),
        (Access::Public, None, no_revision, 404, Some("RevisionNotFound")),
        (Access::Public, None, no_file, 404, Some("EntryNotFound")),
        (Access::Private, None, info, 401, Some("RepoNotFound")),
        (Access::Private, Some("hf_stranger"), info, 404, Some("RepoNotFound")),
        (Access::Private, Some("hf_friend"), info, 200, None),
        (open, None, info, 200, None),
        (open, None, file, 401, Some("GatedRepo")),
        (open, Some("hf_stranger"), file, 403, Some("GatedRepo")),
        (open, Some("hf_friend"), file, 200, None),
        (refused, None, info, 401, Some("GatedRepo")),
        (Access::Disabled, Some("hf_friend"), file, 403, None),
    ] {
        served.hub.set_access(MODEL, access).unwrap();
        let response = served.send(path, token.map(bearer).unwrap_or_default()).await;
        let found = response
            .headers()
            .get("x-error-code")
            .map(|code| code.to_str().unwrap());
        assert_eq!(
            (response.status().as_u16(), found),
            (status, code),
            "{access:?} {token:?} {path}"
        );
    }
    served
        .hub
        .set_access(MODEL, Access::Gated(GatedListing::HashesHidden))
        .unwrap();
    let listing: Value = served
        .get("/api/models/org/model/tree/main")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(listing[0]["oid"], json!("*".repeat(64)));
}

#[tokio::test]
async fn faults_of_bodies_take_effect() {
    let served = serve(HubConfig::default()).await;
    let url = served.weights_url().await;
    for (fault, body) in [
        (Fault::Flip { offset: 3 }, &b"2245"[..]),
        (Fault::ShiftRange { by: 3 }, b"5678"),
        (Fault::IgnoreRange, WEIGHTS),
        (Fault::Slow { bytes_per_second: 40 }, b"2345"),
    ] {
        assert_eq!(served.get_with_fault(&url, fault).await.unwrap(), body);
    }
    for fault in [Fault::Cut { after_bytes: 2 }, Fault::Refuse, Fault::Expired] {
        assert!(served.get_with_fault(&url, fault).await.is_err());
    }
    let page = served.get_with_fault(&url, Fault::Html { status: 200 }).await.unwrap();
    assert!(page.starts_with(b"<!DOCTYPE"));
    let encoded = served.get_with_fault(&url, Fault::Gzip).await.unwrap();
    assert!(encoded.starts_with(&[0x1f, 0x8b, 8]));
}

#[tokio::test]
async fn only_body_bytes_that_were_sent_are_counted() {
    let served = serve(HubConfig::default()).await;
    let url = served.weights_url().await;
    assert!(
        served
            .get_with_fault(&url, Fault::Cut { after_bytes: 2 })
            .await
            .is_err()
    );
    let body = served.ranged(&url, "bytes=2-5").await.unwrap().bytes().await.unwrap();
    assert_eq!(body, &b"2345"[..], "the rule has reached its count");
    let stats = served.hub.stats();
    assert_eq!(stats.bytes_sent, 6);
    assert_eq!(stats.files["model.safetensors"].bytes_sent, 6);
    let ranges: Vec<_> = stats.log.iter().map(|request| request.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=2-5"), Some("bytes=2-5")]);
}

#[tokio::test]
async fn a_small_file_can_be_a_redirect_with_a_required_query() {
    let served = serve(HubConfig::default()).await;
    served
        .hub
        .fault(Rule::on(Stage::Resolve, "config.json", Fault::ResolveCache));
    let response = served.get("/org/model/resolve/main/config.json").await;
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    let place = header(&response, "location");
    assert!(place.starts_with("/api/resolve-cache/models/org/model/"), "{place}");
    assert_eq!(served.get(&place).await.text().await.unwrap(), "{}");
    let (bare, _) = place.split_once('?').unwrap();
    assert_eq!(served.get(bare).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_admin_api_does_what_the_handle_does() {
    let served = serve(HubConfig::default()).await;
    let admin = |path: &str| format!("{}/_admin/{path}", served.hub.endpoint());
    let rule = json!({"stage": "resolve", "path": "*.json", "count": 1, "fault": {"kind": "status", "status": 503}});
    let added = served.client.post(admin("faults")).json(&rule).send().await.unwrap();
    assert_eq!(added.status(), StatusCode::NO_CONTENT);
    let file = "/org/model/resolve/main/config.json";
    assert_eq!(served.get(file).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(served.get(file).await.text().await.unwrap(), "{}");
    let wrong = json!({"fault": {"kind": "none"}});
    let refused = served.client.post(admin("faults")).json(&wrong).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);

    let files = [("config.json", "{\"a\":1}")];
    let second = served.hub.commit_bytes(MODEL, "next", files).await.unwrap();
    let change = json!({"model": MODEL, "branch": "main", "commit": second});
    let moved = served.client.put(admin("branches")).json(&change).send().await.unwrap();
    assert_eq!(moved.status(), StatusCode::NO_CONTENT);
    assert_eq!(served.get(file).await.text().await.unwrap(), "{\"a\":1}");
    let response = served.client.get(admin("models")).send().await.unwrap();
    let models: BTreeMap<String, BTreeMap<String, String>> = response.json().await.unwrap();
    assert_eq!(models[MODEL]["main"], second);

    let response = served.client.get(admin("stats")).send().await.unwrap();
    let stats: Value = response.json().await.unwrap();
    assert_eq!(stats["bytes_sent"], json!(9));
    served.client.delete(admin("stats")).send().await.unwrap();
    assert_eq!(served.hub.stats().requests, 0);
}

#[tokio::test]
async fn a_stopped_hub_frees_its_address() {
    let served = serve(HubConfig::default()).await;
    let config = HubConfig {
        listen: served.hub.address(),
        cdn_listen: served.hub.cdn_address(),
        ..HubConfig::default()
    };
    served.get("/api/models/org/model").await;
    drop(served);
    for _ in 0..100 {
        if Hub::start(config.clone()).await.is_ok() {
            return;
        }
        // Another thread closes the sockets.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} is still in use", config.listen);
}
