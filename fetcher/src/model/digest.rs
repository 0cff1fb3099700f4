//! Digests that sources list, and the hashers that check them. A hasher's state can be saved and resumed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::Sha1;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};

/// The digest that a file's bytes must have, as its source lists it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentDigest {
    /// sha256 of the content; LFS and Xet files have it.
    Sha256([u8; 32]),
    /// Git blob id: sha1 of `blob <length>\0` and the content; files in git itself have it.
    GitSha1([u8; 20]),
}

/// The error for text that is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("not a digest: expected sha256:<64 hex> or git-sha1:<40 hex>")]
pub struct InvalidDigest;

impl ContentDigest {
    /// Parses a sha256 of 64 lower-case hex digits. Fails for anything else, such as the asterisks of a gated hub.
    pub fn sha256_from_hex(hex: &str) -> Result<Self, InvalidDigest> {
        decode_hex(hex).map(Self::Sha256)
    }

    /// Parses a git blob id of 40 lower-case hex digits.
    pub fn git_sha1_from_hex(hex: &str) -> Result<Self, InvalidDigest> {
        decode_hex(hex).map(Self::GitSha1)
    }

    /// The hex digits without the algorithm: a blob's name in the hub's cache layout.
    #[must_use]
    pub fn hex(&self) -> String {
        let bytes: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::GitSha1(bytes) => bytes,
        };
        hex(bytes)
    }
}

/// Encodes bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
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
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Computes a digest with the algorithm of the listed one.
#[derive(Clone, Debug)]
pub(crate) enum Hasher {
    /// Of the content alone.
    Sha256(Sha256),
    /// Of git's blob header and the content.
    GitSha1(Sha1),
}

impl Hasher {
    /// A new hasher for a file of `size` bytes.
    pub(crate) fn new(expected: &ContentDigest, size: u64) -> Self {
        match expected {
            ContentDigest::Sha256(_) => Self::Sha256(Sha256::new()),
            ContentDigest::GitSha1(_) => {
                let mut hasher = Sha1::new();
                hasher.update(format!("blob {size}\0"));
                Self::GitSha1(hasher)
            }
        }
    }

    /// Resumes a hasher from [`Hasher::state`]; `None` if the state is not one of this algorithm.
    pub(crate) fn resume(expected: &ContentDigest, state: &[u8]) -> Option<Self> {
        match expected {
            ContentDigest::Sha256(_) => {
                let state = state.try_into().ok()?;
                Some(Self::Sha256(Sha256::deserialize(&state).ok()?))
            }
            ContentDigest::GitSha1(_) => None,
        }
    }

    /// The state to resume from; `None` for git blobs, which are small enough to hash again from the start.
    pub(crate) fn state(&self) -> Option<Vec<u8>> {
        match self {
            Self::Sha256(hasher) => Some(hasher.serialize().to_vec()),
            Self::GitSha1(_) => None,
        }
    }

    /// Hashes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitSha1(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes hashed.
    pub(crate) fn finish(self) -> ContentDigest {
        match self {
            Self::Sha256(hasher) => ContentDigest::Sha256(hasher.finalize().into()),
            Self::GitSha1(hasher) => ContentDigest::GitSha1(hasher.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn hash(expected: &ContentDigest, bytes: &[u8]) -> ContentDigest {
        let mut hasher = Hasher::new(expected, bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish()
    }

    #[rstest]
    #[case(b"", "git-sha1:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")]
    #[case(b"Hello, World!", "git-sha1:b45ef6fec89518d314f546fd6c3025367b721684")]
    #[case(b"", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    #[case(b"abc", "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]
    fn known_bytes_hash_to_their_known_digest(#[case] bytes: &[u8], #[case] digest: ContentDigest) {
        assert_eq!(hash(&digest, bytes), digest);
    }

    #[rstest]
    #[case("sha256:****************************************************************")]
    #[case("sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")]
    #[case("git-sha1:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    #[case("md5:d41d8cd98f00b204e9800998ecf8427e")]
    #[case("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")]
    fn text_that_is_not_a_digest_is_refused(#[case] text: &str) {
        assert!(text.parse::<ContentDigest>().is_err());
    }

    #[test]
    fn a_state_of_another_length_is_refused() {
        let digest = ContentDigest::Sha256([0; 32]);
        assert!(Hasher::resume(&digest, &[0; 7]).is_none());
        assert!(Hasher::resume(&ContentDigest::GitSha1([0; 20]), &[0; 104]).is_none());
    }

    proptest! {
        #[test]
        fn a_resumed_hasher_ends_at_the_same_digest(
            bytes in proptest::collection::vec(any::<u8>(), 0..4096), cut in 0.0..1.0,
        ) {
            let digest = ContentDigest::Sha256([0; 32]);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a length")]
            let (first, second) = bytes.split_at((bytes.len() as f64 * cut) as usize);
            let mut before = Hasher::new(&digest, bytes.len() as u64);
            before.update(first);
            let mut after = Hasher::resume(&digest, &before.state().unwrap()).unwrap();
            after.update(second);
            prop_assert_eq!(after.finish(), hash(&digest, &bytes));
        }
    }
}
