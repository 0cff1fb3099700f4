//! The fetcher's program, for tests that run it.

use std::path::PathBuf;

use anyhow::{Context, ensure};

/// Where cargo built it: beside the test that asks.
pub fn fetcher() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let built = test.ancestors().nth(2).context("the test is in no folder of cargo's")?;
    let program = built.join("modelcache-fetcher");
    ensure!(
        program.exists(),
        "{} is missing: cargo build -p modelcache-fetcher",
        program.display()
    );
    Ok(program)
}
