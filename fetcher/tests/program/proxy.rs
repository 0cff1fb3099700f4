//! The program behind a proxy; only the proxy can reach the hub.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex};

use modelcache_crds::report::FailureClass;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::encrypted::Authority;
use crate::scripted::{ScriptedServer, answer};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// `me:proxy-secret` as basic credentials.
const CREDENTIALS: &str = "proxy-authorization: basic bwu6chjvehktc2vjcmv0\r\n";

/// A proxy that connects every authenticated request to one server, whatever its target.
struct Proxy {
    address: SocketAddr,
    request_lines: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let request_lines = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&request_lines);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(forward(stream, server, Arc::clone(&log)));
            }
        });
        Self { address, request_lines }
    }

    fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}{}", self.address)
    }

    fn request_lines(&self) -> Vec<String> {
        self.request_lines.lock().unwrap().clone()
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let text = String::from_utf8(head.clone()).unwrap();
    log.lock().unwrap().push(text.lines().next().unwrap().to_owned());
    if !text.to_ascii_lowercase().contains(CREDENTIALS) {
        let refusal =
            b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
        client.write_all(refusal).await.unwrap();
        return;
    }
    let mut server = TcpStream::connect(server).await.unwrap();
    if text.starts_with("CONNECT ") {
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await
            .unwrap();
    } else {
        server.write_all(&head).await.unwrap();
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

struct Scenario {
    hub: ScriptedServer,
    folder: TempDir,
}

impl Scenario {
    async fn new() -> Self {
        let hub = ScriptedServer::start().await;
        for method in ["HEAD", "GET"] {
            hub.on(&format!("{method} /m.gguf"), [answer(200).body(b"abc")]);
        }
        Self {
            hub,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.hub.url.trim_start_matches("http://").parse().unwrap()
    }

    /// Fetches with the most verbose log and checks that it does not contain the password.
    async fn fetch(&self, base: &str, variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"));
        command
            .args(["fetch", &format!("{base}/m.gguf#sha256={ABC}"), "models"])
            .env_clear()
            // The weights here are three bytes.
            .env("MODELCACHE_FORMAT_CHECK", "warn")
            .env("RUST_LOG", "trace")
            .envs(variables.iter().copied())
            .current_dir(self.folder.path());
        let output = command.output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !stderr.contains("proxy-secret") && !stderr.contains("bWU6cHJveHktc2VjcmV0"),
            "{stderr}"
        );
        output
    }

    fn assert_fetched(&self, output: &Output) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let published = std::fs::read(self.folder.path().join("models/current/m.gguf")).unwrap();
        assert_eq!(published, b"abc");
    }
}

fn assert_unreachable(output: &Output, why: &str) {
    let class = FailureClass::SourceUnreachable;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(class.exit_code().into()), "{stderr}");
    let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn http_requests_use_the_proxy_and_its_password_is_never_logged() {
    let scenario = Scenario::new().await;
    let proxy = Proxy::start(scenario.address()).await;
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let output = scenario
            .fetch("http://hub.invalid", &[(variable, &proxy.url("me:proxy-secret@"))])
            .await;
        scenario.assert_fetched(&output);
    }
    assert!(
        proxy
            .request_lines()
            .contains(&"GET http://hub.invalid/m.gguf HTTP/1.1".to_owned())
    );
}

#[tokio::test]
async fn https_requests_use_a_tunnel_through_the_proxy() {
    let scenario = Scenario::new().await;
    let authority = Authority::new();
    let certificate = scenario.folder.path().join("ca.pem");
    authority.write(&certificate);
    let proxy = Proxy::start(authority.serve("hub.invalid", &scenario.hub.url).await).await;
    let variables = [
        ("HTTPS_PROXY", proxy.url("me:proxy-secret@")),
        ("MODELCACHE_CA_FILE", certificate.to_str().unwrap().to_owned()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    scenario.assert_fetched(&scenario.fetch("https://hub.invalid", &variables).await);
    let lines = proxy.request_lines();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line == "CONNECT hub.invalid:443 HTTP/1.1"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn hosts_in_no_proxy_are_requested_directly() {
    let scenario = Scenario::new().await;
    let proxy = Proxy::start(scenario.address()).await;
    let variables = [
        ("HTTP_PROXY", proxy.url("")),
        ("NO_PROXY", "localhost,127.0.0.1".to_owned()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    scenario.assert_fetched(&scenario.fetch(&scenario.hub.url, &variables).await);
    assert_eq!(proxy.request_lines(), [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_unreachable_is_reported() {
    let scenario = Scenario::new().await;
    let proxy = Proxy::start(scenario.address()).await;
    let wrong = proxy.url("me:proxy-secret-no-more@");
    let advice = "set the proxy's credentials in HTTPS_PROXY and HTTP_PROXY";
    let (http, https) = ([("HTTP_PROXY", wrong.as_str())], [("HTTPS_PROXY", wrong.as_str())]);
    let gone = [("HTTP_PROXY", "http://me:proxy-secret@127.0.0.1:1")];
    let (http, https, gone) = tokio::join!(
        scenario.fetch("http://hub.invalid", &http),
        scenario.fetch("https://hub.invalid", &https),
        scenario.fetch("http://hub.invalid", &gone)
    );
    assert_unreachable(&http, advice);
    assert_unreachable(&https, advice);
    assert_unreachable(&gone, "allows connections to it");
    assert_eq!(scenario.hub.requests(), []);
}
