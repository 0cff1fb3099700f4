use pretty_assertions::assert_eq;
use rstest::rstest;

use super::{Gguf, found, of_bytes};

/// A shard with these tensors of one byte each.
fn shard(tensors: &[&str]) -> Vec<u8> {
    let tensors: Vec<_> = tensors.iter().map(|name| (*name, 1)).collect();
    of_bytes(&tensors)
}

fn index(total_size: u64, entries: &[(&str, &str)]) -> Vec<u8> {
    let map: serde_json::Map<_, _> = entries
        .iter()
        .map(|(tensor, shard)| ((*tensor).to_owned(), (*shard).into()))
        .collect();
    serde_json::json!({"metadata": {"total_size": total_size}, "weight_map": map})
        .to_string()
        .into_bytes()
}

const INDEX: &str = "m/model.safetensors.index.json";
const ONE: &str = "m/model-00001-of-00002.safetensors";
const TWO: &str = "m/model-00002-of-00002.safetensors";

fn both() -> Vec<u8> {
    index(
        2,
        &[
            ("a", "model-00001-of-00002.safetensors"),
            ("b", "model-00002-of-00002.safetensors"),
        ],
    )
}

/// Faults and remarks, one per line.
fn lines(files: &[(&str, Vec<u8>)], left_out: &[&str]) -> Vec<String> {
    let found = found(files, Some(left_out));
    let faults = found.faults.iter().map(|fault| format!("fault: {fault}"));
    faults
        .chain(found.remarks.iter().map(|remark| format!("remark: {remark}")))
        .collect()
}

#[test]
fn a_whole_set_is_sound_in_its_folder() {
    let files = [
        (INDEX, both()),
        (ONE, shard(&["a"])),
        (TWO, shard(&["b"])),
        ("m/config.json", vec![b'{']),
    ];
    assert_eq!(lines(&files, &[]), [""; 0]);
}

/// A name, files, skipped paths, and the expected lines.
type Case<'a> = (&'a str, Vec<(&'a str, Vec<u8>)>, Vec<&'a str>, &'a [&'a str]);

#[test]
fn what_an_index_names_and_what_is_there_are_held_against_each_other() {
    let cases: &[Case<'_>] = &[
        (
            "a shard is not listed",
            vec![(INDEX, both()), (ONE, shard(&["a"]))],
            vec![],
            &[
                "fault: m/model-00002-of-00002.safetensors: m/model.safetensors.index.json names it, but it is not in the listing; the model is incomplete",
            ],
        ),
        (
            "a shard is left out on purpose",
            vec![(INDEX, both()), (ONE, shard(&["a"]))],
            vec![TWO],
            &[
                "remark: m/model-00002-of-00002.safetensors: the patterns skip it, although m/model.safetensors.index.json names it",
            ],
        ),
        (
            "all shards are left out on purpose",
            vec![(INDEX, both())],
            vec![ONE, TWO],
            &[],
        ),
        (
            "no shard is listed",
            vec![(INDEX, both())],
            vec![],
            &[
                "fault: m/model-00001-of-00002.safetensors: m/model.safetensors.index.json names it, but it is not in the listing; the model is incomplete",
            ],
        ),
        (
            "the model is there whole",
            vec![(INDEX, both()), ("m/model.safetensors", shard(&["a", "b"]))],
            vec![],
            &[
                "remark: m/model-00001-of-00002.safetensors: m/model.safetensors.index.json names it, but it is not in the listing; the weights exist in another form",
            ],
        ),
        (
            "an index of weights that were converted",
            vec![
                (
                    "m/pytorch_model.bin.index.json",
                    index(2, &[("a", "pytorch_model-00001-of-00001.bin")]),
                ),
                ("m/model.safetensors", shard(&["a"])),
            ],
            vec![],
            &[
                "remark: m/pytorch_model-00001-of-00001.bin: m/pytorch_model.bin.index.json names it, but it is not in the listing; the weights exist in another form",
            ],
        ),
        (
            "a tensor is not in its shard",
            vec![(INDEX, both()), (ONE, shard(&["a"])), (TWO, shard(&["c"]))],
            vec![],
            &[
                "fault: m/model-00002-of-00002.safetensors: it lacks tensors that m/model.safetensors.index.json names: 1, for example \"b\"",
                "remark: m/model-00002-of-00002.safetensors: it has tensors that m/model.safetensors.index.json does not name: 1",
            ],
        ),
        (
            "another total size",
            vec![(INDEX, both()), (ONE, shard(&["a"])), (TWO, of_bytes(&[("b", 3)]))],
            vec![],
            &["remark: m/model.safetensors.index.json: its total_size is 2, but its shards have 4 bytes of tensors"],
        ),
        (
            "torch weights are only looked for",
            vec![
                (
                    "pytorch_model.bin.index.json",
                    index(9, &[("a", "pytorch_model-00001-of-00001.bin")]),
                ),
                ("pytorch_model-00001-of-00001.bin", b"PK".to_vec()),
            ],
            vec![],
            &[],
        ),
        (
            "an index of a variant",
            vec![(
                "u/diffusion_pytorch_model.safetensors.index.fp16.json",
                index(1, &[("a", "x.safetensors")]),
            )],
            vec![],
            &[
                "fault: u/x.safetensors: u/diffusion_pytorch_model.safetensors.index.fp16.json names it, but it is not in the listing; the model is incomplete",
            ],
        ),
    ];
    for (case, files, left_out, expected) in cases {
        assert_eq!(lines(files, left_out), *expected, "{case}");
    }
}

#[rstest]
#[case("../model.safetensors")]
#[case("/etc/passwd")]
#[case("a/../../model.safetensors")]
#[case("..\\model.safetensors")]
#[case("")]
fn an_index_that_leads_out_of_its_folder_is_refused(#[case] shard: &str) {
    let files = [
        (INDEX, index(1, &[("a", shard)])),
        ("model.safetensors", of_bytes(&[("a", 1)])),
    ];
    let lines = lines(&files, &[]);
    assert!(lines[0].contains("which must not be read"), "{lines:?}");
    assert!(
        lines[0].starts_with("fault: m/model.safetensors.index.json"),
        "{lines:?}"
    );
}

#[test]
fn where_the_listing_is_not_known_nothing_is_missing() {
    let files = [(INDEX, both()), (ONE, shard(&["a"]))];
    let found = found(&files, None);
    assert_eq!((found.faults, found.remarks), (vec![], vec![]));
}

#[test]
fn a_shard_cut_short_is_told_once_with_its_place() {
    let mut short = shard(&["b"]);
    short.pop();
    let size = short.len();
    let files = [(INDEX, both()), (ONE, shard(&["a"])), (TWO, short)];
    let lines = lines(&files, &[]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with(&format!("fault: {TWO} at byte {size}: its last tensor ends")),
        "{lines:?}"
    );
}

#[test]
fn gguf_files_of_a_set_fit_their_names_and_each_other() {
    let one = |tensors| Gguf::new(&["a"]).split(0, 2, tensors).bytes();
    let two = Gguf::new(&["b", "c"]).split(1, 2, 3).bytes();
    let names = ["q-00001-of-00002.gguf", "q-00002-of-00002.gguf"];
    assert_eq!(lines(&[(names[0], one(3)), (names[1], two.clone())], &[]), [""; 0]);
    let text = |files: &[(&str, Vec<u8>)]| lines(files, &[]).concat();
    let fewer = text(&[(names[0], one(4)), (names[1], two.clone())]);
    assert!(
        fewer.contains("announces 4 tensors in 2 files, but they have 3"),
        "{fewer}"
    );
    let twice = text(&[(names[0], one(3)), (names[1], one(3))]);
    assert!(
        twice.contains("it is file 1 of 2 according to its header, but 2 of 2 according to its name"),
        "{twice}"
    );
    let renamed = text(&[("q.gguf", two.clone())]);
    assert!(renamed.starts_with("remark: q.gguf: it is one of 2 files"), "{renamed}");
    let plain = text(&[
        (names[0], Gguf::new(&["a"]).bytes()),
        (names[1], Gguf::new(&["a"]).bytes()),
    ]);
    assert!(
        plain.starts_with("remark: q-00001-of-00002.gguf: it is one of 2 files according to its name"),
        "{plain}"
    );
}

#[test]
fn blobs_are_known_by_their_first_bytes() {
    let mut short = Gguf::new(&["a"]).bytes();
    short.pop();
    let blob = |digit: &str| format!("blobs/sha256-{}", digit.repeat(64));
    let lines = lines(
        &[(&blob("a"), b"MIT".to_vec()), (&blob("b"), short), (&blob("c"), vec![])],
        &[],
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&blob("b")), "{lines:?}");
}

#[test]
fn a_folder_of_empty_and_foreign_files_is_lines() {
    let files = [
        ("a.safetensors", vec![]),
        ("b.gguf", b"<html>".to_vec()),
        ("c.txt", vec![]),
    ];
    assert_eq!(
        lines(&files, &[]),
        [
            "fault: a.safetensors at byte 0: it ends before the length of its header; it is truncated",
            "fault: b.gguf at byte 0: it does not begin with GGUF; it is not a GGUF file",
        ]
    );
}
