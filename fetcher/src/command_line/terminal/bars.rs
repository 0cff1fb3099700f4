//! Progress at the bottom of a terminal: a line for each active file, for each origin, and for the run.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::lines;
use crate::observe::progress::{OriginSnapshot, Progress};
use crate::observe::rate::{Counter, Reading, Window};

/// Maximum number of origins shown; the final output lists all.
const MAX_SHOWN_ORIGINS: usize = 8;

/// Columns of a terminal of unknown size.
const DEFAULT_COLUMNS: usize = 80;

/// Rows of a terminal of unknown size.
const DEFAULT_ROWS: usize = 24;

/// The lines; clones draw on the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Bars(ProgressBar);

impl Bars {
    pub(super) fn on_stderr() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        // The template is a constant. If it were invalid, the bar would keep its plain style.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// A function that draws readings.
    pub(super) fn show(self, verb: &'static str, counter: Counter, progress: Progress) -> impl FnMut(Reading) {
        let start = Instant::now();
        let mut speeds = Speeds::default();
        move |reading| {
            let (now, (columns, rows)) = (start.elapsed(), size());
            let all = progress.origins();
            let origins = shown_origins(&all);
            let mut text = speeds.files(now, columns, &progress);
            // Two more rows are for the line of the run and the cursor.
            text.truncate(rows.saturating_sub(origins.len() + 2).max(1));
            text.extend(speeds.origins(now, columns, origins));
            text.push(run_line(columns, verb, counter, reading));
            self.0.set_message(text.join("\n"));
        }
    }

    /// Hides the lines while `write` writes to the terminal.
    pub(super) fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Removes the lines.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// Bytes per second of the shown files and origins.
#[derive(Default)]
struct Speeds {
    files: HashMap<u64, Window>,
    origins: Vec<Window>,
}

impl Speeds {
    /// A line for each active file.
    fn files(&mut self, now: Duration, columns: usize, progress: &Progress) -> Vec<String> {
        let mut previous = std::mem::take(&mut self.files);
        let mut lines = Vec::new();
        for file in progress.files() {
            let window = self
                .files
                .entry(file.number)
                .or_insert_with(|| previous.remove(&file.number).unwrap_or_default());
            lines.push(lines::file(columns, &file, window.record(now, file.bytes)));
        }
        lines
    }

    /// A line for each origin.
    fn origins(&mut self, now: Duration, columns: usize, origins: &[OriginSnapshot]) -> Vec<String> {
        self.origins.resize_with(origins.len(), Window::default);
        origins
            .iter()
            .zip(&mut self.origins)
            .map(|(origin, window)| lines::origin(columns, origin, window.record(now, origin.bytes)))
            .collect()
    }
}

/// The first origins if there are several; a single one is not worth a line.
fn shown_origins(origins: &[OriginSnapshot]) -> &[OriginSnapshot] {
    match origins.len() {
        0 | 1 => &[],
        count => &origins[..count.min(MAX_SHOWN_ORIGINS)],
    }
}

/// The line of the run.
fn run_line(columns: usize, verb: &str, counter: Counter, reading: Reading) -> String {
    if reading.counters.bytes_total == 0 {
        return "listing".to_owned();
    }
    let done = counter(&reading.counters);
    if lines::is_checking(&reading) && done < reading.counters.bytes_verified {
        return lines::total(columns, "checking", reading.counters.bytes_verified, reading);
    }
    lines::total(columns, verb, done.min(reading.counters.bytes_total), reading)
}

/// Columns and rows of the terminal, which may change at any time.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let or_default = |count: u16, default: usize| if count == 0 { default } else { count.into() };
    size.map_or((DEFAULT_COLUMNS, DEFAULT_ROWS), |size| {
        (
            or_default(size.ws_col, DEFAULT_COLUMNS),
            or_default(size.ws_row, DEFAULT_ROWS),
        )
    })
}
