//! Progress for people: bars in a terminal, a log line every ten seconds elsewhere.

mod bars;
mod lines;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use modelcache_crds::quantity::human_bytes;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use self::bars::Bars;
use self::lines::summary;
use crate::observe::progress::Progress;
use crate::observe::rate::{Counter, Reading};

/// Time between two log lines with progress.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where progress is shown.
#[derive(Clone, Debug)]
pub(crate) enum Display {
    /// Bars on standard error.
    Bars(Bars),
    /// Log lines.
    Log,
    /// Nowhere.
    Quiet,
}

impl Display {
    /// Bars if standard error is a terminal and the options allow them.
    pub(crate) fn new(is_quiet: bool, is_text: bool) -> Self {
        if is_quiet {
            Self::Quiet
        } else if is_text && io::stderr().is_terminal() {
            Self::Bars(Bars::on_stderr())
        } else {
            Self::Log
        }
    }

    /// A function that shows readings; `verb` names what happens to the bytes.
    pub(crate) fn show(
        &self,
        verb: &'static str,
        counter: Counter,
        progress: Progress,
    ) -> Box<dyn FnMut(Reading) + Send> {
        let mut last_line = Instant::now();
        match self {
            Self::Bars(bars) => Box::new(bars.clone().show(verb, counter, progress)),
            Self::Log => Box::new(move |reading| {
                if last_line.elapsed() >= LOG_INTERVAL && reading.counters.bytes_total > 0 {
                    last_line = Instant::now();
                    log(verb, counter(&reading.counters), reading);
                }
            }),
            Self::Quiet => Box::new(|_| {}),
        }
    }

    /// Hides the bars while `write` writes to the terminal.
    pub(crate) fn suspended(&self, write: impl FnOnce()) {
        match self {
            Self::Bars(bars) => bars.suspended(write),
            Self::Log | Self::Quiet => write(),
        }
    }

    /// Removes the bars before the final output.
    pub(crate) fn clear(&self) {
        if let Self::Bars(bars) = self {
            bars.clear();
        }
    }
}

fn log(verb: &'static str, done: u64, reading: Reading) {
    let Reading {
        counters,
        bytes_per_second,
    } = reading;
    tracing::info!(
        step = verb,
        bytes = done,
        bytes_total = counters.bytes_total,
        bytes_per_second,
        files = counters.files_done,
        files_total = counters.files_total,
        retries = counters.retries,
        summary = summary(done, reading),
        "progress"
    );
}

/// A number of bytes for people, such as `86.7 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    human_bytes(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A time for people; with tenths of a second below ten seconds.
pub(crate) fn elapsed(time: Duration) -> String {
    if time.as_secs() < 10 {
        return format!("{:.1} s", time.as_secs_f64());
    }
    duration(time)
}

/// A time in its two largest units, such as `3 h 20 min`.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Writes log lines above the bars.
impl<'a> MakeWriter<'a> for Display {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        match self {
            Self::Bars(bars) => Line(Some(bars.clone())),
            Self::Log | Self::Quiet => Line(None),
        }
    }
}

/// Writes one log line.
pub(crate) struct Line(Option<Bars>);

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bars) => bars.suspended(|| io::stderr().write(buffer)),
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

    #[rstest]
    #[case(2, "2 s")]
    #[case(59, "59 s")]
    #[case(3599, "59 min 59 s")]
    #[case(12_000, "3 h 20 min")]
    fn a_time(#[case] seconds: u64, #[case] expected: &str) {
        assert_eq!(duration(Duration::from_secs(seconds)), expected);
    }
}
