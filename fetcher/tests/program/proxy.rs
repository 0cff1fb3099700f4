//! The program behind a proxy, which alone knows where the hub is.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex};

use modelcache_crds::report::FailureClass;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::encrypted::Authority;
use crate::scripted::{Scripted, answer};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// `me:proxy-secret` as basic credentials.
const CREDENTIALS: &str = "proxy-authorization: basic bwu6chjvehktc2vjcmv0\r\n";

/// A proxy that lets those through who know its password, wherever they want to go, to one server.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(pass_on(stream, server, Arc::clone(&log)));
            }
        });
        Self { address, asked }
    }

    fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}{}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn pass_on(mut client: TcpStream, server: SocketAddr, log: Arc<Mutex<Vec<String>>>) {
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

struct Room {
    hub: Scripted,
    folder: TempDir,
}

impl Room {
    async fn new() -> Self {
        let hub = Scripted::start().await;
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

    /// Fetches and tells everything there is to tell.
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
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            !told.contains("proxy-secret") && !told.contains("bWU6cHJveHktc2VjcmV0"),
            "{told}"
        );
        output
    }

    fn assert_fetched(&self, output: &Output) {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let published = std::fs::read(self.folder.path().join("models/current/m.gguf")).unwrap();
        assert_eq!(published, b"abc");
    }
}

fn assert_unreachable(output: &Output, why: &str) {
    let class = FailureClass::SourceUnreachable;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(class.exit_code().into()), "{told}");
    let error = told.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn an_open_address_is_asked_through_the_proxy_and_its_password_is_never_told() {
    let room = Room::new().await;
    let proxy = Proxy::start(room.address()).await;
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let output = room
            .fetch("http://hub.invalid", &[(variable, &proxy.url("me:proxy-secret@"))])
            .await;
        room.assert_fetched(&output);
    }
    assert!(
        proxy
            .asked()
            .contains(&"GET http://hub.invalid/m.gguf HTTP/1.1".to_owned())
    );
}

#[tokio::test]
async fn an_encrypted_address_is_asked_through_a_tunnel_that_the_proxy_cannot_look_into() {
    let room = Room::new().await;
    let authority = Authority::new();
    let certificate = room.folder.path().join("ca.pem");
    authority.write(&certificate);
    let proxy = Proxy::start(authority.serve("hub.invalid", &room.hub.url).await).await;
    let variables = [
        ("HTTPS_PROXY", proxy.url("me:proxy-secret@")),
        ("MODELCACHE_CA_FILE", certificate.to_str().unwrap().to_owned()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    room.assert_fetched(&room.fetch("https://hub.invalid", &variables).await);
    let asked = proxy.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|asked| asked == "CONNECT hub.invalid:443 HTTP/1.1"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn hosts_that_are_excepted_are_asked_without_the_proxy() {
    let room = Room::new().await;
    let proxy = Proxy::start(room.address()).await;
    let variables = [
        ("HTTP_PROXY", proxy.url("")),
        ("NO_PROXY", "localhost,127.0.0.1".to_owned()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    room.assert_fetched(&room.fetch(&room.hub.url, &variables).await);
    assert_eq!(proxy.asked(), [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_told_as_such() {
    let room = Room::new().await;
    let proxy = Proxy::start(room.address()).await;
    let wrong = proxy.url("me:proxy-secret-no-more@");
    let advice = "set the proxy's credentials in HTTPS_PROXY and HTTP_PROXY";
    let (open, encrypted) = ([("HTTP_PROXY", wrong.as_str())], [("HTTPS_PROXY", wrong.as_str())]);
    let gone = [("HTTP_PROXY", "http://me:proxy-secret@127.0.0.1:1")];
    let (open, encrypted, gone) = tokio::join!(
        room.fetch("http://hub.invalid", &open),
        room.fetch("https://hub.invalid", &encrypted),
        room.fetch("http://hub.invalid", &gone)
    );
    assert_unreachable(&open, advice);
    assert_unreachable(&encrypted, advice);
    assert_unreachable(&gone, "allows connections to it");
    assert_eq!(room.hub.asked(), []);
}
