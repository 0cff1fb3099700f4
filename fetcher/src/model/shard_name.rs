//! Parses shard numbers in file names.

/// Splits `<name>-00001-of-00004` into the shared name, the shard's number and the number of shards.
pub(crate) fn numbered(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let name = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = &rest[name.len()..];
    let name = name.strip_suffix(['-', '_', '.'])?;
    Some((name, digits(number)?, digits(count)?))
}

fn digits(text: &str) -> Option<u32> {
    let are_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    are_digits.then(|| text.parse().ok()).flatten()
}
