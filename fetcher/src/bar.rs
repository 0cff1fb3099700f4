//! What a person sees of a run: a bar in a terminal, a log line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use modelcache_crds::quantity::human_bytes;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::rate::{Counter, Reading};

/// Between two log lines, where there is no bar.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where progress is shown.
#[derive(Clone, Debug)]
pub(crate) enum Display {
    /// Drawn on standard error.
    Bar(ProgressBar),
    /// Lines of the log.
    Log,
    /// Nowhere.
    Quiet,
}

impl Display {
    /// A bar where standard error is a terminal and nothing else was asked for.
    pub(crate) fn new(is_quiet: bool, is_text: bool) -> Self {
        if is_quiet {
            Self::Quiet
        } else if is_text && io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
            Self::Bar(bar)
        } else {
            Self::Log
        }
    }

    /// Takes readings and shows them; `verb` says what is done to the bytes.
    pub(crate) fn show(&self, verb: &'static str, counter: Counter) -> impl FnMut(Reading) + use<> {
        let display = self.clone();
        let mut last_line = Instant::now();
        move |reading| match &display {
            Self::Bar(bar) => draw(bar, verb, counter(&reading.counters), reading),
            Self::Log if last_line.elapsed() >= LOG_INTERVAL && reading.counters.bytes_total > 0 => {
                last_line = Instant::now();
                log(verb, counter(&reading.counters), reading);
            }
            Self::Log | Self::Quiet => {}
        }
    }

    /// Runs what writes to the terminal with the bar out of its way.
    pub(crate) fn suspended(&self, write: impl FnOnce()) {
        match self {
            Self::Bar(bar) => bar.suspend(write),
            Self::Log | Self::Quiet => write(),
        }
    }

    /// Takes the bar away, so that what follows stands alone.
    pub(crate) fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, verb: &'static str, done: u64, reading: Reading) {
    if reading.counters.bytes_total == 0 {
        bar.set_message("listing");
        bar.tick();
        return;
    }
    if bar.length() != Some(reading.counters.bytes_total) {
        // The template is a constant; were it wrong, the bar keeps its plain style.
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {prefix}") {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.set_length(reading.counters.bytes_total);
    }
    bar.set_message(verb);
    bar.set_prefix(summary(done, reading));
    bar.set_position(done.min(reading.counters.bytes_total));
}

fn log(verb: &'static str, done: u64, reading: Reading) {
    let Reading {
        counters,
        bytes_per_second,
    } = reading;
    tracing::info!(
        bytes = done,
        bytes_total = counters.bytes_total,
        bytes_per_second,
        files = counters.files_done,
        files_total = counters.files_total,
        retries = counters.retries,
        "{verb}: {}",
        summary(done, reading)
    );
}

/// `1.20 GiB of 4.59 GiB, 112 MiB/s, 31 s left, file 2 of 4`.
fn summary(done: u64, reading: Reading) -> String {
    use std::fmt::Write;

    let counters = reading.counters;
    let mut text = format!("{} of {}", bytes(done), bytes(counters.bytes_total));
    if reading.bytes_per_second > 0 {
        let _ = write!(text, ", {}/s", bytes(reading.bytes_per_second));
    }
    if let Some(remaining) = reading.remaining(done) {
        let _ = write!(text, ", {} left", duration(remaining));
    }
    text + &format!(", {} of {} files", counters.files_done, counters.files_total)
}

pub(crate) fn bytes(count: u64) -> String {
    human_bytes(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A time that has passed: with tenths where they matter.
pub(crate) fn elapsed(time: Duration) -> String {
    if time.as_secs() < 10 {
        return format!("{:.1} s", time.as_secs_f64());
    }
    duration(time)
}

/// The two largest units of a time: `3 h 20 min`.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Log lines above the bar instead of through it.
impl<'a> MakeWriter<'a> for Display {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        match self {
            Self::Bar(bar) => Line(Some(bar.clone())),
            Self::Log | Self::Quiet => Line(None),
        }
    }
}

/// Writes one log line.
pub(crate) struct Line(Option<ProgressBar>);

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bar) => bar.suspend(|| io::stderr().write(buffer)),
            None => io::stderr().write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::progress::Snapshot;

    #[rstest]
    #[case(1 << 20, "300 MiB of 400 MiB, 1.00 MiB/s, 1 min 40 s left, 2 of 3 files")]
    #[case(0, "300 MiB of 400 MiB, 2 of 3 files")]
    fn a_summary(#[case] bytes_per_second: u64, #[case] expected: &str) {
        let counters = Snapshot {
            bytes_total: 400 << 20,
            bytes_received: 300 << 20,
            files_total: 3,
            files_done: 2,
            ..Snapshot::default()
        };
        let reading = Reading {
            counters,
            bytes_per_second,
        };
        assert_eq!(summary(counters.bytes_fetched(), reading), expected);
    }

    #[rstest]
    #[case(2, "2 s")]
    #[case(59, "59 s")]
    #[case(3599, "59 min 59 s")]
    #[case(12_000, "3 h 20 min")]
    fn a_time(#[case] seconds: u64, #[case] expected: &str) {
        assert_eq!(duration(Duration::from_secs(seconds)), expected);
    }
}
