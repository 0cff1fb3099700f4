use pretty_assertions::assert_eq;
use rstest::rstest;

use super::malformed;
use crate::format::index::{Index, read};

fn entries(text: &str) -> Result<(Index, Vec<String>), crate::format::Malformed> {
    let mut entries = Vec::new();
    let index = malformed(read(text.as_bytes(), &mut |tensor, shard| {
        entries.push(format!("{tensor} in {shard}"));
        Ok(())
    }))?;
    Ok((index, entries))
}

#[rstest]
#[case(r#"{"metadata":{"total_size":7},"weight_map":{"a":"x","b":"y"}}"#, Some(7))]
#[case(
    r#"{"weight_map":{"a":"x","b":"y"},"metadata":{"total_size":"7","more":[1,{}]},"other":null}"#,
    Some(7)
)]
#[case(r#"{"weight_map":{"a":"x","b":"y"}}"#, None)]
#[case(r#"{"weight_map":{"a":"x","b":"y"},"metadata":null}"#, None)]
#[case(r#"{"weight_map":{"a":"x","b":"y"},"metadata":{"total_size":1.5}}"#, None)]
#[case(r#"{"weight_map":{"a":"x","b":"y"},"metadata":{"total_size":{"a":[1]}}}"#, None)]
fn an_index_is_read_entry_by_entry(#[case] text: &str, #[case] total_size: Option<u64>) {
    let (index, entries) = entries(text).unwrap();
    assert_eq!(index.total_size, total_size);
    assert_eq!(entries, ["a in x", "b in y"]);
}

#[rstest]
#[case::nothing("", "ends in the middle")]
#[case::cut_short(r#"{"weight_map":{"a":"x""#, "ends in the middle")]
#[case::a_page("<html>", "is not valid JSON")]
#[case::no_map("{}", "no weight_map")]
#[case::a_list(r#"{"weight_map":["a"]}"#, "is not valid JSON")]
#[case::a_number(r#"{"weight_map":{"a":1}}"#, "is not valid JSON")]
fn what_is_no_index_is_told(#[case] text: &str, #[case] cause: &str) {
    let error = entries(text).unwrap_err();
    assert!(error.cause.contains(cause), "{error:?}");
}

/// An index in the layout of common writers.
const PRETTY: &str = r#"{
  "metadata": {
    "total_size": 7
  },
  "weight_map": {
    "a": "x",
    "b": "y"
  }
}
"#;

// The parser rejects a number after its last digit.
#[rstest]
#[case::a_number_for_a_shard("\"y\"", "7", "\n  }\n}\n")]
#[case::a_comma_too_much("\"y\"", "\"y\",", "}\n}\n")]
#[case::no_colon("\"b\": ", "\"b\" ", "\"y\"\n")]
#[case::a_break_in_a_name("\"b\"", "\"b\n\"", "\n\": \"y\"")]
fn a_fault_beyond_the_first_line_is_told_with_its_byte(#[case] sound: &str, #[case] wrong: &str, #[case] rest: &str) {
    let text = PRETTY.replace(sound, wrong);
    let error = entries(&text).unwrap_err();
    assert!(error.cause.contains("is not valid JSON"), "{error:?}");
    let offset = usize::try_from(error.offset.unwrap()).unwrap();
    assert!(text[offset..].starts_with(rest), "{error:?}: {:?}", &text[offset..]);
}

#[test]
fn an_index_that_ends_early_is_told_with_its_last_byte() {
    let end = PRETTY.trim_end().len() - 1;
    for length in 1..end {
        let error = entries(&PRETTY[..length]).unwrap_err();
        assert_eq!(error.offset, Some(length as u64 - 1), "{error:?}");
    }
}

#[test]
fn what_is_refused_of_an_index_is_told_with_the_byte_of_its_shard() {
    let rejected = read(PRETTY.as_bytes(), &mut |_, shard| match shard {
        "y" => Err("no".to_owned()),
        _ => Ok(()),
    });
    let error = malformed(rejected).unwrap_err();
    assert_eq!(error.offset, Some(PRETTY.find("\"y\"").unwrap() as u64));
}

#[test]
fn a_string_that_would_fill_the_memory_is_told_with_its_place() {
    let text = PRETTY.replace("\"y\"", &format!("\"{}\"", "y".repeat(9 << 20)));
    let error = entries(&text).unwrap_err();
    assert!(error.cause.contains("longer than 8 MiB"), "{error:?}");
    assert_eq!(error.offset, Some(PRETTY.find("\"y\"").unwrap() as u64));
}
