//! The Range header: one range of bytes, as RFC 9110 has it.

/// What a Range header asks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No range, or one that may be ignored.
    Whole,
    /// These bytes, end excluded.
    Part { start: u64, end: u64 },
    /// Bytes the file does not have.
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
    fn ranges_are_read_as_the_rfc_has_them() {
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
