//! Texts that are asked for by OpenAI's interface: all of them whole, or as they come.

use super::super::body::json_response;
use super::super::generate::{log_text, read_for_texts, timing_of};
use super::super::pieces;
use super::answer::{Head, Usage, whole_choice};
use super::chunks::Chunks;
use super::fields::renamed;
use super::form::Form;
use crate::app::App;
use crate::arrival::Arrival;
use crate::begun::Begun;
use crate::problem::Problem;
use crate::scribe::{Prepared, Scribe, Told};
use crate::timing::Timing;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use grice_core::generate::Generated;
use grice_core::schedule::Caching;
use std::sync::Arc;

/// A request that was read.
pub(super) struct Asked {
    pub(super) form: Form,
    pub(super) scribe: Arc<Scribe>,
    /// The texts of the first prompt, then those of the next one.
    pub(super) prepared: Vec<Prepared>,
    /// Tokens of all prompts.
    pub(super) prompt_tokens: usize,
    pub(super) streams: bool,
    pub(super) tells_usage: bool,
    /// How many alternatives of a token are told, if any.
    pub(super) alternatives: Option<usize>,
}

impl Asked {
    /// Reads a request, and has its texts written.
    ///
    /// # Errors
    /// Those of `read`, and of [`Asked::answer`].
    pub(super) async fn respond(
        app: &Arc<App>,
        arrival: &Arrival,
        request: Request,
        read: fn(&App, &[u8]) -> Result<Asked, Problem>,
    ) -> Result<Response<Body>, Problem> {
        let (asked, caching, body) = read_for_texts(app, arrival, request, read).await?;
        let mut response = asked.answer(arrival, caching).await?;
        log_text(app, &mut response, &body);
        Ok(response)
    }

    /// Has the texts written.
    ///
    /// # Errors
    /// Those of [`Scribe::begin`], and of the first text that fails.
    pub(super) async fn answer(self, arrival: &Arrival, caching: Caching) -> Result<Response<Body>, Problem> {
        let head = Head::new(self.form, self.scribe.name());
        let (streams, tells_usage, alternatives) = (self.streams, self.tells_usage, self.alternatives);
        let usage = Usage::of(self.prompt_tokens);
        let begun = self.begin(arrival, caching).map_err(renamed)?;
        match streams {
            true => Ok(pieces::response(Chunks::new(head, usage, tells_usage, alternatives), begun, arrival)),
            false => whole(head, usage, alternatives, begun, arrival).await.map_err(renamed),
        }
    }

    /// All of them or, if one is rejected, none.
    fn begin(self, arrival: &Arrival, caching: Caching) -> Result<Vec<(Told, Begun)>, Problem> {
        let begin = |prepared: Prepared| {
            let told = prepared.told(&self.scribe);
            Ok((told, self.scribe.begin(prepared, arrival.deadline, caching)?))
        };
        self.prepared.into_iter().map(begin).collect()
    }
}

/// Waits for all texts.
async fn whole(
    head: Head,
    mut usage: Usage,
    alternatives: Option<usize>,
    begun: Vec<(Told, Begun)>,
    arrival: &Arrival,
) -> Result<Response<Body>, Problem> {
    let (mut choices, mut timing) = (Vec::with_capacity(begun.len()), None::<Timing>);
    for (place, (told, begun)) in begun.into_iter().enumerate() {
        let metrics = told.scribe.metrics();
        let first = || {
            if place == 0 {
                metrics.first_token.observe(arrival.start.elapsed().as_secs_f64());
            }
        };
        let (generated, heard): (Generated, _) = begun.end(first).await?;
        if let Some(heard) = &heard {
            metrics.queue.observe(heard.queued.as_secs_f64());
        }
        let part = timing_of(heard);
        timing = Some(timing.map_or(part, |mut all| {
            all.join(&part);
            all
        }));
        usage.add(&generated);
        choices.push(whole_choice(head.form, place, &told, &generated, alternatives));
    }
    let mut response = json_response(StatusCode::OK, &head.whole(choices, usage));
    timing.unwrap_or_default().write(response.headers_mut(), arrival.start.elapsed());
    Ok(response)
}
