//! A disk that fails on demand, or tells what it was asked: `faulty_disk.c` put between the program and the system.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

/// The error of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errno {
    InputOutput = 5,
    NoSpace = 28,
    ReadOnly = 30,
    Quota = 122,
}

/// What fails, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    /// `write`, `read`, `sync` or `rename`.
    pub(crate) call: &'static str,
    pub(crate) errno: Errno,
    /// Calls that succeed before.
    pub(crate) spare: u32,
    /// Calls that fail then; left out, all.
    pub(crate) times: Option<u32>,
}

/// The compiled library, in a folder of its own.
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

    /// Has calls on a file or folder, and on what is below it, fail.
    pub(crate) fn fail(&self, command: &mut Command, below: &Path, failing: Failing) {
        self.put_before(command, below);
        command
            .env("FAULTY_DISK_CALL", failing.call)
            .env("FAULTY_DISK_ERRNO", (failing.errno as i32).to_string())
            .env("FAULTY_DISK_SPARE", failing.spare.to_string());
        if let Some(times) = failing.times {
            command.env("FAULTY_DISK_TIMES", times.to_string());
        }
    }

    /// Has writes, syncs and renames of files below a folder told in a file.
    pub(crate) fn log(&self, command: &mut Command, below: &Path, log: &Path) {
        self.put_before(command, below);
        command.env("FAULTY_DISK_LOG", log);
    }

    /// Has each write below a folder take so much longer, and told in a file with syncs and renames.
    pub(crate) fn log_slowly(&self, command: &mut Command, below: &Path, log: &Path, delay: Duration) {
        self.log(command, below, log);
        command.env("FAULTY_DISK_DELAY", delay.as_millis().to_string());
    }

    fn put_before(&self, command: &mut Command, below: &Path) {
        command.env("LD_PRELOAD", &self.library).env("FAULTY_DISK_BELOW", below);
    }
}
