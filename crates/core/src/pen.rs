//! A model that writes the texts of pipelines, with its engine.

use crate::generate::{Bounds, CourseId, Courses};
use crate::task::{Draft, Kind};
use crate::writer::Writer;
use crate::{Result, Turn};
use grice_cpu::CpuGenerator;
use std::sync::Arc;

/// Texts at once with guesses from their prompts: with more, the engine is busy without the rows that those cost.
const GUESSING_MOST: usize = 2;

/// A model that writes, and its engine.
pub(crate) struct Pen {
    pub(crate) writer: Writer,
    pub(crate) engine: CpuGenerator,
    pub(crate) courses: Courses,
}

impl Pen {
    pub(crate) fn new(writer: Writer, threads: usize, bounds: Bounds) -> Result<Pen> {
        let engine = writer.build_engine(threads, &bounds)?;
        Ok(Pen { writer, engine, courses: Courses::new(bounds) })
    }

    /// Starts a text beside others, `texts` in all, and tells what ends it. An error says why it cannot be written.
    pub(crate) fn begin(
        &mut self,
        draft: &Draft,
        seed: u64,
        texts: usize,
    ) -> std::result::Result<(CourseId, Vec<String>), String> {
        let Pen { writer, courses, .. } = self;
        let recipes = writer.recipes();
        let recipe = match draft.kind {
            Kind::Answer => recipes.answer.as_ref(),
            Kind::Repair(maxim) => recipes.repair.get(maxim).as_ref(),
        };
        let recipe = recipe.ok_or("the model has no recipe for it")?;
        let turn = match draft.kind {
            Kind::Answer => Turn { response: String::new(), ..draft.turn.clone() },
            Kind::Repair(_) => draft.turn.clone(),
        };
        let start = writer.start_by(recipe, &turn).map_err(|error| error.to_string())?;
        let mut options = writer.options_by(recipe, seed, draft.attempt).map_err(|error| error.to_string())?;
        if texts > GUESSING_MOST {
            options.draft = 0;
        }
        let stops = options.stop_strings.clone();
        let id = courses.add(Arc::new(options), start, Some(writer.speller())).map_err(|error| error.to_string())?;
        Ok((id, stops))
    }
}
