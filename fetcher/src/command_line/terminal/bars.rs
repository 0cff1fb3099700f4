//! Lines at the bottom of a terminal, drawn again and again: the files under way, who brings them, and the whole.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::lines;
use crate::observe::progress::{OriginSnapshot, Progress};
use crate::observe::rate::{Counter, Reading, Window};

/// Origins shown at most; the end of the run tells of all.
const MOST_ORIGINS: usize = 8;

/// Columns of a terminal that does not tell.
const COLUMNS: usize = 80;

/// Rows of one.
const ROWS: usize = 24;

/// What is drawn; clones draw on the same lines.
#[derive(Clone, Debug)]
pub(crate) struct Bars(ProgressBar);

impl Bars {
    pub(super) fn on_stderr() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        // The template is a constant; were it wrong, the bar keeps its plain style.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Takes readings and draws them.
    pub(super) fn show(self, verb: &'static str, counter: Counter, progress: Progress) -> impl FnMut(Reading) {
        let begun = Instant::now();
        let mut speeds = Speeds::default();
        move |reading| {
            let (now, (columns, rows)) = (begun.elapsed(), size());
            let all = progress.origins();
            let origins = told(&all);
            let mut text = speeds.files(now, columns, &progress);
            // The last rows are for the whole and the cursor.
            text.truncate(rows.saturating_sub(origins.len() + 2).max(1));
            text.extend(speeds.origins(now, columns, origins));
            text.push(whole(columns, verb, counter, reading));
            self.0.set_message(text.join("\n"));
        }
    }

    /// Runs what writes to the terminal with the lines out of its way.
    pub(super) fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Takes the lines away.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// Bytes per second of what is shown.
#[derive(Default)]
struct Speeds {
    files: HashMap<u64, Window>,
    origins: Vec<Window>,
}

impl Speeds {
    /// A line for each file under way.
    fn files(&mut self, now: Duration, columns: usize, progress: &Progress) -> Vec<String> {
        let mut former = std::mem::take(&mut self.files);
        let mut lines = Vec::new();
        for file in progress.files() {
            let window = self
                .files
                .entry(file.number)
                .or_insert_with(|| former.remove(&file.number).unwrap_or_default());
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

/// Origins are told of where there is a choice.
fn told(origins: &[OriginSnapshot]) -> &[OriginSnapshot] {
    match origins.len() {
        0 | 1 => &[],
        count => &origins[..count.min(MOST_ORIGINS)],
    }
}

fn whole(columns: usize, verb: &str, counter: Counter, reading: Reading) -> String {
    if reading.counters.bytes_total == 0 {
        return "listing".to_owned();
    }
    let done = counter(&reading.counters);
    if lines::is_checking(&reading) && done < reading.counters.bytes_verified {
        return lines::total(columns, "checking", reading.counters.bytes_verified, reading);
    }
    lines::total(columns, verb, done.min(reading.counters.bytes_total), reading)
}

/// Columns and rows of the terminal; they may change at any moment.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let given = |count: u16, otherwise: usize| if count == 0 { otherwise } else { count.into() };
    size.map_or((COLUMNS, ROWS), |size| {
        (given(size.ws_col, COLUMNS), given(size.ws_row, ROWS))
    })
}
