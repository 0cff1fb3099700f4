//! Lines of progress for a terminal. Pure: values and a width in, text out.

use super::{bytes, duration};
use crate::observe::progress::{FileSnapshot, OriginSnapshot, OriginState};
use crate::observe::rate::Reading;

/// Minimum width of a bar, below which it is omitted.
const MIN_BAR_COLUMNS: usize = 6;

/// Minimum width of the name of a file.
const MIN_NAME_COLUMNS: usize = 12;

/// An active file: `model-00001-…etensors ━━━━━━╸        45%  2.07 GiB of  4.59 GiB   62.1 MiB/s`.
pub(super) fn file(width: usize, file: &FileSnapshot, bytes_per_second: u64) -> String {
    let percent = percent(file.bytes, file.size);
    let amounts = if width >= 60 {
        format!("  {:>8} of {:>8}", bytes(file.bytes), bytes(file.size))
    } else {
        String::new()
    };
    let tail = format!("{percent:>3}%{amounts}  {:>10}", speed(bytes_per_second));
    let room = width.saturating_sub(chars(&tail) + 1);
    let name = (room * 3 / 5).max(MIN_NAME_COLUMNS);
    let shown = shortened(&file.name, name);
    let line = format!("{shown:<name$} ");
    let bar = bar(room.saturating_sub(name + 2), file.bytes, file.size);
    fitted(width, &format!("{line}{bar} {tail}"))
}

/// An origin: `  62.1 MiB/s   1.20 GiB  from https://…`, with the reason if it was dropped.
pub(super) fn origin(width: usize, origin: &OriginSnapshot, bytes_per_second: u64) -> String {
    let (state, reason) = match origin.state {
        OriginState::Active => (speed(bytes_per_second), None),
        OriginState::Paused => ("paused".to_owned(), None),
        OriginState::Dropped(_) => ("dropped".to_owned(), origin.last_error.as_deref()),
    };
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let head = format!("{state:>12}  {:>8}  from ", bytes(origin.bytes));
    // The reason for dropping an origin matters more than the end of its name.
    let room = width.saturating_sub(chars(&head));
    let name = if reason.is_empty() { room } else { room / 2 };
    fitted(width, &format!("{head}{}{reason}", shortened(&origin.name, name)))
}

/// The run: `fetching ━━━━╸   6.71 GiB of 16.0 GiB, 112 MiB/s, 1 min 24 s left, 2 of 7 files`.
pub(super) fn total(width: usize, verb: &str, done: u64, reading: Reading) -> String {
    let summary = summary(done, reading);
    let bar = bar(
        width.saturating_sub(chars(verb) + chars(&summary) + 2),
        done,
        reading.counters.bytes_total,
    );
    fitted(width, &format!("{verb} {bar} {summary}"))
}

/// `1.20 GiB of 4.59 GiB, 112 MiB/s, 31 s left, 2 of 4 files`.
pub(super) fn summary(done: u64, reading: Reading) -> String {
    use std::fmt::Write;

    let counters = reading.counters;
    let mut text = format!("{} of {}", bytes(done), bytes(counters.bytes_total));
    // Writing to a string cannot fail.
    if reading.bytes_per_second > 0 {
        let _ = write!(text, ", {}/s", bytes(reading.bytes_per_second));
    }
    if let Some(remaining) = reading.remaining(done) {
        let _ = write!(text, ", {} left", duration(remaining));
    }
    text + &format!(", {} of {} files", counters.files_done, counters.files_total)
}

fn speed(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// Percentage, rounded down: 100 only with the last byte.
fn percent(part: u64, whole: u64) -> u128 {
    (u128::from(part) * 100).checked_div(whole.into()).unwrap_or(100)
}

/// A bar of exactly this width, or nothing if that is too narrow.
fn bar(width: usize, done: u64, total: u64) -> String {
    if width < MIN_BAR_COLUMNS {
        return String::new();
    }
    let halves = u128::from(done) * 2 * width as u128;
    let halves = halves.checked_div(total.into()).unwrap_or(2 * width as u128);
    let halves = usize::try_from(halves).unwrap_or(usize::MAX).min(2 * width);
    let half = if halves.is_multiple_of(2) { "" } else { "╸" };
    let bar = format!("{}{half}", "━".repeat(halves / 2));
    format!("{bar:<width$}")
}

/// A name of at most `width` characters, shortened in its middle: both ends distinguish shards.
fn shortened(name: &str, width: usize) -> String {
    let count = chars(name);
    if count <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(1);
    let end = kept * 2 / 5;
    let first: String = name.chars().take(kept - end).collect();
    let last: String = name.chars().skip(count - end).collect();
    format!("{first}…{last}")
}

/// Shortens a line to the width of the terminal: a wrapped line would not be erased when it is drawn again.
fn fitted(width: usize, line: &str) -> String {
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    if chars(&line) <= width {
        return line;
    }
    let cut: String = line.chars().take(width.saturating_sub(1)).collect();
    cut + "…"
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Whether hashing is ahead of fetching: files that were on disk are being verified.
pub(super) fn is_checking(reading: &Reading) -> bool {
    reading.counters.bytes_verified > reading.counters.bytes_fetched()
}

#[cfg(test)]
mod tests {
    use modelcache_crds::report::OriginFault;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::observe::progress::Snapshot;

    fn shard() -> FileSnapshot {
        FileSnapshot {
            number: 0,
            name: "model-00001-of-00004.safetensors".to_owned(),
            size: 4_928_000_000,
            bytes: 2_217_600_000,
        }
    }

    fn mirror(state: OriginState) -> OriginSnapshot {
        OriginSnapshot {
            name: "https://mirror.example/org/name".to_owned(),
            bytes: 1 << 30,
            failures: 0,
            state,
            last_error: Some("sent wrong bytes of model-00001-of-00004.safetensors".to_owned()),
        }
    }

    fn reading() -> Reading {
        Reading {
            counters: Snapshot {
                bytes_total: 400 << 20,
                bytes_received: 300 << 20,
                files_total: 3,
                files_done: 2,
                ..Snapshot::default()
            },
            bytes_per_second: 1 << 20,
        }
    }

    #[test]
    fn a_screen_of_eighty_columns() {
        let dropped = OriginState::Dropped(OriginFault::SentWrongBytes);
        let screen = [
            file(80, &shard(), 65_000_000),
            origin(80, &mirror(OriginState::Active), 65_000_000),
            origin(80, &mirror(OriginState::Paused), 0),
            origin(80, &mirror(dropped), 0),
            total(80, "fetching", 300 << 20, reading()),
        ];
        insta::assert_snapshot!(screen.join("\n"), @r"
        model-00001-of…fetensors ━━━━━━╸          45%  2.07 GiB of 4.59 GiB  62.0 MiB/s
          62.0 MiB/s  1.00 GiB  from https://mirror.example/org/name
              paused  1.00 GiB  from https://mirror.example/org/name
             dropped  1.00 GiB  from https://mirror.…/org/name (sent wrong bytes of mod…
        fetching ━━━━━━╸   300 MiB of 400 MiB, 1.00 MiB/s, 1 min 40 s left, 2 of 3 files
        ");
    }

    #[rstest]
    #[case("short", 8, "short")]
    #[case("model-00001-of-00004.safetensors", 21, "model-00001-…etensors")]
    #[case("ab", 1, "…")]
    fn a_name(#[case] name: &str, #[case] width: usize, #[case] expected: &str) {
        assert_eq!(shortened(name, width), expected);
    }

    #[rstest]
    #[case(1 << 20, "300 MiB of 400 MiB, 1.00 MiB/s, 1 min 40 s left, 2 of 3 files")]
    #[case(0, "300 MiB of 400 MiB, 2 of 3 files")]
    fn a_summary(#[case] bytes_per_second: u64, #[case] expected: &str) {
        let reading = Reading {
            bytes_per_second,
            ..reading()
        };
        assert_eq!(summary(reading.counters.bytes_fetched(), reading), expected);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(width in 1_usize..200, name in "\\PC{0,80}", done in any::<u64>(), size in any::<u64>(), rate in any::<u64>()) {
            let snapshot = FileSnapshot { number: 0, name: name.clone(), size, bytes: done.min(size) };
            let mut reading = reading();
            (reading.counters.bytes_total, reading.bytes_per_second) = (size, rate);
            let lines = [
                file(width, &snapshot, rate),
                origin(width, &OriginSnapshot { name, ..mirror(OriginState::Active) }, rate),
                total(width, "fetching", done.min(size), reading),
            ];
            for line in lines {
                prop_assert!(chars(&line) <= width, "{} > {width}: {line}", chars(&line));
            }
        }
    }
}
