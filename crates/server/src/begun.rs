//! A text that was asked for: known, or on its way.

use crate::listener::{Listener, Said};
use crate::problem::Problem;
use grice_core::generate::Generated;
use grice_core::schedule::{Rejection, Source, Texts};
use std::time::Duration;

/// A text that is known, or on its way.
pub(crate) enum Begun {
    Known(Texts),
    Coming(Listener),
}

/// The best sequence.
///
/// # Errors
/// [`Problem`] of the schedule or the model.
pub(crate) fn best(outcome: Result<Texts, Rejection>) -> Result<Generated, Problem> {
    let texts = outcome.map_err(|rejection| Problem::rejected(&rejection))?;
    texts.first().cloned().ok_or_else(|| Problem::internal("a text ended without a sequence"))
}

impl Begun {
    /// Waits for the end. `first` is called once there is a token.
    ///
    /// # Errors
    /// [`Problem`] of the schedule or the model.
    pub(crate) async fn end(self, first: impl FnOnce()) -> Result<(Generated, Option<Heard>), Problem> {
        let mut listener = match self {
            Begun::Known(texts) => return Ok((best(Ok(texts))?, None)),
            Begun::Coming(listener) => listener,
        };
        let mut first = Some(first);
        loop {
            match listener.hear().await {
                Some(Said::Tokens(_)) => _ = first.take().map(|first| first()),
                Some(Said::End(answer)) => {
                    let heard = Heard { queued: answer.queued, ran: answer.ran, source: answer.source };
                    return Ok((best(answer.outcome)?, Some(heard)));
                }
                None => return Err(Problem::rejected(&Rejection::ShuttingDown)),
            }
        }
    }
}

/// How a text was made.
pub(crate) struct Heard {
    pub(crate) queued: Duration,
    pub(crate) ran: Duration,
    pub(crate) source: Source,
}
