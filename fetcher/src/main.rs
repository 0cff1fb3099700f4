//! `modelcache-fetcher`: see `modelcache_fetcher`.

use std::process::ExitCode;
use std::time::Duration;

/// Threads of the async runtime. Connections mostly wait; hashing and writing run on blocking threads.
const ASYNC_THREADS: usize = 2;

/// Maximum number of blocking threads. It bounds memory, since each has buffers, and exceeds the number of hashers and
/// writers of the engine.
const MAX_BLOCKING_THREADS: usize = 32;

/// How long the program waits at its end for blocking threads that still write.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<ExitCode> {
    // Both providers may be in the dependency graph; without a default, the first connection would panic.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("failed to set up TLS: a provider is already installed"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let code = runtime.block_on(modelcache_fetcher::command_line::main());
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    Ok(code)
}
