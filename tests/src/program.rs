//! Path of the fetcher's program, for tests that run it.

use std::path::PathBuf;

use anyhow::{Context, ensure};

/// The program that cargo built next to the running test.
pub fn fetcher() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let built = test
        .ancestors()
        .nth(2)
        .context("the test is not in a target folder of cargo")?;
    let program = built.join("modelcache-fetcher");
    ensure!(
        program.exists(),
        "{} is missing: cargo build -p modelcache-fetcher",
        program.display()
    );
    Ok(program)
}
