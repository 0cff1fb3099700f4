//! `modelcache-fetcher`: see `modelcache_fetcher`.

use std::process::ExitCode;
use std::time::Duration;

/// Connections wait rather than compute; what computes runs on blocking threads.
const WORKERS: usize = 2;

/// Bounds memory: every thread has buffers. More than the engine's own number of hashers and writers.
const BLOCKING_THREADS: usize = 32;

/// How long the end waits for a blocking thread that is still writing.
const SHUTDOWN: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<ExitCode> {
    // Both providers may be in the dependency graph; without this, the first connection would panic.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("failed to set up TLS: a provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let code = runtime.block_on(modelcache_fetcher::command_line::main());
    runtime.shutdown_timeout(SHUTDOWN);
    Ok(code)
}
