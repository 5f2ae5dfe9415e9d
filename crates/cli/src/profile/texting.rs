//! Texts of equal length with synthetic prompts, and their times.

use super::subject::synthetic_tokens;
use crate::error::{CliError, Result};
use grice_core::generate::{CourseId, Courses, DecodeOptions, Event};
use grice_core::{CpuGenerator, Writer};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// What each text consists of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texting {
    pub(crate) prompt_tokens: usize,
    pub(crate) new_tokens: usize,
}

/// The times of one run.
#[derive(Default)]
pub(crate) struct TextRun {
    /// Milliseconds from the start to the first token of each text.
    pub(crate) first: Vec<f64>,
    /// Milliseconds between two tokens of a text.
    pub(crate) between: Vec<f64>,
    /// Seconds until each text has its first token.
    pub(crate) prompts: f64,
    /// Seconds from then to the end.
    pub(crate) texts: f64,
}

impl Texting {
    /// Memory that so many texts need: a page for each piece of a text, and the source of a model with an encoder.
    pub(crate) fn memory_tokens(self, rows: usize) -> usize {
        rows * (2 * self.prompt_tokens + self.new_tokens + 128)
    }

    /// Adds so many texts.
    ///
    /// # Errors
    /// A text that the model cannot write.
    pub(crate) fn begin(self, writer: &Writer, courses: &mut Courses, rows: usize) -> Result<()> {
        let (min_new_tokens, max_new_tokens) = (self.new_tokens, self.new_tokens);
        let options = Arc::new(DecodeOptions { max_new_tokens, min_new_tokens, ..DecodeOptions::default() });
        let mut tokens = synthetic_tokens(writer.vocabulary());
        for _ in 0..rows {
            let start = writer.start_from(tokens.by_ref().take(self.prompt_tokens).collect())?;
            let added = courses.add(Arc::clone(&options), start, None);
            added.map_err(|refused| CliError::Generate(refused.to_string()))?;
        }
        Ok(())
    }

    /// Writes so many texts to their full length.
    ///
    /// # Errors
    /// As [`Texting::begin`].
    pub(crate) fn run(
        self,
        writer: &Writer,
        engine: &mut CpuGenerator,
        courses: &mut Courses,
        rows: usize,
    ) -> Result<TextRun> {
        self.begin(writer, courses, rows)?;
        let start = Instant::now();
        let (mut times, mut last): (TextRun, HashMap<CourseId, f64>) = Default::default();
        let mut failure = None;
        while !courses.is_empty() {
            writer.pass(engine, courses, |event| match event {
                Event::Tokens(id, new) => {
                    let now = start.elapsed().as_secs_f64() * 1e3;
                    match last.insert(id, now) {
                        None => times.first.push(now),
                        Some(before) => times.between.push((now - before) / new.len().max(1) as f64),
                    }
                }
                Event::Done(..) => {}
                Event::Failed(_, error) => failure = Some(error.to_string()),
            })?;
        }
        if let Some(error) = failure {
            return Err(CliError::Generate(error));
        }
        times.prompts = times.first.iter().copied().fold(0.0, f64::max) / 1e3;
        times.texts = start.elapsed().as_secs_f64() - times.prompts;
        Ok(times)
    }
}
