//! Simulates a network link to a server on this machine: see `modelcache_tests::link`.
#![expect(clippy::print_stdout, reason = "the result goes to standard output")]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use modelcache_tests::link::{Link, LinkConfig};

/// Relays connections with latency and caps until a signal stops it, then prints the bytes sent to clients.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// Address that clients connect to.
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Address of the server.
    #[arg(long, value_name = "ADDRESS")]
    to: SocketAddr,

    /// Round-trip time in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    round_trip: u64,

    /// Cap on bytes per second to the client, per connection.
    #[arg(long, value_name = "BYTES")]
    connection_bytes_per_second: Option<u64>,

    /// Cap on bytes per second to clients over all connections.
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,

    /// Limit of the bytes in flight in one direction of one connection.
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
