//! A real registry that requires tokens, and the token server of its challenge. As in the protocol, a token is signed
//! and names its audience and the permitted actions.

use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use modelcache_crds::report::FailureClass;
use rcgen::{Certificate, CertificateParams, KeyPair, PKCS_RSA_SHA256, SigningKey};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::registry::{MANIFEST, READER, Registry, model_pack, run, weights};

const SERVICE: &str = "models";
const ISSUER: &str = "tests";

/// A token server that issues pull tokens to `reader`.
struct TokenServer {
    key: KeyPair,
    certificate: Certificate,
    issued: Mutex<Vec<String>>,
}

#[derive(Deserialize)]
struct Wanted {
    service: String,
    scope: String,
}

impl TokenServer {
    /// Starts the server; returns it and its URL.
    async fn start() -> (Arc<Self>, String) {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let certificate = CertificateParams::new([]).unwrap().self_signed(&key).unwrap();
        let issued = Mutex::default();
        let server = Arc::new(Self {
            key,
            certificate,
            issued,
        });
        let router = Router::new()
            .route("/token", get(token))
            .with_state(Arc::clone(&server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let realm = format!("http://{}/token", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, realm)
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [BASE64_STANDARD.encode(self.certificate.der())]});
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.sign(text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn token(
    State(server): State<Arc<TokenServer>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let is_reader = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|sent| sent == &format!("Basic {READER}"));
    if !is_reader {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let [kind, name, actions] = wanted.scope.split(':').collect::<Vec<_>>()[..] else {
        return Err(StatusCode::BAD_REQUEST);
    };
    let now = jiff::Timestamp::now().as_second();
    let token = server.sign(&json!({
        "iss": ISSUER, "sub": "reader", "aud": wanted.service, "jti": "1",
        "iat": now, "nbf": now - 60, "exp": now + 300,
        "access": [{"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}],
    }));
    server.issued.lock().unwrap().push(token.clone());
    Ok(Json(json!({"token": token, "expires_in": 300})))
}

#[tokio::test]
async fn a_registry_that_requires_a_token_gets_one_which_is_never_printed() {
    let open = Registry::start(false).await;
    let bytes = weights(5 << 20);
    let manifest = model_pack(&open, &bytes).await;
    open.manifest("org/model", "v1", MANIFEST, &manifest).await;
    let (server, realm) = TokenServer::start().await;
    let closed = open
        .with_tokens(&realm, SERVICE, ISSUER, &server.certificate.pem())
        .await;
    let source = format!("oci+http://{}/org/model:v1", closed.host);
    let folder = tempfile::tempdir().unwrap();

    let output = run(&["fetch", &source], folder.path(), "").await;
    let code = i32::from(FailureClass::AuthenticationFailed.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");

    let credentials = json!({"auths": {&closed.host: {"auth": READER}}}).to_string();
    let output = run(&["fetch", &source], folder.path(), &credentials).await;
    assert!(output.status.success(), "{output:?}");
    let current = folder.path().join("current");
    assert!(std::fs::read(current.join("sub/model.safetensors")).unwrap() == bytes);
    let issued = server.issued.lock().unwrap().clone();
    assert_eq!(issued.len(), 1, "one token serves all requests");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains(&issued[0]) && !printed.contains(READER), "{printed}");
}
