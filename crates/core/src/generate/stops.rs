//! Whether a sequence ends with a token.

use super::options::DecodeOptions;
use super::outcome::Finish;
use crate::text::Stream;

/// Watches one sequence for its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Its text, where stop strings are looked for.
    pub(super) text: Option<Stream>,
}

impl Watch {
    /// Whether the sequence ends with this token, the last of `made` new ones.
    pub(super) fn end(&mut self, token: u32, made: usize, options: &DecodeOptions) -> Option<Finish> {
        if options.stop_tokens.contains(&token) {
            return Some(Finish::StopToken);
        }
        if let Some(text) = &mut self.text {
            text.push(token);
            if text.is_stopped() {
                return Some(Finish::StopString);
            }
        }
        (made >= options.max_new_tokens).then_some(Finish::Length)
    }
}
