//! The progress bar, on standard error and only on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shows the progress of reading a file; silent without a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    rows: usize,
    started: Instant,
}

impl Progress {
    /// For an input with this number of bytes, if known.
    pub(crate) fn new(bytes: Option<u64>, quiet: bool) -> Progress {
        let bar = if quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr())
        };
        let template = match bytes {
            Some(_) => "{bar:32.cyan/dim} {percent:>3}%  {msg}  {eta} left",
            None => "{spinner} {msg}  {elapsed}",
        };
        // The templates are constants; a wrong one would only change the appearance.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━─"));
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress { bar, rows: 0, started: Instant::now() }
    }

    /// Counts rows, with the input read up to this byte.
    pub(crate) fn advance(&mut self, rows: usize, bytes_read: u64) {
        self.rows += rows;
        let rate = self.rows as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        self.bar.set_position(bytes_read);
        self.bar.set_message(format!("{} rows, {rate:.1} rows/s", self.rows));
    }

    /// Prints a line above the bar.
    pub(crate) fn report(&self, line: &str) {
        // Continue even if the report cannot be shown.
        self.bar.suspend(|| _ = writeln!(std::io::stderr(), "{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows the current action, on standard error and only on a terminal.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// Silent without a terminal.
    pub(crate) fn new(quiet: bool) -> Spinner {
        let bar = if quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        };
        // The template is a constant; a wrong one would only change the appearance.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Spinner(bar)
    }

    /// Shows a new action.
    pub(crate) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
