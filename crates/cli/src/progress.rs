//! The progress bar, on standard error and only on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shows how far a file is read; silent where nobody watches.
pub(crate) struct Progress {
    bar: ProgressBar,
    rows: usize,
    started: Instant,
}

impl Progress {
    /// For an input of this many bytes, if that is known.
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
        // The templates are constants; a wrong one would only cost the looks.
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
        // A report that cannot be shown is no reason to stop the work.
        self.bar.suspend(|| _ = writeln!(std::io::stderr(), "{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Says what is being done, on standard error and only on a terminal.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// Silent where nobody watches.
    pub(crate) fn new(quiet: bool) -> Spinner {
        let bar = if quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        };
        // The template is a constant; a wrong one would only cost the looks.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Spinner(bar)
    }

    /// Shows what is being done now.
    pub(crate) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
