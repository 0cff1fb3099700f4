//! Finds missing shards by names such as `model-00002-of-00005.safetensors`, before any byte is fetched.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Findings;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;
use crate::model::shard_name::numbered;

/// Extensions of weights that may be sharded.
const EXTENSIONS: &[&str] = &["safetensors", "gguf", "bin", "pth", "pt", "h5", "msgpack"];

/// The folder of a path, with its trailing slash, and the file name.
pub(super) fn folder_and_name(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

/// The shards of one model: what their paths have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Set<'a> {
    folder: &'a str,
    name: &'a str,
    extension: &'a str,
    count: u32,
}

impl Set<'_> {
    /// Path of the same model in one file.
    fn whole(&self) -> String {
        format!("{}{}.{}", self.folder, self.name, self.extension)
    }

    /// Path of the index of the shards.
    fn index(&self) -> String {
        format!("{}.index.json", self.whole())
    }
}

/// The set and the number of a shard; `None` if the path is not that of a shard.
fn set(path: &str) -> Option<(Set<'_>, u32)> {
    let (folder, file) = folder_and_name(path);
    let (stem, extension) = file.rsplit_once('.')?;
    if !EXTENSIONS.contains(&extension) {
        return None;
    }
    let (name, number, count) = numbered(stem)?;
    let set = Set {
        folder,
        name,
        extension,
        count,
    };
    Some((set, number))
}

/// The numbers of the shards of each set.
type Sets<'a> = BTreeMap<Set<'a>, BTreeSet<u32>>;

fn sets<'a>(paths: impl Iterator<Item = &'a str>) -> Sets<'a> {
    let mut sets = Sets::new();
    for (set, number) in paths.filter_map(set) {
        sets.entry(set).or_default().insert(number);
    }
    sets
}

/// Finds missing shards of the sets of which at least one shard is selected.
///
/// A shard that is listed but skipped is a remark. A shard that is not listed is a fault, unless the model is selected in
/// another form too: in one file, as a complete set of another number of shards, or with an index, which has its own
/// check. Forms that are listed but not selected do not count, since they are neither fetched nor checked.
pub(crate) fn require_whole_sets(selected: &[RemoteFile], left_out: &[&FilePath]) -> Findings {
    let selected_paths: HashSet<&str> = selected.iter().map(|file| file.path.as_str()).collect();
    let selected_sets = sets(selected_paths.iter().copied());
    let left_out: HashSet<&str> = left_out.iter().map(|path| path.as_str()).collect();
    let listed_sets = sets(selected_paths.union(&left_out).copied());
    let mut checked = BTreeSet::new();
    let mut findings = Findings::default();
    for file in selected {
        let Some((set, _)) = set(file.path.as_str()).filter(|(set, _)| checked.insert(*set)) else {
            continue;
        };
        let listed = listed_sets.get(&set).cloned().unwrap_or_default();
        if let Some(number) = first_missing(&listed, set.count) {
            let missing = sibling(&file.path, number);
            let cause = format!(
                "it is not in the listing, although {} is one of {} shards",
                file.path, set.count
            );
            if is_selected_otherwise(&set, &selected_sets, &selected_paths) {
                findings.remark(&missing, cause);
                continue;
            }
            let index = set.index();
            let hint = if left_out.contains(index.as_str()) {
                format!("; the patterns skip {index}, which would show whether it is needed")
            } else {
                String::new()
            };
            findings.fault(&missing, None, format!("{cause}; the model is incomplete{hint}"));
            continue;
        }
        if let Some(number) = listed
            .iter()
            .find(|number| !selected_paths.contains(sibling(&file.path, **number).as_str()))
        {
            findings.remark(
                &sibling(&file.path, *number),
                format!("the patterns skip it, although {} needs it", file.path),
            );
        }
    }
    findings
}

/// The lowest missing number of a set. Sets count from 1, some from 0.
fn first_missing(numbers: &BTreeSet<u32>, count: u32) -> Option<u32> {
    let first = u32::from(!numbers.contains(&0));
    (first..count.saturating_add(first)).find(|number| !numbers.contains(number))
}

/// The path of another shard of the same set, with as many digits.
fn sibling(path: &FilePath, number: u32) -> FilePath {
    let text = path.as_str();
    let Some((before, after)) = text.rsplit_once("-of-") else {
        return path.clone();
    };
    let name = before.trim_end_matches(|c: char| c.is_ascii_digit());
    let width = before.len() - name.len();
    let sibling = format!("{name}{number:0width$}-of-{after}");
    FilePath::parse(&sibling).unwrap_or_else(|_| path.clone())
}

/// Whether the model of a set is also selected in one file, as another complete set, or with an index.
fn is_selected_otherwise(set: &Set<'_>, selected_sets: &Sets<'_>, selected_paths: &HashSet<&str>) -> bool {
    let is_complete = |other: &Set<'_>, numbers: &BTreeSet<u32>| {
        (other.folder, other.name, other.extension) == (set.folder, set.name, set.extension)
            && first_missing(numbers, other.count).is_none()
    };
    selected_paths.contains(set.whole().as_str())
        || selected_paths.contains(set.index().as_str())
        || selected_sets.iter().any(|(other, numbers)| is_complete(other, numbers))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    use super::*;
    use crate::model::digest::ContentDigest;

    #[rstest]
    #[case("model-00001-of-00004", Some(("model", 1, 4)))]
    #[case("pytorch_model_00072-of-00072", Some(("pytorch_model", 72, 72)))]
    #[case("m-Q4_K_M-00001-of-00002", Some(("m-Q4_K_M", 1, 2)))]
    #[case("a-of-b-1-of-2", Some(("a-of-b", 1, 2)))]
    #[case("model-of-00004", None)]
    #[case("model-1-of-", None)]
    #[case("model-x-of-2", None)]
    #[case("model-1-of-99999999999", None)]
    #[case("00001-of-00002", None)]
    fn a_number_in_a_name(#[case] stem: &str, #[case] expected: Option<(&str, u32, u32)>) {
        assert_eq!(numbered(stem), expected);
    }

    fn path(text: &&str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    #[rstest]
    #[case::whole(&["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"], &[], None, None)]
    #[case::counted_from_zero(&["m-00000-of-00002.bin", "m-00001-of-00002.bin"], &[], None, None)]
    #[case::lacking(
        &["a/m-00001-of-00003.safetensors", "a/m-00003-of-00003.safetensors"], &[],
        Some("a/m-00002-of-00003.safetensors"), None)]
    #[case::lacking_the_last(&["m-1-of-2.gguf"], &[], Some("m-2-of-2.gguf"), None)]
    #[case::each_quantization_is_a_set(
        &["m-Q4-00001-of-00001.gguf", "m-Q8-00001-of-00002.gguf"], &[], Some("m-Q8-00002-of-00002.gguf"), None)]
    #[case::each_folder_is_a_set(
        &["a/m-00001-of-00002.gguf", "b/m-00002-of-00002.gguf"], &[], Some("a/m-00002-of-00002.gguf"), None)]
    #[case::left_out_on_purpose(
        &["m-00001-of-00002.gguf"], &["m-00002-of-00002.gguf"], None, Some("m-00002-of-00002.gguf"))]
    #[case::lacking_and_left_out(
        &["m-00001-of-00003.gguf"], &["m-00003-of-00003.gguf"], Some("m-00002-of-00003.gguf"), None)]
    #[case::not_selected_at_all(&["config.json"], &["m-00001-of-00002.bin"], None, None)]
    #[case::also_there_whole(
        &["m-00001-of-00002.safetensors", "m.safetensors"], &[], None, Some("m-00002-of-00002.safetensors"))]
    #[case::left_over_from_another_sharding(
        &["m-00001-of-00001.safetensors", "m-00001-of-00002.safetensors"], &[], None, Some("m-00002-of-00002.safetensors"))]
    #[case::an_index_knows_better(
        &["m-00001-of-00002.safetensors", "m.safetensors.index.json"], &[], None, Some("m-00002-of-00002.safetensors"))]
    #[case::also_listed_whole_and_left_out(
        &["m-00001-of-00002.safetensors"], &["m.safetensors"], Some("m-00002-of-00002.safetensors"), None)]
    #[case::listed_in_another_sharding_of_which_a_part_is_left_out(
        &["m-1-of-2.bin", "m-1-of-3.bin", "m-2-of-3.bin"], &["m-3-of-3.bin"], Some("m-2-of-2.bin"), Some("m-3-of-3.bin"))]
    #[case::an_index_that_is_left_out_is_not_asked(
        &["m-00001-of-00002.safetensors"], &["m.safetensors.index.json"], Some("m-00002-of-00002.safetensors"), None)]
    #[case::no_weights(&["train-00001-of-00002.parquet"], &[], None, None)]
    #[case::of_none(&["m-00001-of-00000.bin"], &[], None, None)]
    #[case::of_very_many(&["m-1-of-4294967295.bin"], &[], Some("m-2-of-4294967295.bin"), None)]
    fn a_listing(
        #[case] selected: &[&str],
        #[case] left_out: &[&str],
        #[case] fault: Option<&str>,
        #[case] remark: Option<&str>,
    ) {
        let files: Vec<_> = selected
            .iter()
            .map(|text| RemoteFile {
                path: path(text),
                size: 1,
                digest: ContentDigest::GitSha1([0; 20]),
            })
            .collect();
        let left_out: Vec<_> = left_out.iter().map(path).collect();
        let found = require_whole_sets(&files, &left_out.iter().collect::<Vec<_>>());
        let first = |faults: &[crate::model::fault::Fault]| faults.first().map(|fault| fault.file.to_string());
        assert_eq!(first(&found.faults).as_deref(), fault);
        assert_eq!(first(&found.remarks).as_deref(), remark);
    }
}
