//! Sets of files that are one model: `model-00002-of-00005.safetensors`. The names alone tell whether one is missing,
//! and that before a byte is fetched.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Findings;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;
use crate::model::shard_name::numbered;

/// Formats of weights that come in shards.
const EXTENSIONS: &[&str] = &["safetensors", "gguf", "bin", "pth", "pt", "h5", "msgpack"];

/// The folder of a path, with the slash after it, and the name in it.
pub(super) fn folder_and_name(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

/// Shards of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Set<'a> {
    folder: &'a str,
    name: &'a str,
    extension: &'a str,
    count: u32,
}

impl Set<'_> {
    /// The path of the same model in one file.
    fn whole(&self) -> String {
        format!("{}{}.{}", self.folder, self.name, self.extension)
    }

    /// The path of its index.
    fn index(&self) -> String {
        format!("{}.index.json", self.whole())
    }
}

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

/// Numbers of shards, by the set they are of.
type Sets<'a> = BTreeMap<Set<'a>, BTreeSet<u32>>;

fn sets<'a>(paths: impl Iterator<Item = &'a str>) -> Sets<'a> {
    let mut sets = Sets::new();
    for (set, number) in paths.filter_map(set) {
        sets.entry(set).or_default().insert(number);
    }
    sets
}

/// Looks for shards that are missing from a listing, of the sets of which something is selected. One that the
/// listing has and the patterns leave out is remarked; one that it has not is a fault, unless the model is selected in
/// another way too: whole, in a set of another number of shards, or by an index, whose own check tells more. What is
/// only listed does not count: nobody will have it, and an index that is not fetched is not checked.
pub(crate) fn require_whole_sets(selected: &[RemoteFile], left_out: &[&FilePath]) -> Findings {
    let chosen: HashSet<&str> = selected.iter().map(|file| file.path.as_str()).collect();
    let chosen_sets = sets(chosen.iter().copied());
    let left_out: HashSet<&str> = left_out.iter().map(|path| path.as_str()).collect();
    let listed_sets = sets(chosen.union(&left_out).copied());
    let mut looked_at = BTreeSet::new();
    let mut findings = Findings::default();
    for file in selected {
        let Some((set, _)) = set(file.path.as_str()).filter(|(set, _)| looked_at.insert(*set)) else {
            continue;
        };
        let there = listed_sets.get(&set).cloned().unwrap_or_default();
        if let Some(number) = first_missing(&there, set.count) {
            let missing = sibling(&file.path, number);
            let cause = format!("it is not in the listing, though {} is one of {}", file.path, set.count);
            if is_there_otherwise(&set, &chosen_sets, &chosen) {
                findings.remark(&missing, cause);
                continue;
            }
            let index = set.index();
            let hint = if left_out.contains(index.as_str()) {
                format!("; the patterns leave out {index}, which would tell if it is not needed")
            } else {
                String::new()
            };
            findings.fault(&missing, None, format!("{cause}; the model is incomplete{hint}"));
            continue;
        }
        if let Some(number) = there
            .iter()
            .find(|number| !chosen.contains(sibling(&file.path, **number).as_str()))
        {
            findings.remark(
                &sibling(&file.path, *number),
                format!("the patterns leave it out, though {} needs it", file.path),
            );
        }
    }
    findings
}

/// The lowest number that is not there. Some count from 0.
fn first_missing(there: &BTreeSet<u32>, count: u32) -> Option<u32> {
    let first = u32::from(!there.contains(&0));
    (first..count.saturating_add(first)).find(|number| !there.contains(number))
}

/// The path of another shard of a set: the digits of its number are as many.
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

fn is_there_otherwise(set: &Set<'_>, chosen_sets: &Sets<'_>, chosen: &HashSet<&str>) -> bool {
    let is_whole_set = |other: &Set<'_>, there: &BTreeSet<u32>| {
        (other.folder, other.name, other.extension) == (set.folder, set.name, set.extension)
            && first_missing(there, other.count).is_none()
    };
    chosen.contains(set.whole().as_str())
        || chosen.contains(set.index().as_str())
        || chosen_sets.iter().any(|(other, there)| is_whole_set(other, there))
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
