//! The address of a model in a bucket.

use std::fmt;
use std::str::FromStr;

/// `s3://bucket/prefix`: all objects below the prefix, or the one object with that key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Address {
    /// The bucket.
    pub bucket: String,
    /// Key prefix without slashes around it; empty for the whole bucket.
    pub prefix: String,
}

/// Why a text is not the address of a model in a bucket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidS3Address {
    /// Not a bucket name by S3's rules.
    #[error("{0:?} is not a bucket (3 to 63 lower-case letters, digits, dots and hyphens); give s3://bucket/prefix")]
    Bucket(String),
    /// Not a key prefix by S3's rules.
    #[error("{0:?} is not a key prefix; use at most 1024 bytes without control characters")]
    Prefix(String),
}

impl FromStr for S3Address {
    type Err = InvalidS3Address;

    fn from_str(text: &str) -> Result<Self, InvalidS3Address> {
        let rest = text.strip_prefix("s3://").unwrap_or(text);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket.starts_with(is_letter)
            && bucket.ends_with(is_letter)
            && bucket.chars().all(|c| is_letter(c) || matches!(c, '.' | '-' | '_'));
        if !is_bucket {
            return Err(InvalidS3Address::Bucket(bucket.to_owned()));
        }
        let prefix = prefix.trim_matches('/');
        if prefix.len() > 1024 || prefix.chars().any(char::is_control) {
            return Err(InvalidS3Address::Prefix(prefix.to_owned()));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("s3://models/llama/3", Some(("models", "llama/3")))]
    #[case("s3://models/llama/", Some(("models", "llama")))]
    #[case("s3://models", Some(("models", "")))]
    #[case("s3://Models/a", None)]
    #[case("s3://", None)]
    #[case("s3://a@b/c", None)]
    #[case("s3://models/a\nb", None)]
    fn an_address(#[case] text: &str, #[case] expected: Option<(&str, &str)>) {
        let address = text.parse::<S3Address>().ok();
        let parts = address.as_ref().map(|one| (one.bucket.as_str(), one.prefix.as_str()));
        assert_eq!(parts, expected);
    }
}
