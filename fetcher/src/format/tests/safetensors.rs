use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;

use super::{malformed, of_bytes, read_safetensors, with_header};
use crate::format::safetensors::read;

#[rstest]
#[case::no_tensor("{}", 0)]
#[case::padded(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}     "#, 2)]
#[case::metadata(
    r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#,
    4
)]
#[case::out_of_order(
    r#"{"a":{"dtype":"I16","shape":[2],"data_offsets":[2,6]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}"#,
    6
)]
#[case::a_tensor_of_nothing(
    r#"{"a":{"dtype":"F64","shape":[0,3],"data_offsets":[0,0]},"b":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}"#,
    1
)]
#[case::half_bytes(r#"{"a":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}}"#, 3)]
#[case::three_quarters(r#"{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}"#, 3)]
#[case::more_fields(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"note":{"x":[1]}}}"#, 1)]
fn a_sound_file(#[case] header: &str, #[case] data: usize) {
    let header = read_safetensors(&with_header(header, data)).unwrap();
    assert_eq!((header.bytes, header.unknown), (data as u64, None));
}

#[test]
fn a_type_that_is_not_known_is_told_and_no_fault() {
    let file = with_header(r#"{"a":{"dtype":"F2","shape":[4],"data_offsets":[0,1]}}"#, 1);
    assert_eq!(read_safetensors(&file).unwrap().unknown.as_deref(), Some("F2"));
}

#[rstest]
#[case::overlap(
    r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#,
    6,
    2,
    "tensor \"b\" overlaps another"
)]
#[case::hole(
    r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#,
    3,
    1,
    "belong to no tensor"
)]
#[case::hole_at_the_start(
    r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
    2,
    0,
    "belong to no tensor"
)]
#[case::bytes_after_the_last(
    r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
    2,
    1,
    "belong to no tensor"
)]
#[case::backwards(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#, 1, 1, "before its start")]
#[case::another_size(
    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
    4,
    0,
    "has 2 elements of F32, which take 8 bytes, but its offsets span 4"
)]
#[case::overflowing_shape(
    r#"{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
    0,
    0,
    "too many elements to count"
)]
#[case::overflowing_bits(
    r#"{"a":{"dtype":"F64","shape":[9223372036854775807],"data_offsets":[0,8]}}"#,
    8,
    0,
    "does not fill whole bytes"
)]
#[case::half_a_byte(
    r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#,
    2,
    0,
    "does not fill whole bytes"
)]
fn a_fault_of_a_tensor_is_told_with_its_place(
    #[case] header: &str,
    #[case] data: usize,
    #[case] at: u64,
    #[case] cause: &str,
) {
    let error = read_safetensors(&with_header(header, data)).unwrap_err();
    assert!(error.cause.contains(cause), "{error:?}");
    assert_eq!(error.offset, Some(8 + header.len() as u64 + at));
}

#[rstest]
#[case::nothing(b"", Some(0), "it is truncated")]
#[case::seven_bytes(b"\x02\0\0\0\0\0\0", Some(7), "it is truncated")]
#[case::no_header(b"\0\0\0\0\0\0\0\0", Some(8), "does not begin with {")]
#[case::half_a_header(b"\x09\0\0\0\0\0\0\0{\"a", Some(11), "it is truncated")]
#[case::a_web_page(b"<!doctype html><html>", Some(0), "not a safetensors file")]
#[case::a_pointer(b"version https://git-lfs.github.com/spec/v1\n", Some(0), "a Git LFS pointer")]
#[case::one_byte_too_long(b"\x01\xe1\xf5\x05\0\0\0\0", Some(0), "more than the format allows")]
#[case::a_list(b"\x02\0\0\0\0\0\0\0[]", Some(8), "does not begin with {")]
#[case::broken_json(b"\x03\0\0\0\0\0\0\0{,}", Some(9), "is not valid JSON")]
#[case::json_cut_short(b"\x04\0\0\0\0\0\0\0{\"a\"", Some(11), "ends in the middle")]
#[case::more_after_it(b"\x04\0\0\0\0\0\0\0{}{}", Some(10), "is not valid JSON")]
#[case::no_text(b"\x07\0\0\0\0\0\0\0{\"\xff\":1}", Some(10), "is not valid JSON")]
fn what_is_no_safetensors_file_is_told(#[case] file: &[u8], #[case] at: Option<u64>, #[case] cause: &str) {
    let error = read_safetensors(file).unwrap_err();
    assert!(error.cause.contains(cause), "{error:?}");
    assert_eq!(error.offset, at, "{error:?}");
}

#[rstest]
#[case::a_number(r#"{"a":1}"#)]
#[case::negative(r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#)]
#[case::fraction(r#"{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}"#)]
#[case::one_offset(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}"#)]
#[case::three_offsets(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}"#)]
#[case::no_type(r#"{"a":{"shape":[1],"data_offsets":[0,1]}}"#)]
#[case::numbers_as_metadata(r#"{"__metadata__":{"a":1}}"#)]
fn a_header_of_another_shape_is_refused(#[case] header: &str) {
    let error = read_safetensors(&with_header(header, 1)).unwrap_err();
    assert!(error.cause.contains("is not valid JSON"), "{error:?}");
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let header =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    let error = read_safetensors(&with_header(header, 2)).unwrap_err();
    assert!(error.cause.contains("twice"), "{error:?}");
}

#[test]
fn a_string_that_would_fill_the_memory_is_refused() {
    let header = format!("{{\"{}\":1}}", "x".repeat(9 << 20));
    let error = read_safetensors(&with_header(&header, 0)).unwrap_err();
    assert!(error.cause.contains("longer than 8 MiB"), "{error:?}");
    assert_eq!(error.offset, Some(9));
}

#[test]
fn only_the_header_is_read() {
    let file = of_bytes(&[("a", 1 << 20)]);
    let header = &file[..file.len() - (1 << 20)];
    let read = malformed(read(header, file.len() as u64)).unwrap();
    assert_eq!(read.bytes, 1 << 20);
}

prop_compose! {
    /// The header of a sound file with its tensors in a rotated order, and the offsets of the tensors.
    fn tensors()(
        tensors in proptest::collection::vec(
            (prop::sample::select(vec![("U8", 8), ("F16", 16), ("BF16", 16), ("F32", 32), ("C64", 64), ("F4", 4)]),
             proptest::collection::vec(0_u64..5, 0..4)), 0..8,
        ),
        order in any::<prop::sample::Index>(),
    ) -> (String, Vec<u64>) {
        let (mut entries, mut offsets, mut end) = (Vec::new(), vec![], 0);
        for (number, ((dtype, bits), mut shape)) in tensors.into_iter().enumerate() {
            // A whole number of bytes.
            shape.push(2);
            let bytes = shape.iter().product::<u64>() * bits / 8;
            let place = [end, end + bytes];
            let tensor = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": place});
            entries.push(format!("\"t{number}\":{tensor}"));
            offsets.extend(place);
            end += bytes;
        }
        let middle = order.index(entries.len() + 1);
        entries.rotate_left(middle);
        (format!("{{{}}}", entries.join(",")), offsets)
    }
}

proptest! {
    #[test]
    fn a_sound_file_passes_and_a_shorter_or_longer_one_does_not(
        (header, offsets) in tensors(), cut in any::<prop::sample::Index>(), more in 1_usize..9,
    ) {
        let data = usize::try_from(offsets.last().copied().unwrap_or(0)).unwrap();
        let file = with_header(&header, data);
        prop_assert!(read_safetensors(&file).is_ok());
        let shorter = &file[..cut.index(file.len())];
        prop_assert!(read_safetensors(shorter).is_err());
        let longer = with_header(&header, data + more);
        prop_assert!(read_safetensors(&longer).is_err());
    }

    #[test]
    fn a_file_with_one_changed_offset_does_not_pass(
        (header, offsets) in tensors(), which in any::<prop::sample::Index>(), by in 1_u64..100,
    ) {
        prop_assume!(!offsets.is_empty());
        let mut value: serde_json::Value = serde_json::from_str(&header).unwrap();
        let which = which.index(offsets.len());
        let offset = &mut value[format!("t{}", which / 2)]["data_offsets"][which % 2];
        *offset = serde_json::json!(offset.as_u64().unwrap().wrapping_add(by));
        let data = usize::try_from(offsets.last().copied().unwrap()).unwrap();
        prop_assert!(read_safetensors(&with_header(&value.to_string(), data)).is_err());
    }
}
