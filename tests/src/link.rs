//! A relay between clients and a server on this machine that simulates a network link: it delays all traffic by a
//! latency and limits it to bandwidth caps.
//!
//! It replaces `tc qdisc netem`, which kernels of small machines often lack. It does not simulate loss, reordering and
//! the slow start of new connections.

mod pace;
mod relay;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use self::pace::Pace;

/// Properties of a link.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Address that clients connect to.
    pub listen: SocketAddr,
    /// Address of the server.
    pub to: SocketAddr,
    /// Round-trip time.
    pub round_trip: Duration,
    /// Cap on bytes per second to the client, per connection.
    pub connection_bytes_per_second: Option<u64>,
    /// Cap on bytes per second to clients over all connections.
    pub bytes_per_second: Option<u64>,
    /// Limit of the bytes in flight in one direction of one connection, like a TCP window.
    pub window: u32,
}

/// A bound link.
#[derive(Debug)]
pub struct Link {
    listener: TcpListener,
    config: LinkConfig,
    to_clients: Arc<AtomicU64>,
}

impl Link {
    /// Binds the listener. [`Link::serve`] accepts the connections.
    pub async fn bind(config: LinkConfig) -> std::io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        Ok(Self {
            listener,
            config,
            to_clients: Arc::default(),
        })
    }

    /// Address that clients connect to.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the counter of the bytes sent to clients. It outlives the link.
    #[must_use]
    pub fn counter(&self) -> Counter {
        Counter(Arc::clone(&self.to_clients))
    }

    /// Relays until the future is dropped. Open connections continue after that.
    pub async fn serve(self) -> std::io::Result<()> {
        let shared = self.config.bytes_per_second.map(|rate| Arc::new(Pace::new(rate)));
        loop {
            let (client, from) = self.listener.accept().await?;
            let (config, shared) = (self.config.clone(), shared.clone());
            let to_clients = Arc::clone(&self.to_clients);
            tokio::spawn(async move {
                if let Err(error) = connection(client, &config, shared, to_clients).await {
                    debug!(%from, error = &error as &dyn std::error::Error, "connection ended");
                }
            });
        }
    }
}

/// Counter of the bytes sent to clients.
#[derive(Clone, Debug)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Bytes sent so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

async fn connection(
    client: TcpStream,
    config: &LinkConfig,
    shared: Option<Arc<Pace>>,
    to_clients: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let server = TcpStream::connect(config.to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let one_way = config.round_trip / 2;
    // The client connects without delay, so its first bytes are delayed by the handshake instead.
    let up = relay::Direction::new(config.window, one_way).with_handshake(config.round_trip);
    let own = config.connection_bytes_per_second.map(|rate| Arc::new(Pace::new(rate)));
    let down = relay::Direction::new(config.window, one_way)
        .with_paces(own.into_iter().chain(shared).collect())
        .with_counter(to_clients);
    // If either side closes, both directions end: the server must not keep sending to a client that is gone.
    tokio::select! {
        result = async { tokio::try_join!(up.relay(client_read, server_write), down.relay(server_read, client_write)) } => {
            result.map(|_| ())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Connects through a link to a server that answers each byte with `answer` bytes.
    async fn behind_a_link(answer: usize, shape: impl FnOnce(&mut LinkConfig)) -> (TcpStream, Counter) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = LinkConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            to: server.local_addr().unwrap(),
            round_trip: Duration::ZERO,
            connection_bytes_per_second: None,
            bytes_per_second: None,
            window: 1 << 20,
        };
        shape(&mut config);
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            while stream.read_u8().await.is_ok() {
                stream.write_all(&vec![7; answer]).await.unwrap();
            }
        });
        let link = Link::bind(config).await.unwrap();
        let (address, counter) = (link.address().unwrap(), link.counter());
        tokio::spawn(link.serve());
        (TcpStream::connect(address).await.unwrap(), counter)
    }

    async fn ask(stream: &mut TcpStream, answer: usize) -> Duration {
        let start = Instant::now();
        stream.write_u8(1).await.unwrap();
        let mut body = vec![0; answer];
        stream.read_exact(&mut body).await.unwrap();
        assert!(body.iter().all(|byte| *byte == 7));
        start.elapsed()
    }

    #[tokio::test]
    async fn the_first_answer_takes_two_round_trips_and_later_ones_take_one() {
        let (mut stream, counter) = behind_a_link(1000, |link| link.round_trip = Duration::from_millis(60)).await;
        let (first, second) = (ask(&mut stream, 1000).await, ask(&mut stream, 1000).await);
        assert!(first >= Duration::from_millis(120), "{first:?}");
        assert!(second >= Duration::from_millis(60), "{second:?}");
        assert_eq!(counter.get(), 2000);
    }

    #[tokio::test]
    async fn each_cap_holds() {
        for both in [false, true] {
            let (mut stream, _) = behind_a_link(600_000, |link| {
                link.connection_bytes_per_second = Some(if both { 100_000_000 } else { 2_000_000 });
                link.bytes_per_second = both.then_some(2_000_000);
            })
            .await;
            let took = ask(&mut stream, 600_000).await;
            assert!(took >= Duration::from_millis(270), "{took:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_closes_is_gone_for_the_server_too() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::bind(LinkConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            to: server.local_addr().unwrap(),
            round_trip: Duration::ZERO,
            connection_bytes_per_second: None,
            bytes_per_second: None,
            window: 1 << 20,
        })
        .await
        .unwrap();
        let client = TcpStream::connect(link.address().unwrap()).await.unwrap();
        tokio::spawn(link.serve());
        let (mut accepted, _) = server.accept().await.unwrap();
        drop(client);
        assert_eq!(accepted.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
