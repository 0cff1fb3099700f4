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
#[case::a_page("<html>", "cannot be read")]
#[case::no_map("{}", "no weight_map")]
#[case::a_list(r#"{"weight_map":["a"]}"#, "cannot be read")]
#[case::a_number(r#"{"weight_map":{"a":1}}"#, "cannot be read")]
fn what_is_no_index_is_told(#[case] text: &str, #[case] cause: &str) {
    let error = entries(text).unwrap_err();
    assert!(error.cause.contains(cause), "{error:?}");
}
