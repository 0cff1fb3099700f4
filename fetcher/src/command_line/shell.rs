//! `completions` and `man`: completion scripts and manual pages, generated from the command line itself.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Args;
use crate::model::error::StorageError;

/// Prints a completion script. A closed pipe is not an error.
pub(super) fn completions(shell: Shell) {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let _ = io::stdout().lock().write_all(&script);
}

/// Writes a manual page for the program and one for each command.
pub(super) fn manual(folder: &Path) -> Result<(), StorageError> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Args::command(), folder))
        .map_err(StorageError::at("write manual pages to", folder))
}
