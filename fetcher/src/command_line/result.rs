//! The result of a run: termination message for the operator, JSON for programs, exit code.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use modelcache_crds::report::Report;

/// Writes the termination message in place, not by rename: the kubelet mounts this very file.
pub(crate) fn write_termination_message(path: &Path, report: &Report) {
    // Not an error of the run: the exit code still shows the class.
    if let Err(error) = fs::write(path, report.to_termination_message()) {
        tracing::warn!(path = %path.display(), error = %error, "failed to write the termination message");
    }
}

/// Prints a document as JSON on standard output.
pub(crate) fn print_json<T: serde::Serialize>(value: &T) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, value)?;
    writeln!(stdout)
}

/// Exit code of a run.
pub(crate) fn exit_code(report: &Report) -> u8 {
    match report {
        Report::Planned(_) | Report::Published(_) => 0,
        Report::Failed(failed) => failed.class.exit_code(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use modelcache_crds::report::{Failed, FailureClass};

    use super::*;

    #[test]
    fn the_termination_message_replaces_an_older_one_in_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        fs::write(&path, "x".repeat(9000)).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let report = Report::Failed(Failed {
            class: FailureClass::DiskFull,
            message: "full".to_owned(),
            file: None,
            offset: None,
            retry_after_seconds: None,
            origins: Vec::new(),
        });
        write_termination_message(&path, &report);
        assert_eq!(
            Report::from_termination_message(&fs::read_to_string(&path).unwrap()),
            Some(report.clone())
        );
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(exit_code(&report), 30);
    }
}
