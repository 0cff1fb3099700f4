//! Models of a test's hub.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::world::World;

/// A small model that is fetched quickly.
pub(crate) const SMALL: &str = "org/small";

impl World {
    /// Commits a small model with configuration and 3 MiB of weights. Returns the commit.
    pub(crate) async fn serve_small(&self) -> String {
        self.serve_weights("main", 3 << 20, 1).await
    }

    /// Commits weights of the given size and seed, with a configuration, to a branch. Returns the commit.
    pub(crate) async fn serve_weights(&self, branch: &str, size: usize, seed: u64) -> String {
        let config = format!("{{\"seed\": {seed}}}").into_bytes();
        let files = [("config.json", config), ("model.safetensors", weights(size, seed))];
        self.hub.commit_bytes(SMALL, branch, files).await.unwrap()
    }
}

/// Bytes of the safetensors header before the only tensor of [`weights`].
const HEADER: usize = 128;

/// A safetensors file of the given size with one tensor of pseudorandom bytes (xorshift64*).
pub(crate) fn weights(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    let tensor = size.checked_sub(HEADER).expect("a size with room for the header");
    let header = format!(r#"{{"weights":{{"dtype":"U8","shape":[{tensor}],"data_offsets":[0,{tensor}]}}}}"#);
    bytes.extend((HEADER as u64 - 8).to_le_bytes());
    bytes.extend(format!("{header:width$}", width = HEADER - 8).into_bytes());
    while bytes.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String does not fail");
            text
        })
}
