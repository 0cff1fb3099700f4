use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use modelcache_crds::report::FailureClass;
use proptest::prelude::*;
use rstest::rstest;
use sha2::{Digest, Sha256};

use super::*;

fn remote(path: &str, content: &[u8]) -> RemoteFile {
    RemoteFile {
        path: FilePath::parse(path).unwrap(),
        size: content.len() as u64,
        digest: ContentDigest::Sha256(Sha256::digest(content).into()),
    }
}

fn stage(store: &Store, id: &str, file: &RemoteFile, content: &[u8]) {
    let path = store.staged(id, &file.path);
    create_folders(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
}

fn staged(store: &Store, revision: &str, contents: &[(&str, &[u8])]) -> Vec<RemoteFile> {
    let files: Vec<_> = contents.iter().map(|(path, content)| remote(path, content)).collect();
    let id = store.arrange(revision, &files).id;
    for (file, (_, content)) in files.iter().zip(contents) {
        stage(store, &id, file, content);
    }
    files
}

#[test]
fn a_published_revision_is_what_current_names_and_everyone_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let files = staged(&store, "abc", &[("config.json", b"{}"), ("sub/weights.bin", b"1234")]);
    let path = store.publish("abc", &files, "hub").unwrap();

    let root = folder.path();
    assert_eq!(fs::read_link(root.join("current")).unwrap(), Path::new(path.as_str()));
    assert_eq!(fs::read(root.join("current/sub/weights.bin")).unwrap(), b"1234");
    let mode = |name: &str| {
        fs::metadata(root.join("current").join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!((mode("config.json"), mode("."), mode("sub")), (0o444, 0o755, 0o755));
    let manifest = current(root).unwrap().unwrap();
    assert_eq!(manifest.folder(), Path::new(path.as_str()));
    assert_eq!(manifest.files.len(), 2);
    assert_eq!(published(root).unwrap(), [manifest]);
}

#[test]
fn publishing_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let files = staged(&store, "abc", &[("a", b"1")]);
    let first = store.publish("abc", &files, "hub").unwrap();
    let inode = fs::metadata(folder.path().join("current/a")).unwrap().ino();
    assert_eq!(store.publish("abc", &files, "hub").unwrap(), first);
    assert_eq!(fs::metadata(folder.path().join("current/a")).unwrap().ino(), inode);
}

#[test]
fn an_incomplete_revision_is_not_published_and_current_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let old = staged(&store, "old", &[("a", b"1")]);
    store.publish("old", &old, "hub").unwrap();
    let mut files = staged(&store, "new", &[("a", b"1")]);
    files.push(remote("b", b"2"));
    let id = store.arrange("new", &files).id;
    stage(&store, &id, &files[0], b"1");
    store.publish("new", &files, "hub").unwrap_err();
    assert!(!folder.path().join("revisions").join(&id).exists());
    assert_eq!(current(folder.path()).unwrap().unwrap().revision, "old");
}

#[test]
fn a_new_revision_leaves_the_old_one_and_removes_what_was_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let old = staged(&store, "old", &[("a", b"1")]);
    store.publish("old", &old, "hub").unwrap();
    fs::write(store.partial(&old[0].digest), b"half").unwrap();
    staged(&store, "never-finished", &[("x", b"9")]);
    let new = staged(&store, "new", &[("a", b"2")]);
    store.publish("new", &new, "hub").unwrap();

    assert_eq!(published(folder.path()).unwrap().len(), 2);
    assert_eq!(current(folder.path()).unwrap().unwrap().revision, "new");
    let left = |name: &str| {
        fs::read_dir(folder.path().join(".modelcache").join(name))
            .unwrap()
            .count()
    };
    assert_eq!((left("partial"), left("staging")), (0, 0));
}

#[test]
fn a_damaged_revision_is_exchanged_for_a_sound_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let files = staged(&store, "abc", &[("a", b"1")]);
    let path = store.publish("abc", &files, "hub").unwrap();
    let file = folder.path().join(path.as_str()).join("a");
    fs::remove_file(&file).unwrap();
    staged(&store, "abc", &[("a", b"1")]);
    assert_eq!(store.publish("abc", &files, "hub").unwrap(), path);
    assert_eq!(fs::read(file).unwrap(), b"1");
    assert!(!folder.path().join(".modelcache/swap").exists());
}

/// A store in the layout of the hub's cache, with three staged files, two of them with the same content.
fn staged_cache(root: &Path) -> (Store, Vec<RemoteFile>) {
    let layout = Layout::HuggingFaceCache(HubCache::new("org/name", "main").unwrap());
    let store = Store::open(root).unwrap().with_layout(layout);
    let contents: [(&str, &[u8]); 3] = [
        ("config.json", b"{}"),
        ("sub/copy.json", b"{}"),
        ("weights.bin", b"1234"),
    ];
    let files: Vec<_> = contents.iter().map(|(path, content)| remote(path, content)).collect();
    let arrangement = store.arrange("abc", &files);
    for (place, (_, content)) in arrangement.places.iter().zip(contents) {
        let path = store.staged(&arrangement.id, place);
        create_folders(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    (store, files)
}

/// Every file below a folder with its text, and every link with its target.
fn contents_below(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                found.push((name, fs::read_link(&path).unwrap().display().to_string()));
            } else {
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_layout_is_published_with_its_links_and_notes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (store, files) = staged_cache(folder.path());
    // Leftovers of an interrupted publication, and worse.
    let staging = store
        .staging(&store.arrange("abc", &files).id)
        .join("models--org--name");
    for (path, text) in [
        ("refs/main", "ab"),
        ("snapshots/abc/stranger", "?"),
        ("snapshots/abc/weights.bin", "?"),
    ] {
        create_folders(staging.join(path).parent().unwrap()).unwrap();
        fs::write(staging.join(path), text).unwrap();
    }
    std::os::unix::fs::symlink("../../../elsewhere", staging.join("snapshots/abc/config.json")).unwrap();
    std::os::unix::fs::symlink("main", staging.join("refs/stranger")).unwrap();
    store.publish("abc", &files, "hub").unwrap();

    let model = folder.path().join("current/models--org--name");
    let (braces, numbers) = (files[0].digest.hex(), files[2].digest.hex());
    let entry = |path: &str, content: String| (path.to_owned(), content);
    let mut wanted = [
        entry(&format!("blobs/{braces}"), "{}".to_owned()),
        entry(&format!("blobs/{numbers}"), "1234".to_owned()),
        entry("refs/main", "abc".to_owned()),
        entry("snapshots/abc/config.json", format!("../../blobs/{braces}")),
        entry("snapshots/abc/sub/copy.json", format!("../../../blobs/{braces}")),
        entry("snapshots/abc/weights.bin", format!("../../blobs/{numbers}")),
    ];
    wanted.sort();
    assert_eq!(contents_below(&model), wanted);
    assert_eq!(
        fs::read_to_string(model.join("snapshots/abc/sub/copy.json")).unwrap(),
        "{}"
    );
    let mode = |path: &str| fs::metadata(model.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("refs/main"), mode("snapshots/abc/config.json")), (0o444, 0o444));
    assert_eq!((mode("refs"), mode("snapshots/abc/sub")), (0o755, 0o755));
    let manifest = current(folder.path()).unwrap().unwrap();
    assert_eq!(
        (manifest.files.len(), manifest.links.len(), manifest.notes.len()),
        (3, 3, 1)
    );
    assert_eq!(manifest.digest, crate::model::manifest::manifest_digest(&files));
}

#[test]
fn a_published_layout_that_lacks_a_link_is_not_published_again_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (store, files) = staged_cache(folder.path());
    store.publish("abc", &files, "hub").unwrap();
    assert!(store.is_laid_out(&store.arrange("abc", &files)));
    store.publish("abc", &files, "hub").unwrap();
    let link = folder
        .path()
        .join("current/models--org--name/snapshots/abc/sub/copy.json");
    fs::remove_file(&link).unwrap();
    assert!(!store.is_laid_out(&store.arrange("abc", &files)));
    let error = store.publish("abc", &files, "hub").unwrap_err();
    assert!(error.to_string().contains("fetch again"), "{error}");
}

#[test]
fn an_exchange_in_steps_that_is_cut_short_leaves_the_sound_revision_staged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (path, text) in [
        ("swap/fresh/a", "sound"),
        ("revision/a", "damaged"),
        ("swap/old/b", "in the way"),
    ] {
        create_folders(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), text).unwrap();
    }
    fs::create_dir(at("staging")).unwrap();
    let exchange = || publish::exchange_in_steps(&at("swap"), &at("swap/fresh"), &at("staging/id"), &at("revision"));
    // The damaged revision cannot be moved over an existing folder.
    exchange().unwrap_err();
    assert_eq!(fs::read_to_string(at("staging/id/a")).unwrap(), "sound");
    assert_eq!(fs::read_to_string(at("revision/a")).unwrap(), "damaged");

    fs::remove_dir_all(at("swap/old")).unwrap();
    fs::rename(at("staging/id"), at("swap/fresh")).unwrap();
    exchange().unwrap();
    assert_eq!(fs::read_to_string(at("revision/a")).unwrap(), "sound");
    assert_eq!(fs::read_to_string(at("swap/old/a")).unwrap(), "damaged");
}

#[test]
fn what_is_not_of_the_manifest_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let files = staged(&store, "abc", &[("a", b"1")]);
    fs::write(store.staging(&store.arrange("abc", &files).id).join("stranger"), b"?").unwrap();
    store.publish("abc", &files, "hub").unwrap();
    assert!(!folder.path().join("current/stranger").exists());
}

#[rstest]
#[case("refs/pr/3", "refs-pr-3-")]
#[case("../../etc", "etc-")]
#[case("main", "main-")]
#[case("", "")]
fn an_id_is_one_safe_segment(#[case] revision: &str, #[case] start: &str) {
    let id = Layout::AsListed.arrange(revision, &[]).id;
    assert!(id.starts_with(start), "{id}");
    assert_eq!(id.len(), start.len() + 12);
}

proptest! {
    #[test]
    fn an_id_is_a_plain_path_segment_whatever_the_revision(revision in "\\PC{0,100}") {
        let id = Layout::AsListed.arrange(&revision, &[]).id;
        prop_assert!(FilePath::parse(&id).is_ok_and(|path| !path.as_str().contains('/')), "{}", id);
    }
}

/// Not a test of its own: [`a_second_fetcher_is_told_that_the_folder_is_busy`] runs it in another process, since a
/// POSIX lock excludes processes and not threads.
#[test]
fn open_the_folder_given() {
    let Some(root) = std::env::var_os("MODELCACHE_TEST_LOCK_ROOT") else {
        return;
    };
    let error = Store::open(Path::new(&root)).unwrap_err();
    assert_eq!(error.class(), FailureClass::StorageBusy);
    fs::write(
        std::env::var_os("MODELCACHE_TEST_LOCK_ANSWER").unwrap(),
        error.to_string(),
    )
    .unwrap();
}

#[test]
fn a_second_fetcher_is_told_that_the_folder_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let _store = Store::open(folder.path()).unwrap();
    let answer = folder.path().join("answer");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::open_the_folder_given"])
        .env("MODELCACHE_TEST_LOCK_ROOT", folder.path())
        .env("MODELCACHE_TEST_LOCK_ANSWER", &answer)
        .output()
        .unwrap();
    assert!(output.status.success());
    let error = fs::read_to_string(answer).unwrap();
    assert!(error.contains("another fetcher writes to this folder"), "{error}");
}
