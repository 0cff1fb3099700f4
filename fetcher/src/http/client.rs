//! The HTTP clients and the classification of their errors. They follow no redirects and decompress nothing.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use modelcache_crds::report::FailureClass;
use reqwest::Certificate;

use super::redact::SecretUrl;
use crate::model::error::SourceError;

/// Limit for name resolution and connecting; ample even between continents.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest silence in an API response. The engine watches range responses itself, by its stall rule.
const API_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval of TCP keepalive probes, which detect a vanished peer on an idle connection.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

const PROXY_ADVICE: &str =
    "set the proxy's credentials in HTTPS_PROXY and HTTP_PROXY, as http://user:password@proxy:port";

/// `User-Agent` of all requests.
const USER_AGENT: &str = concat!("modelcache-fetcher/", env!("CARGO_PKG_VERSION"));

/// Certificate authorities that are trusted in addition to the system's.
#[derive(Clone, Debug, Default)]
pub struct Trust(Vec<Certificate>);

impl Trust {
    /// Reads certificate authorities from a PEM file.
    pub fn from_file(path: &Path) -> Result<Self, SourceError> {
        let unusable = |why: String| {
            SourceError::new(
                FailureClass::Usage,
                format!("certificate authority file {} {why}; give a PEM file", path.display()),
            )
        };
        let pem = std::fs::read(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let authorities =
            Certificate::from_pem_bundle(&pem).map_err(|error| unusable(format!("is damaged: {}", causes(&error))))?;
        if authorities.is_empty() {
            return Err(unusable("contains no certificate".to_owned()));
        }
        Ok(Self(authorities))
    }
}

/// The client for API calls, with a read timeout: responses are small and start at once.
pub fn api_client(trust: &Trust) -> Result<reqwest::Client, SourceError> {
    build(base(trust).read_timeout(API_READ_TIMEOUT))
}

/// The client for byte ranges, without a read timeout.
pub fn range_client(trust: &Trust) -> Result<reqwest::Client, SourceError> {
    build(base(trust))
}

fn base(trust: &Trust) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        // Our own code follows redirects, since it must decide which headers the next host may see.
        .redirect(reqwest::redirect::Policy::none())
        // Our own code retries, counts and logs.
        .retry(reqwest::retry::never())
        // With HTTP/2 all ranges from a host would share one TCP connection and one congestion window.
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE)
        .tcp_nodelay(true)
        .tls_certs_merge(trust.0.iter().cloned())
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, SourceError> {
    builder.build().map_err(|error| {
        SourceError::new(
            FailureClass::Internal,
            format!(
                "failed to set up the HTTP client: {}; check the proxy variables and the certificates (the system's, --ca-certificate)",
                causes(&error)
            ),
        )
    })
}

/// Turns a failed request into a source error with advice.
#[must_use]
pub fn describe(error: &reqwest::Error, url: &SecretUrl) -> SourceError {
    let causes = causes(error);
    if error.is_builder() {
        return SourceError::new(
            FailureClass::Internal,
            format!("cannot build a request to {url}: {causes}"),
        );
    }
    let advice = if causes.contains("proxy auth") {
        PROXY_ADVICE
    } else if causes.contains("dns error") {
        "check the endpoint's name, and that this network resolves it"
    } else if causes.contains("certificate") {
        "check the endpoint, or give its certificate authority with --ca-certificate"
    } else if error.is_connect() {
        "check the endpoint, and that this network (firewall, NetworkPolicy, proxy) allows connections to it"
    } else {
        "the server or the network failed, trying again may help"
    };
    let what = if error.is_connect() {
        "cannot connect to"
    } else if error.is_timeout() {
        "timed out waiting for"
    } else {
        "lost the connection to"
    };
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("{what} {url}: {causes}; {advice}"),
    )
}

/// The error for status 407 from a proxy.
pub(crate) fn proxy_auth_required() -> SourceError {
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("the proxy requires credentials (407); {PROXY_ADVICE}"),
    )
}

/// The chain of causes as one line, without generic texts and without the URL, which may be signed.
fn causes(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        let is_generic = text.starts_with("client error") || text.starts_with("error sending request");
        // The text of some causes ends with the text of their own cause.
        let is_repeated = parts.last().is_some_and(|last| last.contains(&text));
        if !is_generic && !is_repeated {
            parts.push(text);
        }
        next = cause.source();
    }
    if parts.is_empty() {
        return if error.is_timeout() {
            "timed out".to_owned()
        } else {
            "the request failed".to_owned()
        };
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use rstest::rstest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn url(text: &str) -> SecretUrl {
        SecretUrl::new(text.parse().unwrap())
    }

    async fn failure(address: &str) -> SourceError {
        let url = url(address);
        let error = range_client(&Trust::default())
            .unwrap()
            .get(url.expose().clone())
            .send()
            .await
            .unwrap_err();
        describe(&error, &url)
    }

    #[tokio::test]
    async fn a_refused_connection_says_so_and_shows_no_query() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = failure(&format!("http://{free}/x?sig=secret")).await;
        assert_eq!(error.class, FailureClass::SourceUnreachable);
        assert!(error.message.contains("Connection refused"), "{}", error.message);
        assert!(!error.message.contains("secret"), "{}", error.message);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_reported_as_a_dns_error() {
        let error = failure("http://no-such-host.invalid/").await;
        assert!(error.message.contains("dns error"), "{}", error.message);
        assert!(error.message.contains("no-such-host.invalid"), "{}", error.message);
    }

    /// A port that never accepts: the one slot of its backlog is taken, so the system drops further connections.
    async fn black_hole(address: &str) -> (socket2::Socket, TcpStream, SocketAddr) {
        let address: SocketAddr = address.parse().unwrap();
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let waiting = TcpStream::connect(address).await.unwrap();
        (socket, waiting, address)
    }

    #[tokio::test]
    async fn an_ipv6_address_that_never_answers_does_not_keep_ipv4_waiting() {
        let (_queue, _waiting, dead) = black_hole("[::1]:0").await;
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, dead.port())).await else {
            panic!("port {} is taken", dead.port());
        };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                let _read = stream.read(&mut [0; 1024]).await.unwrap();
                stream.write_all(response).await.unwrap();
            }
        });
        let alive = SocketAddr::from((Ipv4Addr::LOCALHOST, dead.port()));
        // Several dead addresses, as large sites have several; they are tried one after the other.
        let client = base(&Trust::default())
            .no_proxy()
            .resolve_to_addrs("hub.invalid", &[dead, dead, dead, alive])
            .build()
            .unwrap();
        let request = client.get(format!("http://hub.invalid:{}/", dead.port())).send();
        // Far less than the connect timeout of a single address.
        let response = tokio::time::timeout(CONNECT_TIMEOUT / 4, request).await;
        assert!(response.unwrap().unwrap().status().is_success());
    }

    #[tokio::test]
    async fn an_address_that_never_answers_is_given_up_in_time_and_reported() {
        let (_queue, _waiting, dead) = black_hole("127.0.0.1:0").await;
        let client = base(&Trust::default())
            .no_proxy()
            .connect_timeout(Duration::from_millis(50));
        let url = url(&format!("http://{dead}/x"));
        let error = client
            .build()
            .unwrap()
            .get(url.expose().clone())
            .send()
            .await
            .unwrap_err();
        let error = describe(&error, &url);
        assert_eq!(error.class, FailureClass::SourceUnreachable);
        assert!(
            error.message.starts_with("cannot connect to http://127.0.0.1"),
            "{}",
            error.message
        );
        // Two timers race; either may end the attempt.
        let is_timeout = ["deadline has elapsed", "timed out"]
            .iter()
            .any(|text| error.message.contains(text));
        assert!(is_timeout, "{}", error.message);
    }

    #[rstest]
    #[case::empty(Some(""), "contains no certificate")]
    #[case::something_else(Some("a text"), "contains no certificate")]
    #[case::damaged(Some("-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n"), "is damaged")]
    #[case::missing(None, "cannot be read")]
    fn a_file_without_authorities_is_refused(#[case] content: Option<&str>, #[case] expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = Trust::from_file(&path).unwrap_err();
        assert_eq!(error.class, FailureClass::Usage);
        assert!(error.message.contains(expected), "{}", error.message);
    }

    #[tokio::test]
    async fn a_connection_closed_without_an_answer_is_a_transient_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let error = failure(&format!("http://{address}/")).await;
        assert_eq!(error.class, FailureClass::SourceUnreachable);
        assert!(error.message.starts_with("lost the connection to"), "{}", error.message);
    }
}
