//! `completions` and `man`: what the command line knows of itself, for shells and readers. Made when asked for, so that it
//! cannot differ from the program.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Args;
use crate::model::error::StorageError;

/// Prints a completion script; a reader that went away is no failure of ours.
pub(super) fn completions(shell: Shell) {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let _ = io::stdout().lock().write_all(&script);
}

/// Writes a page for the program and one for each command.
pub(super) fn manual(folder: &Path) -> Result<(), StorageError> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Args::command(), folder))
        .map_err(StorageError::at("write manual pages into", folder))
}
