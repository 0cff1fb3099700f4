//! The digests sources give, and the hashers that check them. A hasher's state can be saved and taken up again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a file's bytes must hash to, by the source's own account.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentDigest {
    /// sha256 of the content, as for LFS and Xet files.
    Sha256([u8; 32]),
    /// sha1 of `blob <length>\0` and the content, as git names small files.
    GitSha1([u8; 20]),
}

/// Text that is no digest.
#[derive(Debug, thiserror::Error)]
#[error("not a digest: expected sha256:<64 hex> or git-sha1:<40 hex>")]
pub struct InvalidDigest;

impl ContentDigest {
    /// A sha256 from its 64 lower-case hex digits; anything else (a gated hub sends asterisks) is refused.
    pub fn sha256_from_hex(hex: &str) -> Result<Self, InvalidDigest> {
        decode_hex(hex).map(Self::Sha256)
    }

    /// A git blob id from its 40 lower-case hex digits.
    pub fn git_sha1_from_hex(hex: &str) -> Result<Self, InvalidDigest> {
        decode_hex(hex).map(Self::GitSha1)
    }

    /// The hex digits alone: the name of a blob in the hub's own cache layout.
    #[must_use]
    pub fn hex(&self) -> String {
        let bytes: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::GitSha1(bytes) => bytes,
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn decode_hex<const N: usize>(hex: &str) -> Result<[u8; N], InvalidDigest> {
    let digits = hex.as_bytes();
    if digits.len() != 2 * N {
        return Err(InvalidDigest);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Result<u8, InvalidDigest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(InvalidDigest),
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self {
            Self::Sha256(_) => "sha256",
            Self::GitSha1(_) => "git-sha1",
        };
        write!(f, "{algorithm}:{}", self.hex())
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        match text.split_once(':') {
            Some(("sha256", hex)) => Self::sha256_from_hex(hex),
            Some(("git-sha1", hex)) => Self::git_sha1_from_hex(hex),
            _ => Err(InvalidDigest),
        }
    }
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
