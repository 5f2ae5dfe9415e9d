//! A request for a text that is open: what its client is told.

use grice_core::schedule::{Answer, NewTokens, Texts};
use std::task::{Context, Poll};
use tokio::sync::mpsc::UnboundedReceiver;

/// What a schedule says of a text.
pub(crate) enum Said {
    /// New tokens.
    Tokens(NewTokens),
    /// The whole text, or why there is none; nothing follows.
    End(Answer<Texts>),
}

/// Hears of one text. Dropping it cancels the request. What is said and not heard yet is at most the text, so a client that does not read
/// costs no more.
pub(crate) struct Listener {
    said: UnboundedReceiver<Said>,
    /// `None` after the end.
    cancel: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Listener {
    /// `cancel` is called if the end is not heard.
    pub(crate) fn new(said: UnboundedReceiver<Said>, cancel: impl FnOnce() + Send + Sync + 'static) -> Listener {
        Listener { said, cancel: Some(Box::new(cancel)) }
    }

    /// What is said next; `None` after the end, or if the server stops.
    pub(crate) async fn hear(&mut self) -> Option<Said> {
        let said = self.said.recv().await;
        self.note(said)
    }

    /// The same for a body that is polled.
    pub(crate) fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<Option<Said>> {
        self.said.poll_recv(context).map(|said| self.note(said))
    }

    fn note(&mut self, said: Option<Said>) -> Option<Said> {
        if matches!(said, None | Some(Said::End(_))) {
            self.cancel = None;
        }
        said
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel();
        }
    }
}
