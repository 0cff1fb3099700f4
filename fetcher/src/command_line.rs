//! One run of the program: sets up logs, signals and progress, runs a command, and reports the result.

pub mod args;
mod fetch;
mod plan;
mod repair;
mod result;
mod shell;
mod terminal;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use modelcache_crds::report::{Failed, FailureClass, Report};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use self::args::{Args, Command, LogFormat, Output, termination_log};
use self::result::{exit_code, print_json, write_termination_message};
use self::terminal::Display;
use crate::model::error::FetchError;
use crate::observe::progress::{OriginSnapshot, Progress, Snapshot};
use crate::observe::rate::{Counter, Meter};
use crate::observe::serve;

/// Everything that the commands share.
struct Run {
    progress: Progress,
    stop: CancellationToken,
    display: Display,
    json: bool,
}

impl Run {
    /// Writes to standard output. A closed pipe is not an error.
    fn print(&self, text: &str) {
        self.display.suspended(|| {
            let _ = io::stdout().lock().write_all(text.as_bytes());
        });
    }

    fn print_json<T: serde::Serialize>(&self, value: &T) {
        self.display.suspended(|| {
            let _ = print_json(value);
        });
    }
}

/// Runs the program with the process's own arguments and environment.
pub async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return report_parse_error(&error),
    };
    let Args { command, output } = args;
    if let Some(code) = print_own_files(&command) {
        return code;
    }
    report_panics(output.termination_log.clone());
    let display = Display::new(output.quiet, output.log_format == LogFormat::Text);
    log_to(&display, output.log_format);
    let run = Run {
        progress: Progress::default(),
        stop: stop_on_signals(),
        display,
        json: output.json,
    };
    let result = run_command(&run, &command, &output).await;
    run.display.clear();
    let report = result.unwrap_or_else(|error| Report::Failed(failure(&run, &error)));
    report_result(&report, &output);
    ExitCode::from(exit_code(&report))
}

/// Runs the commands that generate completions and manual pages; they need neither source nor report.
fn print_own_files(command: &Command) -> Option<ExitCode> {
    let result = match command {
        Command::Completions { shell } => {
            shell::completions(*shell);
            Ok(())
        }
        Command::Man { folder } => shell::manual(folder),
        Command::Plan(_) | Command::Fetch(_) | Command::Verify { .. } | Command::Repair(_) => return None,
    };
    Some(result.map_or_else(
        |error| {
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            ExitCode::from(error.class().exit_code())
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// The report of a failed run, with its origin statistics.
fn failure(run: &Run, error: &FetchError) -> Failed {
    Failed {
        origins: run.progress.origins().iter().map(OriginSnapshot::to_report).collect(),
        ..error.to_report()
    }
}

/// Runs a command while its progress is served and shown.
async fn run_command(run: &Run, command: &Command, output: &Output) -> Result<Report, FetchError> {
    let meter = Meter::new(run.progress.clone());
    if let Some(address) = output.listen {
        serve::serve(address, meter.clone()).await?;
    }
    let show = async {
        match command {
            // These hash every byte but fetch few, so hashed bytes are the progress.
            Command::Verify { .. } | Command::Repair(_) => {
                let done: Counter = |counters| counters.bytes_verified;
                meter
                    .run(done, run.display.show("verifying", done, run.progress.clone()))
                    .await;
            }
            Command::Plan(_) | Command::Fetch(_) | Command::Completions { .. } | Command::Man { .. } => {
                let show = run
                    .display
                    .show("fetching", Snapshot::bytes_fetched, run.progress.clone());
                meter.run(|counters| counters.bytes_received, show).await;
            }
        }
    };
    let work = async {
        match command {
            Command::Plan(args) => plan::plan(run, args).await,
            Command::Fetch(args) => fetch::fetch(run, args).await,
            Command::Verify {
                folder,
                revisions,
                format,
            } => verify::verify(run, folder, revisions, format.format_check).await,
            Command::Repair(args) => repair::repair(run, args).await,
            Command::Completions { .. } | Command::Man { .. } => {
                Err(FetchError::Internal("the command should have ended before".to_owned()))
            }
        }
    };
    tokio::select! {
        result = work => result,
        () = show => Err(FetchError::Internal("the meter stopped".to_owned())),
    }
}

fn signed(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Gives a panic a report and an exit code, so that it does not look like a killed pod.
fn report_panics(termination_log: Option<PathBuf>) {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if let Some(path) = &termination_log {
            let report = Report::Failed(FetchError::Internal(panic.to_string()).to_report());
            write_termination_message(path, &report);
        }
        std::process::exit(FailureClass::Internal.exit_code().into());
    }));
}

/// A token that SIGTERM and SIGINT cancel; a second signal ends the process.
fn stop_on_signals() -> CancellationToken {
    let stop = CancellationToken::new();
    let signals =
        signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    match signals {
        Ok((mut terminate, mut interrupt)) => {
            let token = stop.clone();
            tokio::spawn(async move {
                for is_second in [false, true] {
                    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                    if is_second {
                        // Durable bytes are safe, and the sender of a second signal does not want to wait.
                        std::process::exit(FailureClass::Interrupted.exit_code().into());
                    }
                    tracing::info!("received a signal; stopping, a second signal exits immediately");
                    token.cancel();
                }
            });
        }
        Err(error) => tracing::warn!(error = %error, "failed to handle signals; a signal will exit immediately"),
    }
    stop
}

/// Sends log lines to standard error, past the progress bars.
fn log_to(display: &Display, format: LogFormat) {
    // With bars and with `--quiet`, people see warnings and errors only.
    let level = match display {
        Display::Log => "modelcache_fetcher=info,warn",
        Display::Bars(_) | Display::Quiet => "warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(display.clone());
    match format {
        LogFormat::Text => lines
            .with_target(false)
            .with_ansi(matches!(display, Display::Bars(_)))
            .init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

/// Writes the result to the termination message, and a failure to standard output and the log.
fn report_result(report: &Report, output: &Output) {
    if let Some(path) = &output.termination_log {
        write_termination_message(path, report);
    }
    let Report::Failed(failed) = report else { return };
    if output.json {
        let _ = print_json(report);
    }
    if output.log_format == LogFormat::Json {
        tracing::error!(
            class = %failed.class,
            file = failed.file,
            offset = failed.offset,
            error = failed.message,
            "run failed"
        );
    } else {
        let _ = writeln!(io::stderr().lock(), "error: {}", failed.message);
    }
}

/// Prints what clap answers. Help and version succeed; anything else is reported like any other failure.
fn report_parse_error(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ExitCode::SUCCESS;
    }
    if let Some(path) = termination_log(std::env::args_os().skip(1)) {
        let text = error.to_string();
        let first_line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let report = Report::Failed(Failed {
            class: FailureClass::Usage,
            message: first_line.to_owned(),
            file: None,
            offset: None,
            retry_after_seconds: None,
            origins: Vec::new(),
        });
        write_termination_message(&path, &report);
    }
    ExitCode::from(FailureClass::Usage.exit_code())
}
