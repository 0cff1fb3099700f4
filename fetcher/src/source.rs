//! A source lists the files of a revision and says where the bytes of each are now. It moves no bytes.

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

/// A place that holds a model.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Resolves the revision asked for to an immutable one and lists all of its files.
    async fn list(&self) -> Result<Listing, SourceError>;

    /// Where the bytes of a file are now. Called again when a location expires or stops answering.
    async fn locate(&self, revision: &str, file: &RemoteFile) -> Result<Location, SourceError>;

    /// Whether a file that it listed is an archive, of which the files in it are wanted.
    fn is_archive(&self, _file: &RemoteFile) -> bool {
        false
    }
}

/// All files of one immutable revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Immutable revision: a commit for Hugging Face, a digest for files on a plain HTTP server.
    pub revision: String,
    /// Its files, in the order the source gave.
    pub files: Vec<RemoteFile>,
}
