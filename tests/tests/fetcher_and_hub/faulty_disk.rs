//! A simulated disk that fails, or logs its calls: `faulty_disk.c` between the program and the system.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

/// The error of a failing call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errno {
    InputOutput = 5,
    NoSpace = 28,
    ReadOnly = 30,
    Quota = 122,
}

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    /// `write`, `read`, `sync` or `rename`.
    pub(crate) call: &'static str,
    pub(crate) errno: Errno,
    /// Number of calls that succeed first.
    pub(crate) spare: u32,
    /// Number of calls that fail then; default: all.
    pub(crate) times: Option<u32>,
}

/// The compiled library, in its own folder.
pub(crate) struct FaultyDisk {
    library: PathBuf,
    _folder: tempfile::TempDir,
}

impl FaultyDisk {
    pub(crate) fn compile() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("faulty_disk.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fetcher_and_hub/faulty_disk.c");
        let compiled = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(
            compiled.as_ref().is_ok_and(std::process::ExitStatus::success),
            "cc is needed to compile the faulty disk: {compiled:?}"
        );
        Self {
            library,
            _folder: folder,
        }
    }

    /// Makes calls on a file or folder, and below it, fail.
    pub(crate) fn fail(&self, command: &mut Command, below: &Path, failing: Failing) {
        self.preload(command, below);
        command
            .env("FAULTY_DISK_CALL", failing.call)
            .env("FAULTY_DISK_ERRNO", (failing.errno as i32).to_string())
            .env("FAULTY_DISK_SPARE", failing.spare.to_string());
        if let Some(times) = failing.times {
            command.env("FAULTY_DISK_TIMES", times.to_string());
        }
    }

    /// Logs writes, syncs and renames below a folder to a file.
    pub(crate) fn log(&self, command: &mut Command, below: &Path, log: &Path) {
        self.preload(command, below);
        command.env("FAULTY_DISK_LOG", log);
    }

    /// Delays each write below a folder, and logs writes, syncs and renames to a file.
    pub(crate) fn log_slowly(&self, command: &mut Command, below: &Path, log: &Path, delay: Duration) {
        self.log(command, below, log);
        command.env("FAULTY_DISK_DELAY", delay.as_millis().to_string());
    }

    fn preload(&self, command: &mut Command, below: &Path) {
        command.env("LD_PRELOAD", &self.library).env("FAULTY_DISK_BELOW", below);
    }
}
