//! The Range header of RFC 9110, for one range of bytes.

/// The part of a file that a Range header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The whole file: no range, or one that a server may ignore.
    Whole,
    /// These bytes; the end is exclusive.
    Part { start: u64, end: u64 },
    /// A range beyond the end of the file.
    Unsatisfiable,
}

pub(crate) fn parse(header: Option<&str>, size: u64) -> Wanted {
    let Some(ranges) = header.and_then(|header| header.strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = ranges.split_once('-').filter(|_| !ranges.contains(',')) else {
        return Wanted::Whole;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size),
        (Err(_), Ok(count)) if first.is_empty() => (size.saturating_sub(count), size),
        _ => return Wanted::Whole,
    };
    if start < end {
        Wanted::Part { start, end }
    } else {
        Wanted::Unsatisfiable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_in_the_rfc() {
        let part = |start, end| Wanted::Part { start, end };
        for (header, size, wanted) in [
            (None, 10, Wanted::Whole),
            (Some("bytes=0-0"), 10, part(0, 1)),
            (Some("bytes=2-5"), 10, part(2, 6)),
            (Some("bytes=2-"), 10, part(2, 10)),
            (Some("bytes=-3"), 10, part(7, 10)),
            (Some("bytes=-30"), 10, part(0, 10)),
            (Some("bytes=2-500"), 10, part(2, 10)),
            (Some("bytes=10-"), 10, Wanted::Unsatisfiable),
            (Some("bytes=0-0"), 0, Wanted::Unsatisfiable),
            (Some("bytes=5-2"), 10, Wanted::Whole),
            (Some("bytes=0-1,4-5"), 10, Wanted::Whole),
            (Some("lines=0-1"), 10, Wanted::Whole),
        ] {
            assert_eq!(parse(header, size), wanted, "{header:?} of {size}");
        }
    }
}
