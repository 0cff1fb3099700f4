//! The address of files on a plain HTTP server: one file with its digest, or a list of digests.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::http::redact::SecretUrl;
use crate::model::digest::ContentDigest;
use crate::model::path::{FilePath, InvalidPath};

/// `https://host/model.gguf#sha256=<hex>`, or `https://host/SHA256SUMS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAddress {
    /// The URL, shown without its query, which may contain a signature.
    pub(super) url: SecretUrl,
    /// What the URL refers to.
    pub(super) target: Target,
}

/// What an address refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// One file.
    File {
        /// Its path in the listing.
        path: FilePath,
        /// The digest that its bytes must have.
        digest: ContentDigest,
    },
    /// A list that `sha256sum` wrote; paths are relative to it.
    Sums,
}

/// Why a text is not the address of files on an HTTP server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHttpAddress {
    /// Not a URL.
    #[error("not a URL: {0}")]
    NotAUrl(#[from] url::ParseError),
    /// A user or a password.
    #[error("the URL must not contain a user or a password")]
    Credentials,
    /// A fragment that is not a digest.
    #[error("the part after # must be sha256= and 64 lower-case hex digits")]
    Digest,
    /// Neither a digest nor a list of digests.
    #[error(
        "the URL has no digest to verify the file against: append #sha256=<64 hex digits>, or give the URL of a list \
         that sha256sum wrote, named SHA256SUMS or *.sha256"
    )]
    NoDigest,
    /// A last segment that is not a file name.
    #[error("the URL's last segment is not a file name: {0}")]
    Name(#[from] InvalidPath),
}

impl FromStr for HttpAddress {
    type Err = InvalidHttpAddress;

    fn from_str(text: &str) -> Result<Self, InvalidHttpAddress> {
        let mut url: Url = text.parse()?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidHttpAddress::Credentials);
        }
        let fragment = url.fragment().map(str::to_owned);
        url.set_fragment(None);
        let last = url
            .path_segments()
            .and_then(|mut segments| segments.next_back())
            .unwrap_or_default();
        let name = percent_decode_str(last).decode_utf8_lossy().into_owned();
        let target = match fragment {
            Some(fragment) => {
                let hex = fragment.strip_prefix("sha256=").ok_or(InvalidHttpAddress::Digest)?;
                // A decoded name may contain separators.
                if name.contains('/') {
                    return Err(InvalidPath::Hostile.into());
                }
                Target::File {
                    path: FilePath::parse(&name)?,
                    digest: ContentDigest::sha256_from_hex(hex).map_err(|_| InvalidHttpAddress::Digest)?,
                }
            }
            None if is_list(&name) => Target::Sums,
            None => return Err(InvalidHttpAddress::NoDigest),
        };
        Ok(Self {
            url: SecretUrl::new(url),
            target,
        })
    }
}

fn is_list(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".sha256") || name.contains("sha256sum")
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url)?;
        match &self.target {
            Target::File { digest, .. } => write!(f, "#sha256={}", digest.hex()),
            Target::Sums => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEX: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

    #[rstest]
    #[case::file("https://host/a/m%20x.gguf#sha256=$HEX", Some("m x.gguf"))]
    #[case::file_with_a_query("http://host/m.gguf?sig=1#sha256=$HEX", Some("m.gguf"))]
    #[case::list("https://host/a/SHA256SUMS", Some("-"))]
    #[case::list_of_one("https://host/a/m.gguf.sha256?sig=1", Some("-"))]
    #[case::list_by_another_name("https://host/sha256sum.txt", Some("-"))]
    #[case::no_digest("https://host/m.gguf", None)]
    #[case::another_digest("https://host/m.gguf#md5=00", None)]
    #[case::short_digest("https://host/m.gguf#sha256=00", None)]
    #[case::no_name("https://host/#sha256=$HEX", None)]
    #[case::separator_in_the_name("https://host/..%2fx#sha256=$HEX", None)]
    #[case::password("https://user:secret@host/m#sha256=$HEX", None)]
    fn an_address(#[case] text: &str, #[case] expected: Option<&str>) {
        let address = text.replace("$HEX", HEX).parse::<HttpAddress>();
        let name = address.as_ref().ok().map(|address| match &address.target {
            Target::File { path, .. } => path.as_str(),
            Target::Sums => "-",
        });
        assert_eq!(name, expected, "{address:?}");
    }

    #[test]
    fn a_signature_is_not_shown() {
        let text = format!("https://host/m.gguf?sig=secret#sha256={HEX}");
        let address: HttpAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), format!("https://host/m.gguf?…#sha256={HEX}"));
    }
}
