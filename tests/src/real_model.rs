//! The real model that the demo and the tests use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

/// The sha256 of its `model.safetensors`.
pub const WEIGHTS_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// The folder of its files. `tests/model` downloads them once.
pub fn folder() -> anyhow::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    let output = Command::new(script).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
