//! Completion scripts and the manual page.

use crate::args::Args;
use crate::error::Result;
use crate::output::write_stdout;
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints a shell's completion script.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn print_completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "grice", &mut script);
    write_stdout(&script)
}

/// Prints the manual page, in roff.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn print_man_page() -> Result<()> {
    let mut page = Vec::new();
    // Writing into memory does not fail.
    _ = clap_mangen::Man::new(Args::command()).render(&mut page);
    write_stdout(&page)
}
