//! The address of a mirror.

use std::fmt;
use std::str::FromStr;

use super::address::{InvalidSource, SourceAddress};
use super::hugging_face::{Endpoint, InvalidEndpoint};

/// A further place that serves the same files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorAddress {
    /// A server with the hub's API, which serves the same model and commit.
    Hub(Endpoint),
    /// A model at any source.
    Source(SourceAddress),
}

/// Why a text is not the address of a mirror.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMirror {
    /// Not the base URL of a hub.
    #[error(transparent)]
    Hub(#[from] InvalidEndpoint),
    /// Not the address of a model.
    #[error(transparent)]
    Source(#[from] InvalidSource),
}

impl FromStr for MirrorAddress {
    type Err = InvalidMirror;

    fn from_str(text: &str) -> Result<Self, InvalidMirror> {
        let is_http = text.starts_with("http://") || text.starts_with("https://");
        // A URL with a digest, or of a list of digests, is a source. Any other http URL is a hub.
        match text.parse::<SourceAddress>() {
            Ok(source) => Ok(Self::Source(source)),
            Err(_) if is_http && !text.contains('#') => Ok(Self::Hub(text.parse()?)),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Display for MirrorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(endpoint) => endpoint.fmt(f),
            Self::Source(source) => source.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::hub("https://hf-mirror.com/", Some("hub https://hf-mirror.com"))]
    #[case::hub_below_a_path("http://proxy:8090/hf", Some("hub http://proxy:8090/hf"))]
    #[case::list("https://host/m/SHA256SUMS", Some("source https://host/m/SHA256SUMS"))]
    #[case::model("hf://org/twin@v1", Some("source hf://org/twin@v1"))]
    #[case::folder("file:///srv/m", Some("source file:///srv/m"))]
    #[case::bad_digest("https://host/m.gguf#sha256=12", None)]
    #[case::other_scheme("ftp://host/m", None)]
    #[case::credentials("https://user:pass@host", None)]
    fn a_mirror_is_a_hub_or_a_source(#[case] text: &str, #[case] expected: Option<&str>) {
        let shown = text.parse::<MirrorAddress>().ok().map(|mirror| match &mirror {
            MirrorAddress::Hub(_) => format!("hub {mirror}"),
            MirrorAddress::Source(_) => format!("source {mirror}"),
        });
        assert_eq!(shown.as_deref(), expected);
    }
}
