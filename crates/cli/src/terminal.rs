//! The abilities of the terminal.

use crate::args::Color;
use anstyle::{AnsiColor, Style};
use std::io::IsTerminal;

/// The features that text output may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Whether to format for people: on a terminal, or with forced colours.
    pub(crate) pretty: bool,
    /// Whether it can show characters beyond ASCII.
    pub(crate) unicode: bool,
    colour: bool,
}

impl Terminal {
    /// For standard output.
    pub(crate) fn of_stdout(color: Color) -> Terminal {
        Terminal::of(std::io::stdout().is_terminal(), color)
    }

    /// For standard error.
    pub(crate) fn of_stderr(color: Color) -> Terminal {
        Terminal::of(std::io::stderr().is_terminal(), color)
    }

    fn of(is_terminal: bool, color: Color) -> Terminal {
        // https://no-color.org: set and not empty.
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !no_color && !dumb,
        };
        Terminal { pretty: is_terminal || colour, unicode: speaks_unicode(), colour }
    }

    /// The text in a style; unchanged without colours.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A marked word: underlined, or in brackets without colours.
    pub(crate) fn underline(self, text: &str) -> String {
        if self.colour { self.paint(self.strong().underline(), text) } else { format!("[{text}]") }
    }

    /// For violations and errors.
    pub(crate) fn bad(self) -> Style {
        AnsiColor::Red.on_default().bold()
    }

    /// For good results.
    pub(crate) fn good(self) -> Style {
        AnsiColor::Green.on_default().bold()
    }

    /// For notes.
    pub(crate) fn note(self) -> Style {
        AnsiColor::Yellow.on_default()
    }

    /// For less important text.
    pub(crate) fn faint(self) -> Style {
        Style::new().dimmed()
    }

    /// For headings.
    pub(crate) fn strong(self) -> Style {
        Style::new().bold()
    }
}

/// The first variable that is set decides, in POSIX order. Windows consoles always take UTF-8.
fn speaks_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    match set {
        Some(locale) => {
            let locale = locale.to_string_lossy().to_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        }
        None => cfg!(any(windows, target_os = "macos")),
    }
}
