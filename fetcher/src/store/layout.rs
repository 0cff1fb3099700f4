//! The arrangement of files, links and notes in the folder of a revision. Pure.
//!
//! It depends on the listing alone. [`super::publish`] writes it, and `verify` compares it.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{StoredManifest, revision_id};
use crate::model::digest::hex;
use crate::model::manifest::manifest_digest;
use crate::model::path::{FilePath, InvalidPath};
use crate::model::remote_file::RemoteFile;

/// The layout of a published folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Every file at the path that its source lists.
    #[default]
    AsListed,
    /// The cache of the hub's own client, in which clients find a model by its name.
    HuggingFaceCache(HubCache),
    /// The arrangement of an already published revision, in any layout.
    Kept(Box<StoredManifest>),
}

/// A model in the cache of the hub's own client.
///
/// ```text
/// models--org--name/blobs/<etag>               the bytes
/// models--org--name/snapshots/<commit>/<path>  a link to the bytes
/// models--org--name/refs/<reference>           the commit, without a newline, which clients would read as part of it
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubCache {
    folder: String,
    reference: FilePath,
}

/// A reference that cannot be the name of a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reference:?} is not a valid reference for the layout of the hub's cache: {reason}; give a branch or tag")]
pub struct InvalidReference {
    reference: String,
    reason: InvalidPath,
}

/// A link in a published folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Path below the revision's folder.
    pub path: FilePath,
    /// Target, relative to the folder of the link.
    pub target: String,
}

/// A small text file of the layout that is not a file of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Path below the revision's folder.
    pub path: FilePath,
    /// Content of the file.
    pub text: String,
}

/// The files, links and notes of a revision's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrangement {
    /// Name of the folder.
    pub(crate) id: String,
    /// Manifest digest, the same in every layout.
    pub(crate) digest: String,
    /// Path of the bytes of each file, in the order of the files. Files with the same content may share one.
    pub(crate) places: Vec<FilePath>,
    /// Links to the files.
    pub(crate) links: Vec<Link>,
    /// Notes of the layout.
    pub(crate) notes: Vec<Note>,
}

impl HubCache {
    /// A model of the hub, `org/name`, that clients find by a branch or tag.
    pub fn new(repo: &str, reference: &str) -> Result<Self, InvalidReference> {
        Ok(Self {
            folder: format!("models--{}", repo.replace('/', "--")),
            reference: FilePath::parse(reference).map_err(|reason| InvalidReference {
                reference: reference.to_owned(),
                reason,
            })?,
        })
    }

    fn place(&self, file: &RemoteFile) -> FilePath {
        FilePath::below(&format!("{}/blobs", self.folder), &file.digest.hex())
    }

    fn link(&self, commit: &str, file: &RemoteFile) -> Link {
        let up = "../".repeat(2 + file.path.as_str().matches('/').count());
        Link {
            path: FilePath::below(&format!("{}/snapshots/{commit}", self.folder), file.path.as_str()),
            target: format!("{up}blobs/{}", file.digest.hex()),
        }
    }

    /// The reference as a file; `None` if the reference is the commit itself.
    fn note(&self, commit: &str) -> Option<Note> {
        (self.reference.as_str() != commit).then(|| Note {
            path: FilePath::below(&format!("{}/refs", self.folder), self.reference.as_str()),
            text: commit.to_owned(),
        })
    }
}

impl Layout {
    /// The arrangement of a revision in this layout.
    pub(crate) fn arrange(&self, revision: &str, files: &[RemoteFile]) -> Arrangement {
        let digest = manifest_digest(files);
        match self {
            Self::Kept(manifest) => Arrangement {
                id: manifest.id.clone(),
                digest: manifest.digest.clone(),
                places: manifest.files.iter().map(|file| file.place().clone()).collect(),
                links: manifest.links.clone(),
                notes: manifest.notes.clone(),
            },
            Self::AsListed => Arrangement {
                id: revision_id(revision, &digest),
                digest,
                places: files.iter().map(|file| file.path.clone()).collect(),
                links: Vec::new(),
                notes: Vec::new(),
            },
            Self::HuggingFaceCache(cache) => {
                let links: Vec<_> = files.iter().map(|file| cache.link(revision, file)).collect();
                let notes: Vec<_> = cache.note(revision).into_iter().collect();
                Arrangement {
                    id: revision_id(revision, &layout_digest(&digest, &links, &notes)),
                    digest,
                    places: files.iter().map(|file| cache.place(file)).collect(),
                    links,
                    notes,
                }
            }
        }
    }
}

/// Digest of the manifest, the links and the notes, so that another layout of the same files has another folder.
fn layout_digest(digest: &str, links: &[Link], notes: &[Note]) -> String {
    let mut text = format!("{digest}\n");
    for Link { path, target } in links {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{path} -> {target}");
    }
    for Note { path, text: content } in notes {
        let _ = writeln!(text, "{path} = {content}");
    }
    format!("sha256:{}", hex(&Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pretty_assertions::assert_eq;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::model::digest::ContentDigest;

    const COMMIT: &str = "b45ef6fec89518d314f546fd6c3025367b721684";

    fn file(path: &str, byte: u8) -> RemoteFile {
        RemoteFile {
            path: FilePath::parse(path).unwrap(),
            size: 1,
            digest: ContentDigest::GitSha1([byte; 20]),
        }
    }

    fn cache(reference: &str) -> Layout {
        Layout::HuggingFaceCache(HubCache::new("org/name", reference).unwrap())
    }

    #[test]
    fn a_model_stands_in_the_hubs_cache_as_blobs_links_and_a_reference() {
        let blob = |byte: u8| format!("models--org--name/blobs/{}", hex(&[byte; 20]));
        let files = [file("config.json", 1), file("a/b/c.txt", 2), file("copy.json", 1)];
        let arrangement = cache("refs/pr/1").arrange(COMMIT, &files);
        let places: Vec<_> = arrangement.places.iter().map(FilePath::as_str).collect();
        assert_eq!(places, [blob(1), blob(2), blob(1)]);
        let links: Vec<_> = arrangement
            .links
            .iter()
            .map(|link| (link.path.as_str().to_owned(), link.target.clone()))
            .collect();
        let link = |path: &str, up: &str, byte: u8| {
            (
                format!("models--org--name/snapshots/{COMMIT}/{path}"),
                format!("{up}blobs/{}", hex(&[byte; 20])),
            )
        };
        assert_eq!(
            links,
            [
                link("config.json", "../../", 1),
                link("a/b/c.txt", "../../../../", 2),
                link("copy.json", "../../", 1),
            ]
        );
        let notes: Vec<_> = arrangement
            .notes
            .iter()
            .map(|note| (note.path.as_str(), note.text.as_str()))
            .collect();
        assert_eq!(notes, [("models--org--name/refs/refs/pr/1", COMMIT)]);
    }

    #[test]
    fn a_model_without_an_organization_has_a_folder_too_and_a_commit_is_no_reference() {
        let cache = HubCache::new("gpt2", COMMIT).unwrap();
        let arrangement = Layout::HuggingFaceCache(cache).arrange(COMMIT, &[file("a", 1)]);
        assert!(arrangement.places[0].as_str().starts_with("models--gpt2/blobs/"));
        assert_eq!(arrangement.notes, []);
    }

    #[test]
    fn each_layout_is_a_folder_of_its_own_and_has_the_same_digest() {
        let files = [file("a", 1), file("b", 2)];
        let arranged = [Layout::AsListed, cache("main"), cache("v1"), cache(COMMIT)].map(|l| l.arrange(COMMIT, &files));
        let ids: BTreeSet<_> = arranged.iter().map(|arrangement| &arrangement.id).collect();
        let digests: BTreeSet<_> = arranged.iter().map(|arrangement| &arrangement.digest).collect();
        assert_eq!((ids.len(), digests.len()), (4, 1));
        assert_eq!(arranged[0].id, revision_id(COMMIT, &manifest_digest(&files)));
        assert_eq!(arranged[0].places, files.map(|file| file.path));
    }

    #[rstest]
    #[case("")]
    #[case("../main")]
    #[case("/etc/passwd")]
    #[case("a//b")]
    #[case("a/")]
    fn a_name_that_no_file_can_have_is_no_reference(#[case] reference: &str) {
        let error = HubCache::new("org/name", reference).unwrap_err();
        assert!(error.to_string().contains("give a branch or tag"), "{error}");
    }

    proptest! {
        #[test]
        fn every_link_leads_to_the_place_of_its_file(segments in prop::collection::vec("[a-z]{1,3}", 1..12)) {
            let files = [file(&segments.join("/"), 7)];
            let arrangement = cache("main").arrange(COMMIT, &files);
            let link = &arrangement.links[0];
            let mut folders: Vec<&str> = link.path.as_str().split('/').collect();
            folders.pop();
            for segment in link.target.split('/') {
                if segment == ".." {
                    prop_assert!(folders.pop().is_some());
                } else {
                    folders.push(segment);
                }
            }
            prop_assert_eq!(folders.join("/"), arrangement.places[0].as_str());
        }
    }
}
