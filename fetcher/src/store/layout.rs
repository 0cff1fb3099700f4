//! How a revision is laid out in its folder, as data: where each file's bytes stand, and what stands beside them. It
//! follows from the listing alone and touches nothing; [`super::publish`] writes it, `verify` compares it.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{StoredManifest, revision_id};
use crate::model::digest::hex;
use crate::model::manifest::manifest_digest;
use crate::model::path::{FilePath, InvalidPath};
use crate::model::remote_file::RemoteFile;

/// How the published folder is laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Every file under the path that its source lists.
    #[default]
    AsListed,
    /// As the hub's own client keeps a model, so that clients find it by its name.
    HuggingFaceCache(HubCache),
    /// As a revision was published before, whatever layout that was.
    Kept(Box<StoredManifest>),
}

/// A model in the cache of the hub's own client:
///
/// ```text
/// models--org--name/blobs/<etag>               the bytes
/// models--org--name/snapshots/<commit>/<path>  link to them
/// models--org--name/refs/<reference>           the commit, without an end of line: clients take one for a part of it
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubCache {
    folder: String,
    reference: FilePath,
}

/// A name that clients are to find a revision by, and that no file can have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reference:?} cannot be kept as a reference in the layout of the hub's cache: {reason}; give a branch or tag")]
pub struct InvalidReference {
    reference: String,
    reason: InvalidPath,
}

/// A link in a published folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where it stands, below the revision's folder.
    pub path: FilePath,
    /// Where it leads, from there.
    pub target: String,
}

/// A small file in a published folder that is no file of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Where it stands, below the revision's folder.
    pub path: FilePath,
    /// All that it holds.
    pub text: String,
}

/// What a revision's folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrangement {
    /// Name of the folder.
    pub(crate) id: String,
    /// Digest of the canonical manifest, the same in every layout.
    pub(crate) digest: String,
    /// Where the bytes of each file stand, in the order of the files. Files with the same bytes may share a place.
    pub(crate) places: Vec<FilePath>,
    /// Links to them.
    pub(crate) links: Vec<Link>,
    /// What else is there.
    pub(crate) notes: Vec<Note>,
}

impl HubCache {
    /// A model of the hub, `org/name`, found by a branch or tag.
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

    /// A revision asked for by its commit has no other name.
    fn note(&self, commit: &str) -> Option<Note> {
        (self.reference.as_str() != commit).then(|| Note {
            path: FilePath::below(&format!("{}/refs", self.folder), self.reference.as_str()),
            text: commit.to_owned(),
        })
    }
}

impl Layout {
    /// What the folder of a revision holds.
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
                    id: revision_id(revision, &seal(&digest, &links, &notes)),
                    digest,
                    places: files.iter().map(|file| cache.place(file)).collect(),
                    links,
                    notes,
                }
            }
        }
    }
}

/// Digest of the manifest and of all that stands beside the files: another layout of the same files is another folder.
fn seal(digest: &str, links: &[Link], notes: &[Note]) -> String {
    let mut text = format!("{digest}\n");
    for Link { path, target } in links {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{path} -> {target}");
    }
    for Note { path, text: held } in notes {
        let _ = writeln!(text, "{path} = {held}");
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
