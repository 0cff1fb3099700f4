//! Serves models from folders by the Hugging Face Hub's protocol, with fault injection.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use modelcache_tests::hub::{Access, GatedListing, Hub, HubConfig, Signing};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Text after the options in `--help`.
const ADMIN_API: &str = r#"Admin API, JSON on the hub's address:
  GET|DELETE /_admin/stats        requests and bytes sent
  POST       /_admin/faults       {"stage": "cdn", "path": "*.safetensors", "count": 1, "fault": {"kind": "cut", "after_bytes": 1000}}
  GET|DELETE /_admin/faults
  PUT        /_admin/throughput   {"bytes_per_second": 1000000}, or null for no cap
  GET        /_admin/models       models, with the commit of each branch
  POST       /_admin/commits      {"model": "org/name", "branch": "main", "folder": "/path"}
  PUT        /_admin/branches     {"model": "org/name", "branch": "main", "commit": "..."}
  PUT        /_admin/access       {"model": "org/name", "access": "private"}
  POST       /_admin/tokens       {"token": "hf_x", "models": ["org/name"]}

Kinds of fault: status, html, refuse, latency, redirect_loop, cut, stall, slow, flip, shift_range, ignore_range, gzip, expired,
expired_after, other_etag, resolve_cache, drop_page, drop_next, extra_path, hidden_hashes, move_branch.
Stages: info, tree, resolve, cdn, other."#;

/// A hub for tests: the Hugging Face Hub's protocol over plain HTTP, with fault injection and byte counts.
///
/// Like the real hub, it redirects files of more than 10 MiB, and weights of any size, to the CDN by signed URL.
#[derive(Parser, Debug)]
#[command(version, after_long_help = ADMIN_API)]
struct Arguments {
    /// Address of the hub.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,

    /// Address of the CDN; default: a free port of the hub's host.
    #[arg(long, value_name = "ADDRESS")]
    cdn_listen: Option<SocketAddr>,

    /// A model and the folder of its files; may be repeated.
    #[arg(long = "model", value_name = "ORG/NAME=FOLDER", required = true, value_parser = parse_model)]
    models: Vec<(String, PathBuf)>,

    /// A model that only tokens with a grant can see.
    #[arg(long, value_name = "ORG/NAME")]
    private: Vec<String>,

    /// A model whose files only tokens with a grant can read.
    #[arg(long, value_name = "ORG/NAME")]
    gated: Vec<String>,

    /// A valid token with a grant for every private and gated model.
    #[arg(long, value_name = "TOKEN")]
    token: Vec<String>,

    /// Entries in a page of a listing.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    page_size: usize,

    /// Lifetime of a signed URL, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    url_lifetime: i64,

    /// Form of the expiry in signed URLs.
    #[arg(long, value_enum, default_value_t = SigningArgument::Cloudfront)]
    signing: SigningArgument,

    /// Send the headers of the Xet protocol, as the real hub does. There are no Xet servers.
    #[arg(long)]
    xet: bool,

    /// Cap on body bytes per second over all connections.
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum SigningArgument {
    Cloudfront,
    Aws4,
}

fn parse_model(text: &str) -> Result<(String, PathBuf), String> {
    let (model, folder) = text.split_once('=').ok_or("expected ORG/NAME=FOLDER")?;
    let folder = PathBuf::from(folder);
    if folder.is_dir() {
        Ok((model.to_owned(), folder))
    } else {
        Err(format!("{} is not a folder", folder.display()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let hub = Hub::start(HubConfig {
        listen: arguments.listen,
        cdn_listen: arguments
            .cdn_listen
            .unwrap_or_else(|| SocketAddr::new(arguments.listen.ip(), 0)),
        page_size: arguments.page_size,
        url_lifetime_seconds: arguments.url_lifetime,
        signing: match arguments.signing {
            SigningArgument::Cloudfront => Signing::CloudFront,
            SigningArgument::Aws4 => Signing::Aws4,
        },
        xet_headers: arguments.xet,
        bytes_per_second: arguments.bytes_per_second,
    })
    .await
    .with_context(|| format!("failed to listen on {}", arguments.listen))?;
    for (model, folder) in &arguments.models {
        let commit = hub.commit_folder(model, "main", folder).await?;
        info!(model, commit, "serving");
    }
    for model in &arguments.private {
        hub.set_access(model, Access::Private)?;
    }
    for model in &arguments.gated {
        hub.set_access(model, Access::Gated(GatedListing::Open))?;
    }
    let guarded: Vec<&str> = arguments
        .private
        .iter()
        .chain(&arguments.gated)
        .map(String::as_str)
        .collect();
    for token in &arguments.token {
        hub.grant(token, &guarded);
    }
    info!(endpoint = hub.endpoint(), cdn = %hub.cdn_address(), "ready");
    wait_for_signal().await?;
    hub.stop();
    Ok(())
}

async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
