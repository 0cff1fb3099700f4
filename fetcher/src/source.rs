//! Sources list the files of a revision and locate the bytes of each. They move no bytes.

pub(crate) mod access;
mod address;
mod api;
mod by_content;
mod check;
mod expiry;
pub mod hugging_face;
pub(crate) mod kind;
pub mod local;
mod location;
mod mirror;
pub mod model_scope;
pub mod oci;
pub mod ollama;
pub mod plain_http;
mod registry;
pub mod s3;

use async_trait::async_trait;

use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;

pub use self::address::{InvalidSource, SourceAddress};
pub use self::api::API_RETRY;
pub(crate) use self::by_content::ByContent;
pub use self::check::check_listing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::expiry::expiry;
pub use self::location::{LocalFile, Location, Stamp};
pub use self::mirror::{InvalidMirror, MirrorAddress};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::plain_http::read_sums;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::registry::challenge::{Challenge, parse_challenges};
pub use self::registry::{InvalidImageName, RegistryCredentials};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::registry::{read_any_credentials, read_anything as read_any_token};

/// A place that lists the files of a model and locates their bytes.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Resolves the requested revision to an immutable one and lists its files.
    async fn list(&self) -> Result<Listing, SourceError>;

    /// Locates the bytes of a file. Called again when a location expires or fails.
    async fn locate(&self, revision: &str, file: &RemoteFile) -> Result<Location, SourceError>;

    /// Whether a listed file is an archive that must be unpacked.
    fn is_archive(&self, _file: &RemoteFile) -> bool {
        false
    }
}

/// All files of one immutable revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The immutable revision: a commit for Hugging Face, a digest for files on a plain HTTP server.
    pub revision: String,
    /// Its files, in the order of the source.
    pub files: Vec<RemoteFile>,
}
