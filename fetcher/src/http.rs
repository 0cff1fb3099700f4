//! The HTTP clients and what their errors mean. They follow no redirect, decompress nothing and know no hub.

use std::error::Error;
use std::time::Duration;

use modelcache_crds::report::FailureClass;

use crate::error::SourceError;
use crate::redact::SecretUrl;

/// A name that resolves and a port that answers do so within this, also across oceans.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest silence of an API call. Ranges are watched by the engine instead, which knows what to do about it.
const API_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Finds a peer that went away without a word, also between two requests.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// What this program calls itself to servers.
const USER_AGENT: &str = concat!("modelcache-fetcher/", env!("CARGO_PKG_VERSION"));

/// The client for a hub's API: answers are small and come at once.
pub fn api_client() -> Result<reqwest::Client, SourceError> {
    build(base().read_timeout(API_READ_TIMEOUT))
}

/// The client for byte ranges: a body may take as long as it takes.
pub fn range_client() -> Result<reqwest::Client, SourceError> {
    build(base())
}

fn base() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        // Whoever follows a redirect must decide what of a request may go to the next host.
        .redirect(reqwest::redirect::Policy::none())
        // Retries are counted and told by our own code.
        .retry(reqwest::retry::never())
        // With HTTP/2 all ranges of a host would share one TCP connection, and its one congestion window.
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE)
        .tcp_nodelay(true)
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, SourceError> {
    builder.build().map_err(|error| {
        SourceError::new(
            FailureClass::Internal,
            format!(
                "failed to set up the HTTP client: {}; check the proxy variables and the system's certificates",
                causes(&error)
            ),
        )
    })
}

/// What went wrong on the way to an address, or on the way back.
#[must_use]
pub fn describe(error: &reqwest::Error, url: &SecretUrl) -> SourceError {
    let causes = causes(error);
    if error.is_builder() {
        return SourceError::new(FailureClass::Internal, format!("cannot ask {url}: {causes}"));
    }
    let advice = if causes.contains("dns error") {
        "check the endpoint's name, and that this network resolves it"
    } else if causes.contains("certificate") {
        "check the endpoint, or give its certificate authority in SSL_CERT_FILE"
    } else if error.is_connect() {
        "check the endpoint, and that this network (firewall, NetworkPolicy, proxy) lets connections there through"
    } else {
        "the server or the way to it failed; trying again may help"
    };
    let what = if error.is_connect() {
        "cannot connect to"
    } else if error.is_timeout() {
        "no answer in time from"
    } else {
        "the connection broke to"
    };
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("{what} {url}: {causes}; {advice}"),
    )
}

/// The chain of causes as one line, without the address, which may be signed, and without what says nothing.
fn causes(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        let says_nothing = text.starts_with("client error") || text.starts_with("error sending request");
        let repeats = parts.last().is_some_and(|last| last.contains(&text));
        if !says_nothing && !repeats {
            // A cause whose text ends with its own cause's makes that one a repetition.
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
    use tokio::net::TcpListener;

    use super::*;

    fn url(text: &str) -> SecretUrl {
        SecretUrl::new(text.parse().unwrap())
    }

    async fn failure(address: &str) -> SourceError {
        let url = url(address);
        let error = range_client()
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
    async fn a_name_that_does_not_resolve_is_told_as_such() {
        let error = failure("http://no-such-host.invalid/").await;
        assert!(error.message.contains("dns error"), "{}", error.message);
        assert!(error.message.contains("no-such-host.invalid"), "{}", error.message);
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
        assert!(
            error.message.starts_with("the connection broke to"),
            "{}",
            error.message
        );
    }
}
