use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;

use super::{Gguf, read_gguf, text};
use crate::format::gguf::Split;

/// A change that makes a sound file unsound.
type Change = fn(Gguf) -> Gguf;

#[test]
fn each_version_is_read() {
    for version in [1, 2, 3] {
        let mut file = Gguf::new(&["a", "b"]);
        file.version = version;
        if version == 1 {
            file.values = vec![("a".to_owned(), 8, b"\x01\0\0\0x".to_vec())];
        }
        let header = read_gguf(&file.bytes()).unwrap();
        assert_eq!(
            (header.tensors, header.split, header.remark),
            (2, None, None),
            "{version}"
        );
    }
}

#[test]
fn values_of_every_type_are_passed_over() {
    let list =
        |kind: u32, count: u64, inside: &[u8]| [kind.to_le_bytes().as_slice(), &count.to_le_bytes(), inside].concat();
    let mut file = Gguf::new(&["a"]);
    for (kind, bytes) in [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 4),
        (5, 4),
        (6, 4),
        (7, 1),
        (10, 8),
        (11, 8),
        (12, 8),
    ] {
        file = file.with(&format!("v{kind}"), kind, &vec![1; bytes]);
    }
    file = file.with("numbers", 9, &list(4, 3, &[0; 12]));
    file = file.with("words", 9, &list(8, 2, &[text("one"), text("two")].concat()));
    file = file.with("lists", 9, &list(9, 1, &list(0, 2, &[1, 2])));
    assert_eq!(read_gguf(&file.bytes()).unwrap().tensors, 1);
}

#[test]
fn a_file_of_a_set_says_so() {
    let header = read_gguf(&Gguf::new(&["a"]).split(1, 3, 7).bytes()).unwrap();
    let split = Split {
        number: 1,
        count: 3,
        tensors: Some(7),
    };
    assert_eq!(header.split, Some(split));
    assert_eq!(
        read_gguf(&Gguf::new(&["a"]).split(0, 1, 1).bytes()).unwrap().split,
        None
    );
}

#[rstest]
#[case::unknown_type(|mut file: Gguf| { file.tensors[0].kind = 4242; file }, "type 4242")]
#[case::long_name(|mut file: Gguf| { file.tensors[0].name = "x".repeat(64); file }, "more than 63 bytes")]
#[case::big_endian(|mut file: Gguf| { file.version = 3_u32.swap_bytes(); file }, "big-endian")]
fn what_is_unusual_is_told_and_no_fault(#[case] change: Change, #[case] remark: &str) {
    let header = read_gguf(&change(Gguf::new(&["a", "b"])).bytes()).unwrap();
    assert!(header.remark.unwrap().contains(remark));
}

#[rstest]
#[case::version(|mut file: Gguf| { file.version = 4; file }, "its version is 4")]
#[case::version_of_none(|mut file: Gguf| { file.version = 0; file }, "its version is 0")]
#[case::version_of_none_backwards(|mut file: Gguf| { file.version = 4_u32.swap_bytes(); file }, "supported are 1, 2 and 3")]
#[case::a_tensor_twice(|mut file: Gguf| { file.tensors[1].name = "a".to_owned(); file }, "tensor \"a\" is listed twice")]
#[case::a_key_twice(|file: Gguf| file.with("x", 0, &[1]).with("x", 0, &[1]), "the key \"x\" twice")]
#[case::no_key(|file: Gguf| file.with("", 0, &[1]), "a key is empty")]
#[case::misaligned(|mut file: Gguf| { file.tensors[1].offset = 136; file }, "not aligned to 32")]
#[case::overlap(|mut file: Gguf| { file.tensors[1].offset = 96; file }, "tensor \"b\" starts at 96, but the tensors before it end at 128")]
#[case::hole(|mut file: Gguf| { file.tensors[1].offset = 160; file.data += 32; file }, "tensor \"b\" starts at 160, but the tensors before it end at 128")]
#[case::hole_at_the_start(|mut file: Gguf| { file.tensors.remove(0); file }, "tensor \"b\" starts at 128, but the tensors before it end at 0")]
#[case::out_of_order(|mut file: Gguf| { file.tensors.swap(0, 1); file }, "tensor \"b\" starts at 128, but the tensors before it end at 0")]
#[case::overlap_with_an_unknown_type(
    |mut file: Gguf| { file.tensors[1].kind = 4242; file.tensors[1].offset = 96; file },
    "tensor \"b\" starts at 96, but the tensors before it end at 128"
)]
#[case::beyond_the_end(|mut file: Gguf| { file.data -= 1; file }, "it is truncated")]
#[case::larger(|mut file: Gguf| { file.tensors[1].extents = vec![8, 5]; file }, "it is truncated")]
#[case::overflow(|mut file: Gguf| { file.tensors[1].extents = vec![1 << 40, 1 << 40]; file }, "too many elements to count")]
#[case::overflowing_bytes(|mut file: Gguf| { file.tensors[1].extents = vec![1 << 62]; file }, "too many bytes to count")]
#[case::negative_extent(|mut file: Gguf| { file.tensors[1].extents = vec![1 << 63, 0]; file }, "too many elements to count")]
#[case::overflowing_end(
    |mut file: Gguf| { file.tensors[0].kind = 4242; file.tensors[1].offset = u64::MAX - 31; file },
    "ends beyond the end of any file"
)]
#[case::five_dimensions(|mut file: Gguf| { file.tensors[0].extents = vec![1; 5]; file }, "5 dimensions")]
#[case::half_a_block(|mut file: Gguf| { file.tensors[0].kind = 12; file }, "rows of 8 elements, which is not a multiple of 256")]
#[case::value_type(|file: Gguf| file.with("x", 13, &[]), "type 13")]
#[case::alignment_of_no_power(|file: Gguf| file.with("general.alignment", 4, &24_u32.to_le_bytes()), "its alignment is 24")]
#[case::odd_alignment(|file: Gguf| file.with("general.alignment", 4, &7_u32.to_le_bytes()), "its alignment is 7")]
#[case::no_alignment(|file: Gguf| file.with("general.alignment", 4, &[0; 4]), "its alignment is 0")]
#[case::alignment_of_another_type(|file: Gguf| file.with("general.alignment", 6, &[0; 4]), "not an unsigned integer")]
#[case::alignment_of_another_width(|file: Gguf| file.with("general.alignment", 10, &[32, 0, 0, 0, 0, 0, 0, 0]), "not an unsigned integer of 32 bits")]
#[case::negative_count(|file: Gguf| file.with("split.tensors.count", 5, &[255; 4]), "is negative")]
#[case::endless_text(|file: Gguf| file.with("x", 8, &[255; 8]), "it is truncated")]
#[case::endless_list(|file: Gguf| file.with("x", 9, &[4, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]), "it is truncated")]
#[case::endless_key(|file: Gguf| file.with(&"k".repeat(65536), 0, &[0]), "a key has a length of 65536 bytes")]
fn a_fault_is_told(#[case] change: Change, #[case] cause: &str) {
    let error = read_gguf(&change(Gguf::new(&["a", "b"])).bytes()).unwrap_err();
    assert!(error.cause.contains(cause), "{error:?}");
    assert!(error.offset.is_some(), "{error:?}");
}

#[test]
fn a_tensor_after_one_of_an_unknown_size_begins_anywhere_behind_it() {
    let mut file = Gguf::new(&["a", "b", "c"]);
    file.tensors[1].kind = 4242;
    file.tensors[2].offset = 128 + 32 * 5;
    file.data += 32;
    assert_eq!(read_gguf(&file.bytes()).unwrap().tensors, 3);
}

#[test]
fn lists_in_lists_end_somewhere() {
    let inside: Vec<u8> = (0..9).flat_map(|_| [9_u8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).collect();
    let error = read_gguf(&Gguf::new(&["a"]).with("x", 9, &inside).bytes()).unwrap_err();
    assert!(error.cause.contains("nested too deeply"), "{error:?}");
}

#[rstest]
#[case::magic(b"GGML\x03\0\0\0", 0, "does not begin with GGUF")]
#[case::nothing(b"", 0, "truncated")]
#[case::counts(b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 8, "too many")]
fn what_is_no_gguf_file_is_told(#[case] file: &[u8], #[case] at: u64, #[case] cause: &str) {
    let error = read_gguf(file).unwrap_err();
    assert!(error.cause.contains(cause), "{error:?}");
    assert_eq!(error.offset, Some(at));
}

/// Types, each with the elements and the bytes of a block.
const TYPES: &[(u32, u64, u64)] = &[
    (0, 1, 4),
    (1, 1, 2),
    (2, 32, 18),
    (8, 32, 34),
    (12, 256, 144),
    (14, 256, 210),
    (30, 1, 2),
];

proptest! {
    #[test]
    fn a_sound_file_passes_and_a_shorter_one_does_not(
        kinds in proptest::collection::vec((prop::sample::select(TYPES), 1_u64..4, 1_u64..4), 1..6),
        version in 2_u32..4, cut in any::<prop::sample::Index>(),
    ) {
        let mut file = Gguf::new(&[]);
        file.version = version;
        let mut end = 0_u64;
        for (number, ((kind, elements, bytes), blocks, rows)) in kinds.into_iter().enumerate() {
            let offset = end.next_multiple_of(32);
            let extents = vec![blocks * elements, rows];
            file.tensors.push(super::GgufTensor { name: format!("t{number}"), extents, kind, offset });
            end = offset + blocks * rows * bytes;
        }
        file.data = usize::try_from(end).unwrap();
        let bytes = file.bytes();
        prop_assert_eq!(read_gguf(&bytes).unwrap().tensors, file.tensors.len() as u64);
        prop_assert!(read_gguf(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_file_with_one_changed_offset_does_not_pass(which in 0_usize..4, to in 0_u64..40) {
        let mut file = Gguf::new(&["a", "b", "c", "d"]);
        let is_changed = file.tensors[which].offset != to * 16;
        file.tensors[which].offset = to * 16;
        prop_assert_eq!(read_gguf(&file.bytes()).is_err(), is_changed);
    }
}
