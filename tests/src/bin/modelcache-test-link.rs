//! Makes a server on this machine look far away or badly connected: see `modelcache_tests::link`.
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use modelcache_tests::link::{Link, LinkConfig};

/// Relays connections with latency and caps until it is told to stop, then prints the bytes passed on to clients.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// Where clients connect.
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Where the server listens.
    #[arg(long, value_name = "ADDRESS")]
    to: SocketAddr,

    /// Milliseconds there and back.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    round_trip: u64,

    /// Cap on bytes a second to the client, each connection for itself.
    #[arg(long, value_name = "BYTES")]
    connection_bytes_per_second: Option<u64>,

    /// Cap on bytes a second to clients, all connections together.
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,

    /// Bytes that may be on the way in one direction of one connection.
    #[arg(long, value_name = "BYTES", default_value_t = 4 * 1024 * 1024)]
    window: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let link = Link::bind(LinkConfig {
        listen: arguments.listen,
        to: arguments.to,
        round_trip: Duration::from_millis(arguments.round_trip),
        connection_bytes_per_second: arguments.connection_bytes_per_second,
        bytes_per_second: arguments.bytes_per_second,
        window: arguments.window,
    })
    .await
    .with_context(|| format!("failed to listen on {}", arguments.listen))?;
    let to_clients = link.counter();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = link.serve() => result.context("failed to accept")?,
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    println!("{}", to_clients.get());
    Ok(())
}
