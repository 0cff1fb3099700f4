use std::os::unix::fs::{PermissionsExt, symlink};

use pretty_assertions::assert_eq;
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::disk::files::create_folders;
use crate::store::{HubCache, Layout, Store};

fn sha256(bytes: &[u8]) -> ContentDigest {
    ContentDigest::Sha256(Sha256::digest(bytes).into())
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn at(path: &Path) -> Local {
    let address = format!("file://{}", path.display());
    Local::new(address.parse().unwrap(), Progress::default())
}

async fn listed_at(path: &Path) -> Result<(String, Vec<String>), SourceError> {
    let listing = at(path).list().await?;
    let file = |file: &RemoteFile| format!("{} {} {}", file.path, file.size, file.digest);
    Ok((listing.revision, listing.files.iter().map(file).collect()))
}

/// A store with one revision, `abc`.
fn published(files: &[(&str, &[u8])]) -> TempDir {
    published_in(Layout::AsListed, files)
}

fn published_in(layout: Layout, files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap().with_layout(layout);
    let remote: Vec<_> = files
        .iter()
        .map(|(path, bytes)| RemoteFile {
            path: FilePath::parse(path).unwrap(),
            size: bytes.len() as u64,
            digest: sha256(bytes),
        })
        .collect();
    let arrangement = store.arrange("abc", &remote);
    for (place, (_, bytes)) in arrangement.places.iter().zip(files) {
        let staged = store.staged(&arrangement.id, place);
        create_folders(staged.parent().unwrap()).unwrap();
        fs::write(staged, bytes).unwrap();
    }
    store.publish("abc", &remote, "hub").unwrap();
    folder
}

#[tokio::test]
async fn without_digests_every_file_is_hashed_and_the_revision_is_that_of_the_listing() {
    let folder = folder(&[("b", b"22"), ("a/x", b"1"), ("empty", b"")]);
    let source = at(folder.path());
    let listing = source.list().await.unwrap();
    assert_eq!(listing.revision, manifest_digest(&listing.files));
    let files: Vec<_> = listing
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.digest))
        .collect();
    assert_eq!(
        files,
        [("a/x", sha256(b"1")), ("b", sha256(b"22")), ("empty", sha256(b""))]
    );
    // Files hashed for the listing do not count as verified.
    let counters = source.progress.snapshot();
    assert_eq!((counters.bytes_total, counters.bytes_verified), (3, 0));
    let again = at(folder.path()).list().await.unwrap();
    assert_eq!(again, listing);
}

#[tokio::test]
async fn a_list_of_digests_says_what_there_is_and_nothing_is_hashed() {
    let digest = sha256(b"what should be there");
    let list = format!("{}  sub/b\n", digest.hex());
    let folder = folder(&[("sub/b", b"22"), ("other", b"1"), (SUMS, list.as_bytes())]);
    let (revision, files) = listed_at(folder.path()).await.unwrap();
    assert_eq!(revision, sha256(list.as_bytes()).to_string());
    assert_eq!(files, [format!("sub/b 2 {digest}")]);
}

#[rstest]
#[case::missing("$HEX  none", "none does not exist")]
#[case::climbing("$HEX  ../x", "unsafe path")]
#[case::no_list("<html>", "not <64 hex digits>")]
#[tokio::test]
async fn an_invalid_list_is_refused(#[case] list: &str, #[case] why: &str) {
    let list = list.replace("$HEX", &sha256(b"").hex());
    let folder = folder(&[(SUMS, list.as_bytes())]);
    let error = listed_at(folder.path()).await.unwrap_err();
    assert_eq!(error.class, FailureClass::InvalidListing);
    assert!(error.message.contains(why), "{error}");
}

#[tokio::test]
async fn what_modelcache_published_is_its_own_revision_by_whichever_name() {
    let store = published(&[("a", b"1"), ("sub/b", b"22")]);
    fs::write(store.path().join("stranger"), b"?").unwrap();
    let by_store = listed_at(store.path()).await.unwrap();
    let expected = [format!("a 1 {}", sha256(b"1")), format!("sub/b 2 {}", sha256(b"22"))];
    assert_eq!(by_store, ("abc".to_owned(), expected.to_vec()));
    let by_link = listed_at(&store.path().join("current")).await.unwrap();
    assert_eq!(by_link, by_store);
    let revision = fs::read_link(store.path().join("current")).unwrap();
    assert_eq!(listed_at(&store.path().join(revision)).await.unwrap(), by_store);
}

#[tokio::test]
async fn a_model_in_the_layout_of_the_hubs_cache_is_read_by_the_paths_it_was_listed_with() {
    let layout = Layout::HuggingFaceCache(HubCache::new("org/name", "main").unwrap());
    let store = published_in(layout, &[("a", b"1"), ("sub/b", b"22")]);
    let source = at(store.path());
    let listing = source.list().await.unwrap();
    let paths: Vec<_> = listing.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!((listing.revision.as_str(), paths), ("abc", vec!["a", "sub/b"]));
    let Location::File(place) = source.locate("abc", &listing.files[1]).await.unwrap() else {
        panic!("a file has no URL")
    };
    assert_eq!(fs::read(place.path).unwrap(), b"22");
}

#[tokio::test]
async fn a_store_in_which_nothing_is_published_may_be_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let _store = Store::open(folder.path()).unwrap();
    let error = listed_at(folder.path()).await.unwrap_err();
    assert!(!error.class.is_permanent());
    assert!(error.message.contains("nothing is published"), "{error}");
}

#[tokio::test]
async fn a_published_file_of_another_length_is_refused() {
    let store = published(&[("a", b"1")]);
    let file = store.path().join("current/a");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, b"cut").unwrap();
    let error = listed_at(store.path()).await.unwrap_err();
    assert!(
        error.message.contains("changed its size since it was published"),
        "{error}"
    );
}

#[tokio::test]
async fn a_list_that_lies_outside_is_not_read() {
    let outside = folder(&[("list", b"")]);
    let folder = folder(&[("a", b"1")]);
    symlink(outside.path().join("list"), folder.path().join(SUMS)).unwrap();
    let error = listed_at(folder.path()).await.unwrap_err();
    assert!(error.message.contains("is a link out of the folder"), "{error}");
}

#[tokio::test]
async fn a_file_is_located_as_it_was_when_it_was_listed() {
    let folder = folder(&[("a", b"1")]);
    let source = at(folder.path());
    let listing = source.list().await.unwrap();
    let Location::File(place) = source.locate("", &listing.files[0]).await.unwrap() else {
        panic!("a file has no URL")
    };
    fs::write(&place.path, b"22").unwrap();
    assert_ne!(Stamp::of(&fs::metadata(&place.path).unwrap()), place.stamp);
}
