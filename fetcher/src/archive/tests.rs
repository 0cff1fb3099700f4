use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use ::tar::{Builder, EntryType, Header};
use modelcache_crds::report::FailureClass;
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::disk::files::create_folders;
use crate::model::digest::ContentDigest;

/// A model whose layers are archives.
struct Kit {
    folder: TempDir,
    store: Store,
    revision: &'static str,
    archives: Vec<(RemoteFile, Vec<u8>)>,
}

impl Kit {
    /// A kit whose archives are staged, as the engine leaves them.
    fn staged(archives: &[Vec<u8>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let named = (0..).zip(archives).map(|(number, bytes)| {
            let file = RemoteFile {
                path: FilePath::parse(&format!("layers/{number}.tar")).unwrap(),
                size: bytes.len() as u64,
                digest: ContentDigest::Sha256(Sha256::digest(bytes).into()),
            };
            (file, bytes.clone())
        });
        let kit = Self {
            archives: named.collect(),
            folder,
            store,
            revision: "v1",
        };
        (0..archives.len()).for_each(|number| kit.stage(number));
        kit
    }

    fn stage(&self, number: usize) {
        let (file, bytes) = &self.archives[number];
        let path = self.store.staged(&self.id(), &file.path);
        create_folders(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn listed(&self) -> Vec<RemoteFile> {
        self.archives.iter().map(|(file, _)| file.clone()).collect()
    }

    fn id(&self) -> String {
        self.store.arrange(self.revision, &self.listed()).id
    }

    async fn survey(&self) -> Archives {
        let stop = CancellationToken::new();
        Archives::survey(&self.store, self.revision, &self.listed(), |_| true, &stop)
            .await
            .unwrap()
    }

    async fn unpack(&self) -> Result<Contents, FetchError> {
        self.survey().await.unpack(&CancellationToken::new()).await
    }

    fn publish(&self, contents: &Contents) -> PathBuf {
        let manifest = self.store.manifest(self.revision, &self.listed(), contents, "registry");
        let published = self.store.publish_manifest(&manifest);
        self.folder.path().join(published.unwrap().as_str())
    }
}

/// An entry of arbitrary content, written field by field.
fn entry(path: &str, kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    old.name[..path.len()].copy_from_slice(path.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o6755);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(path: &str, content: &[u8]) -> Vec<u8> {
    entry(path, EntryType::Regular, "", content)
}

fn link(path: &str, kind: EntryType, target: &str) -> Vec<u8> {
    entry(path, kind, target, b"")
}

/// A record of a pax header.
fn pax(kind: EntryType, key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (rest.len()..rest.len() + 9).find(|length| length.to_string().len() + rest.len() == *length);
    let text = format!("{}{rest}", length.unwrap());
    entry("pax", kind, "", text.as_bytes())
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

fn cut(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes.truncate(at);
    bytes
}

fn sparse_of_gnu() -> Vec<u8> {
    entry("a", EntryType::GNUSparse, "", b"")
}

fn damaged() -> Vec<u8> {
    let mut bytes = archive(&[file("a", b"1"), file("b", b"2")]);
    bytes[1024] ^= 1;
    bytes
}

#[rstest]
#[case::absolute(archive(&[file("/etc/passwd", b"")]), "/etc/passwd", "must not be written")]
#[case::climbing(archive(&[file("../x", b"")]), "../x", "must not be written")]
#[case::climbing_inside(archive(&[file("a/../../x", b"")]), "a/../../x", "must not be written")]
#[case::a_climbing_folder(archive(&[entry("../d/", EntryType::Directory, "", b"")]), "../d/", "must not be written")]
#[case::ours(archive(&[file("./.modelcache/lock", b"")]), "./.modelcache/lock", "reserved")]
#[case::backslashes(archive(&[file("..\\x", b"")]), "..\\\\x", "must not be written")]
#[case::link_to_an_absolute_path(archive(&[link("a", EntryType::Symlink, "/etc/passwd")]), "a", "outside the archive")]
#[case::link_out(archive(&[link("d/a", EntryType::Symlink, "../../x")]), "d/a", "outside the archive")]
#[case::link_to_nothing(archive(&[link("a", EntryType::Symlink, "none")]), "a", "not a file of the archive")]
#[case::link_to_a_folder(
    archive(&[file("d/x", b""), link("a", EntryType::Symlink, "d")]),
    "a",
    "not a file of the archive"
)]
#[case::link_to_itself(archive(&[link("a", EntryType::Symlink, "a")]), "a", "not a file of the archive")]
#[case::hard_link_out(archive(&[link("a", EntryType::Link, "../../secret")]), "a", "outside the archive")]
#[case::hard_link_to_an_absolute_path(archive(&[link("a", EntryType::Link, "/etc/passwd")]), "a", "outside the archive")]
#[case::hard_link_to_nothing(archive(&[link("a", EntryType::Link, "b")]), "a", "not a file of the archive")]
#[case::through_a_link(
    archive(&[link("d", EntryType::Symlink, "/tmp"), file("d/x", b"")]),
    "d",
    "outside the archive"
)]
#[case::through_a_link_inside(
    archive(&[file("e/y", b""), link("d", EntryType::Symlink, "e/y"), file("d/x", b"")]),
    "d/x",
    "cannot be a folder"
)]
#[case::device(archive(&[entry("null", EntryType::Char, "", b"")]), "null", "a device")]
#[case::block_device(archive(&[entry("sda", EntryType::Block, "", b"")]), "sda", "a device")]
#[case::pipe(archive(&[entry("p", EntryType::Fifo, "", b"")]), "p", "a pipe")]
#[case::unknown(archive(&[entry("v", EntryType::new(b'V'), "", b"")]), "v", "of unknown type")]
#[case::twice(archive(&[file("a", b"1"), file("./a", b"2")]), "./a", "the model has a already, in")]
#[case::case_only(archive(&[file("README", b""), file("readme", b"")]), "readme", "only in case")]
#[case::folders_in_case_only(archive(&[file("d/a", b""), file("D/b", b"")]), "D/b", "only in case")]
#[case::file_as_folder(archive(&[file("a", b""), file("a/b", b"")]), "a/b", "cannot be a folder")]
#[case::folder_as_file(archive(&[file("a/b", b""), file("a", b"")]), "a", "cannot be a folder")]
#[case::sparse(archive(&[sparse_of_gnu()]), "a", "sparse")]
#[case::sparse_in_pax(
    archive(&[pax(EntryType::XHeader, "GNU.sparse.major", "1"), file("a", b"")]),
    "a",
    "sparse"
)]
#[case::renamed_for_all(
    archive(&[pax(EntryType::XGlobalHeader, "path", "a"), file("b", b"")]),
    "",
    "a global header"
)]
#[case::renamed_out(
    archive(&[pax(EntryType::XHeader, "path", "../../x"), file("b", b"")]),
    "../../x",
    "must not be written"
)]
#[case::long_header(
    archive(&[entry("x", EntryType::XHeader, "", &vec![b'a'; 1 << 20])]),
    "",
    "is too long"
)]
#[case::no_end(cut(archive(&[file("a", b"1")]), 1024), "", "is truncated")]
#[case::cut_in_a_file(cut(archive(&[file("a", &[7; 2000])]), 1000), "a", "is truncated")]
#[case::damaged(damaged(), "", "not a tar header")]
#[case::no_tar(b"<html>nothing here</html>".repeat(50), "", "not a tar header")]
#[case::cut_gzip(cut(gzip(&archive(&[file("a", &[7; 2000])])), 60), "", "decompression failed")]
#[case::bomb(gzip(&archive(&[file("a", &vec![0; 70 << 20])])), "a", "too much for its size")]
#[tokio::test]
async fn a_hostile_archive_is_refused_with_layer_entry_and_cause(
    #[case] bytes: Vec<u8>,
    #[case] entry: &str,
    #[case] why: &str,
) {
    let kit = Kit::staged(&[bytes]);
    let error = kit.unpack().await.unwrap_err();
    assert_eq!(error.class(), FailureClass::InvalidListing, "{error}");
    let message = error.to_string();
    let (layer, _) = &kit.archives[0];
    assert!(
        message.contains(&layer.digest.to_string()) && message.contains(why),
        "{message}"
    );
    assert!(
        entry.is_empty() || message.contains(&format!("entry \"{entry}\"")),
        "{message}"
    );
    assert_eq!(error.to_report().file.as_deref(), Some("layers/0.tar"));
    let mut there: Vec<_> = fs::read_dir(kit.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    there.sort();
    assert_eq!(there, [".modelcache", "revisions"]);
}

#[tokio::test]
async fn links_inside_become_files_and_modes_do_not_matter() {
    let kit = Kit::staged(&[archive(&[
        entry("./", EntryType::Directory, "", b""),
        entry("./d/", EntryType::Directory, "", b""),
        link("./first", EntryType::Symlink, "d/b"),
        file("./d/a", b"content"),
        link("./d/b", EntryType::Link, "./d/a"),
        link("./d/c", EntryType::Symlink, "../first"),
    ])]);
    let contents = kit.unpack().await.unwrap();
    let published = kit.publish(&contents);
    for path in ["d/a", "d/b", "d/c", "first"] {
        let file = published.join(path);
        assert_eq!(fs::read(&file).unwrap(), b"content");
        let metadata = fs::symlink_metadata(&file).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o444);
    }
    assert!(!published.join("layers").exists(), "the archive is gone");
}

#[tokio::test]
async fn two_archives_may_share_folders_but_no_file() {
    let kit = Kit::staged(&[archive(&[file("d/a", b"1")]), archive(&[file("d/b", b"2")])]);
    assert_eq!(kit.unpack().await.unwrap().files.len(), 2);
    let kit = Kit::staged(&[archive(&[file("d/a", b"1")]), archive(&[file("d/a", b"2")])]);
    let message = kit.unpack().await.unwrap_err().to_string();
    assert!(
        message.contains("the model has d/a already, in this archive or outside it"),
        "{message}"
    );
}

#[tokio::test]
async fn an_archive_that_was_unpacked_before_a_crash_is_not_wanted_again() {
    let kit = Kit::staged(&[archive(&[file("a", b"1")]), archive(&[file("b", b"2")])]);
    let second = kit.store.staged(&kit.id(), &kit.archives[1].0.path);
    fs::remove_file(&second).unwrap();
    kit.unpack().await.unwrap_err();
    let survey = kit.survey().await;
    assert_eq!(survey.to_fetch(), [kit.archives[1].0.clone()]);
    assert!(survey.extra_staging().is_staged, "what is staged must not be forgotten");
    kit.stage(1);
    let contents = survey.unpack(&CancellationToken::new()).await.unwrap();
    let published = kit.publish(&contents);
    assert_eq!(fs::read(published.join("a")).unwrap(), b"1");
    assert_eq!(fs::read(published.join("b")).unwrap(), b"2");
}

#[tokio::test]
async fn one_that_is_stopped_leaves_the_archive_to_the_next_run() {
    let kit = Kit::staged(&[archive(&[file("a", b"1"), file("b", b"2")])]);
    let stop = CancellationToken::new();
    stop.cancel();
    let error = kit.survey().await.unpack(&stop).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Interrupted);
    assert!(kit.store.staged(&kit.id(), &kit.archives[0].0.path).exists());
    assert_eq!(kit.unpack().await.unwrap().files.len(), 2);
}

#[tokio::test]
async fn what_is_published_is_proven_and_not_unpacked_again_also_for_another_revision() {
    let mut kit = Kit::staged(&[archive(&[file("a", b"1"), file("b", b"2")])]);
    let contents = kit.unpack().await.unwrap();
    let published = kit.publish(&contents);
    let inode = fs::metadata(published.join("a")).unwrap().ino();

    let survey = kit.survey().await;
    assert_eq!(
        (survey.to_fetch(), survey.reused_bytes()),
        (vec![], kit.archives[0].0.size)
    );
    assert!(!survey.extra_staging().is_staged);
    let again = survey.unpack(&CancellationToken::new()).await.unwrap();
    assert_eq!(again, contents);
    assert_eq!(kit.publish(&again), published);
    assert_eq!(fs::metadata(published.join("a")).unwrap().ino(), inode);

    kit.revision = "v2";
    let survey = kit.survey().await;
    assert_eq!(survey.to_fetch(), []);
    let next = kit.publish(&survey.unpack(&CancellationToken::new()).await.unwrap());
    assert_eq!(fs::read(next.join("b")).unwrap(), b"2");
}

#[tokio::test]
async fn a_published_file_that_is_damaged_has_its_archive_fetched_again_and_the_others_stay() {
    let kit = Kit::staged(&[archive(&[file("a", b"1")]), archive(&[file("b", b"2")])]);
    let published = kit.publish(&kit.unpack().await.unwrap());
    fs::set_permissions(published.join("a"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(published.join("a"), b"x").unwrap();
    let survey = kit.survey().await;
    assert_eq!(survey.to_fetch(), [kit.archives[0].0.clone()]);
    kit.stage(0);
    let contents = survey.unpack(&CancellationToken::new()).await.unwrap();
    assert_eq!(kit.publish(&contents), published);
    assert_eq!(fs::read(published.join("a")).unwrap(), b"1");
    assert_eq!(fs::read(published.join("b")).unwrap(), b"2");
}

#[tokio::test]
async fn what_is_published_remembers_its_archives_and_bears_the_name_that_was_planned() {
    let kit = Kit::staged(&[archive(&[file("a", b"1")])]);
    kit.publish(&kit.unpack().await.unwrap());
    let manifest = crate::store::current(kit.folder.path()).unwrap().unwrap();
    assert_eq!(manifest.digest, crate::model::manifest::manifest_digest(&kit.listed()));
    assert_eq!(manifest.id, kit.id());
    let archive = &manifest.archives[0];
    assert_eq!((archive.digest, archive.files.len()), (kit.archives[0].0.digest, 1));
    assert_eq!(
        manifest.files[0].digest,
        ContentDigest::Sha256(Sha256::digest(b"1").into())
    );
}

fn name() -> impl Strategy<Value = String> {
    // Some are too long for a plain header. No upper case, so that no two differ only in case.
    prop_oneof!["[a-z0-9_ü-]{1,12}", "[a-z]{60,120}"]
}

fn tree() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    // Files end in f and folders in d, so that no path is both.
    let path = (proptest::collection::vec(name(), 0..4), name()).prop_map(|(folders, name)| {
        let mut path: Vec<_> = folders.into_iter().map(|folder| folder + "d").collect();
        path.push(name + "f");
        path.join("/")
    });
    proptest::collection::btree_map(path, proptest::collection::vec(any::<u8>(), 0..3000), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_tree_comes_out_byte_for_byte(tree in tree(), pack in 0..3) {
        let mut builder = Builder::new(Vec::new());
        for (path, content) in &tree {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_slice()).unwrap();
        }
        let tar = builder.into_inner().unwrap();
        let kit = Kit::staged(&[match pack { 0 => tar, 1 => gzip(&tar), _ => zstd(&tar) }]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let contents = runtime.block_on(kit.unpack()).unwrap();
        let published = kit.publish(&contents);
        prop_assert_eq!(contents.files.len(), tree.len());
        for (path, content) in &tree {
            prop_assert!(&fs::read(published.join(path)).unwrap() == content, "{}", path);
        }
    }

    #[test]
    fn whatever_the_bytes_it_ends_and_writes_nothing_outside(bytes in proptest::collection::vec(any::<u8>(), 0..2000), at in 0..2048_usize) {
        // Bytes that start like a tar reach more of the code.
        let mut tar = archive(&[file("d/a", b"1"), link("b", EntryType::Symlink, "d/a")]);
        let at = at.min(tar.len());
        tar.splice(at.., bytes);
        let kit = Kit::staged(&[tar]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _ = runtime.block_on(kit.unpack());
        prop_assert_eq!(fs::read_dir(kit.folder.path()).unwrap().count(), 2);
    }
}
