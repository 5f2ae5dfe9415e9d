//! Texts over gRPC: the input `text_input`, options as parameters of the request, and the output `text_output`.

use super::infer::{IS_FINAL, given, read_tensor};
use super::messages::{InferAnswer, InferAsked, OutputTensor, Parameter, ParameterValue};
use crate::app::App;
use crate::arrival::Arrival;
use crate::begun::{Begun, best};
use crate::listener::{Listener, Said};
use crate::problem::Problem;
use crate::routes::asked_text::{AskedText, INPUT, OUTPUT};
use crate::routes::describe::find_scribe;
use crate::routes::pieces::Writing;
use crate::routes::tensors::Values;
use crate::scribe::{Prepared, Scribe, Told};
use grice_core::generate::Generated;
use grice_core::schedule::{Caching, Rejection};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A text on its way to a stream.
pub(super) struct Written {
    head: Head,
    writing: Writing,
    coming: Option<Listener>,
    arrived: Instant,
    has_begun: bool,
    /// Answers that are ready.
    ready: VecDeque<InferAnswer>,
}

/// What all answers to a request share.
struct Head {
    name: String,
    version: String,
    id: String,
}

impl Head {
    fn answer(&self, text: &str, parameters: Vec<(&str, ParameterValue)>) -> InferAnswer {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let parameter = |(name, value): (&str, ParameterValue)| (name.to_owned(), Parameter { value: Some(value) });
        InferAnswer {
            model_name: self.name.clone(),
            model_version: self.version.clone(),
            id: self.id.clone(),
            parameters: parameters.into_iter().map(parameter).collect(),
            outputs: vec![OutputTensor { name: OUTPUT.to_owned(), datatype: "BYTES".to_owned(), shape: vec![1] }],
            raw_output_contents: vec![[&length.to_le_bytes()[..], text.as_bytes()].concat()],
        }
    }

    /// The last answer, with what is known at the end.
    fn last(&self, text: &str, told: &Told, generated: &Generated, is_of_stream: bool) -> InferAnswer {
        let mut parameters = vec![
            ("finish_reason", ParameterValue::Text(generated.reason.name().to_owned())),
            ("prompt_tokens", ParameterValue::Int(told.prompt_tokens as i64)),
            ("generated_tokens", ParameterValue::Int(generated.tokens.len() as i64)),
        ];
        parameters.extend(is_of_stream.then_some((IS_FINAL, ParameterValue::Bool(true))));
        self.answer(text, parameters)
    }
}

/// Has a text written, and waits for all of it.
///
/// # Errors
/// 422 for inputs and parameters at fault, and those of [`Scribe::begin`].
pub(super) async fn whole(
    app: &App,
    arrival: &Arrival,
    caching: Caching,
    asked: InferAsked,
) -> Result<InferAnswer, Problem> {
    let (scribe, head, prepared) = read(app, asked, false)?;
    let told = prepared.told(&scribe);
    let first = || scribe.metrics().first_token.observe(arrival.start.elapsed().as_secs_f64());
    let (generated, heard) = scribe.begin(prepared, arrival.deadline, caching)?.end(first).await?;
    if let Some(heard) = &heard {
        scribe.metrics().queue.observe(heard.queued.as_secs_f64());
    }
    Ok(head.last(&told.text(&generated), &told, &generated, false))
}

fn read(app: &App, asked: InferAsked, streams: bool) -> Result<(Arc<Scribe>, Head, Prepared), Problem> {
    let version = Some(asked.model_version.as_str()).filter(|version| !version.is_empty());
    let scribe = find_scribe(app, &asked.model_name, version)?;
    let head = Head { name: scribe.name().to_owned(), version: scribe.info().version, id: asked.id.clone() };
    let prompt = prompt_of(&asked)?;
    if let Some(other) = asked.outputs.iter().find(|output| output.name != OUTPUT) {
        let name: String = other.name.escape_default().take(80).collect();
        return Err(Problem::malformed(format!("the model has no output `{name}`; it has: {OUTPUT}")));
    }
    let text = AskedText::new(None, prompt, given(asked.parameters), streams)?;
    Ok((Arc::clone(&scribe), head, text.prepare(&scribe)?))
}

/// The only text of the only input.
fn prompt_of(asked: &InferAsked) -> Result<String, Problem> {
    let [input] = asked.inputs.as_slice() else {
        return Err(Problem::malformed(format!("a text has one input, `{INPUT}`; its options are parameters")));
    };
    if input.name != INPUT {
        let name: String = input.name.escape_default().take(80).collect();
        return Err(Problem::malformed(format!("the model has no input `{name}`; it has: {INPUT}")));
    }
    let tensor = read_tensor(input, asked.raw_input_contents.first())?;
    match tensor.values {
        Values::Texts(mut texts) if texts.len() == 1 => Ok(texts.remove(0)),
        _ => Err(Problem::malformed(format!("input `{INPUT}`: it must hold one BYTES, a text"))),
    }
}

impl Written {
    /// Has a text written.
    ///
    /// # Errors
    /// As [`whole`].
    pub(super) fn begin(app: &App, arrival: &Arrival, caching: Caching, asked: InferAsked) -> Result<Written, Problem> {
        let (scribe, head, prepared) = read(app, asked, true)?;
        let writing = Writing::new(prepared.told(&scribe), None);
        let mut written =
            Written { head, writing, coming: None, arrived: arrival.start, has_begun: false, ready: VecDeque::new() };
        match scribe.begin(prepared, arrival.deadline, caching)? {
            Begun::Coming(listener) => written.coming = Some(listener),
            Begun::Known(texts) => {
                let generated = best(Ok(texts))?;
                written.take_tokens(&generated.tokens);
                written.end(&generated);
            }
        }
        Ok(written)
    }

    /// The next answer; `None` after the last one.
    ///
    /// # Errors
    /// [`Problem`] of the schedule or the model.
    pub(super) async fn next(&mut self) -> Result<Option<InferAnswer>, Problem> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Ok(Some(answer));
            }
            let Some(listener) = &mut self.coming else { return Ok(None) };
            match listener.hear().await {
                Some(Said::Tokens(tokens)) => {
                    if !std::mem::replace(&mut self.has_begun, true) {
                        let took = self.arrived.elapsed().as_secs_f64();
                        self.writing.told.scribe.metrics().first_token.observe(took);
                    }
                    self.take_tokens(&tokens.ids);
                }
                Some(Said::End(answer)) => {
                    self.coming = None;
                    self.writing.told.scribe.metrics().queue.observe(answer.queued.as_secs_f64());
                    self.end(&best(answer.outcome)?);
                }
                None => return Err(Problem::rejected(&Rejection::ShuttingDown)),
            }
        }
    }

    fn take_tokens(&mut self, tokens: &[u32]) {
        let piece = self.writing.piece(tokens);
        if !piece.is_empty() {
            self.ready.push_back(self.head.answer(&piece, vec![(IS_FINAL, ParameterValue::Bool(false))]));
        }
    }

    fn end(&mut self, generated: &Generated) {
        let rest = self.writing.rest();
        self.ready.push_back(self.head.last(&rest, &self.writing.told, generated, true));
    }
}
