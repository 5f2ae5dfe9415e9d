//! Repairs a response, or writes one and repairs it: which step comes next. It runs nothing; the caller does what [`Pipeline::next`] says and
//! tells the result.
//!
//! ```text
//! Write(answer) ─► Detect ─► Write(repair) or Nearest ─► Detect ─► … ─► Done
//! ```
//!
//! A text replaces the response only if the detector's highest probability falls and no maxim is violated that was not violated before. So a
//! repair never makes a response worse, as far as the detector can tell.

use super::degenerate::{degeneration, word_f1};
use super::trace::{Outcome, StepKind, TraceStep};
use crate::{Turn, Verdict};
use grice_model::{Maxim, PerMaxim};
use std::time::Duration;

/// What the caller can do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Skills {
    /// Whether a model rewrites responses that violate a maxim.
    pub repair: PerMaxim<Option<Skill>>,
    /// Whether a model writes answers. It also replaces responses that are off topic if nothing else does.
    pub answer: Option<Skill>,
    /// Whether a corpus of responses can be searched.
    pub nearest: bool,
}

/// How well a model writes a kind of text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Skill {
    /// How often it writes a text again that is degenerate or no better than the response.
    pub retries: u32,
    /// The least share of words that a repair must have in common with the response, 0 to 1: see [`super::word_f1`].
    pub min_word_f1: f32,
}

/// The next step for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Judge these turns, then call [`Pipeline::judged`].
    Detect(Vec<Turn>),
    /// Write a text, then call [`Pipeline::wrote`].
    Write(Draft),
    /// Find responses for the turn's context, the nearest first, then call [`Pipeline::found`].
    Nearest(Turn),
    /// Nothing: see [`Pipeline::finish`].
    Done,
}

/// A text to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What it is for.
    pub kind: Kind,
    /// The turn that it belongs to; without a response if that is to be written.
    pub turn: Turn,
    /// Which try it is, from 0. A later one must draw differently.
    pub attempt: u32,
}

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A response to the context.
    Answer,
    /// The response without its violation of this maxim.
    Repair(Maxim),
}

/// One turn on its way.
#[derive(Clone, Debug)]
pub struct Pipeline {
    turn: Turn,
    skills: Skills,
    rounds_max: u32,
    /// What the caller says is violated; it replaces the first verdict.
    named: Option<PerMaxim<bool>>,
    /// The verdict on the first response, and on the present one.
    before: Option<Verdict>,
    current: Option<Verdict>,
    generated: Option<String>,
    /// Maxims that were tried in vain since the response changed.
    tried: PerMaxim<bool>,
    rounds: u32,
    is_changed: bool,
    next: Next,
    /// The texts that wait for a verdict, and what they would repair.
    candidates: Vec<String>,
    /// How they were written, if they were.
    written: Option<(Kind, u32)>,
    maxim: Option<Maxim>,
    trace: Vec<TraceStep>,
}

/// Maxims in the order in which they are repaired where no verdict says which is worst: a replaced response needs no other repair, and
/// what is left out needs no polish.
const ORDER: [Maxim; 4] = [Maxim::Relation, Maxim::Quality, Maxim::Quantity, Maxim::Manner];

impl Pipeline {
    /// Repairs a response, in at most `rounds_max` tries. The maxims that `named` says are repaired first, without asking the detector which are violated.
    pub fn repair(turn: Turn, named: Option<PerMaxim<bool>>, skills: Skills, rounds_max: u32) -> Pipeline {
        let mut pipeline = Pipeline::new(turn, named, skills, rounds_max);
        match named {
            Some(_) => pipeline.choose(),
            None => pipeline.ask_first(),
        }
        pipeline
    }

    /// Writes a response to the turn's context, and repairs it in at most `rounds_max` tries.
    pub fn answer(turn: Turn, skills: Skills, rounds_max: u32) -> Pipeline {
        let mut pipeline = Pipeline::new(Turn { response: String::new(), ..turn }, None, skills, rounds_max);
        pipeline.write(Kind::Answer, 0);
        pipeline
    }

    fn new(turn: Turn, named: Option<PerMaxim<bool>>, skills: Skills, rounds_max: u32) -> Pipeline {
        Pipeline {
            turn,
            skills,
            rounds_max,
            named,
            before: None,
            current: None,
            generated: None,
            tried: PerMaxim::default(),
            rounds: 0,
            is_changed: false,
            next: Next::Done,
            candidates: Vec::new(),
            written: None,
            maxim: None,
            trace: Vec::new(),
        }
    }

    /// The next step.
    pub fn next(&self) -> &Next {
        &self.next
    }

    /// What is repaired now, if anything.
    pub fn maxim(&self) -> Option<Maxim> {
        self.maxim
    }

    /// All steps so far.
    pub fn trace(&self) -> &[TraceStep] {
        &self.trace
    }

    /// Takes the verdicts on the turns of [`Next::Detect`], in order.
    pub fn judged(&mut self, verdicts: Vec<Verdict>, took: Duration) {
        if !matches!(self.next, Next::Detect(_)) {
            return;
        }
        let mut verdicts = verdicts.into_iter();
        if self.current.is_none() {
            let Some(verdict) = verdicts.next() else { return };
            let text = self.turn.response.clone();
            self.note(StepKind::Detect, text, took, |step| step.probabilities = Some(verdict.probabilities));
            self.before = Some(verdict.clone());
            self.current = Some(verdict);
        }
        let candidates = std::mem::take(&mut self.candidates);
        if !candidates.is_empty() {
            let written = self.written.take();
            let is_taken = self.compare(candidates.into_iter().zip(verdicts).collect(), took);
            if let Some((kind, attempt)) =
                written.filter(|(kind, attempt)| !is_taken && *attempt < self.skill(*kind).retries)
            {
                return self.write(kind, attempt + 1);
            }
            if !is_taken {
                self.mark_tried();
            }
        }
        self.choose();
    }

    /// Takes the text of [`Next::Write`], or the reason why there is none.
    pub fn wrote(&mut self, text: Result<String, String>, took: Duration) {
        let Next::Write(Draft { kind, attempt, .. }) = self.next else { return };
        let (step, maxim) = match kind {
            Kind::Answer => (StepKind::Generate, self.maxim),
            Kind::Repair(maxim) => (StepKind::Repair, Some(maxim)),
        };
        self.maxim = maxim;
        let (text, problem) = match text {
            Ok(text) => (text.trim().to_owned(), None),
            // Another try fails as well.
            Err(problem) => (String::new(), Some((problem, false))),
        };
        let source = if kind == Kind::Answer { "" } else { self.turn.response.as_str() };
        let problem = problem.or_else(|| {
            let degenerate = degeneration(source, &text).map(|fault| (fault.to_owned(), true));
            let same = || (text == self.turn.response.trim()).then(|| ("it is the response itself".to_owned(), true));
            let strays = || {
                let least = self.skill(kind).min_word_f1;
                let strays = kind != Kind::Answer && word_f1(&self.turn.response, &text) < least;
                strays.then(|| ("it changes too many words".to_owned(), true))
            };
            degenerate.or_else(same).or_else(strays)
        });
        let (reason, may_retry) = problem.map_or((None, false), |(reason, may_retry)| (Some(reason), may_retry));
        let retries = may_retry && attempt < self.skill(kind).retries;
        let is_first = self.generated.is_none() && self.turn.response.is_empty();
        // A bad answer is better than none.
        let begins = is_first && !retries && !text.is_empty();
        let is_bad = reason.is_some();
        self.note(step, text.clone(), took, |step| {
            step.taken = if begins { Some(true) } else { is_bad.then_some(false) };
            step.reason = reason;
        });
        match is_bad {
            _ if retries => self.write(kind, attempt + 1),
            _ if begins => self.begin_with(text),
            true if is_first => self.next = Next::Done,
            true => self.give_up(),
            false => {
                self.written = Some((kind, attempt));
                self.ask(vec![text]);
            }
        }
    }

    /// Takes the responses of [`Next::Nearest`].
    pub fn found(&mut self, responses: Vec<String>, took: Duration) {
        if !matches!(self.next, Next::Nearest(_)) {
            return;
        }
        let own = self.turn.response.trim().to_owned();
        let others: Vec<String> =
            responses.into_iter().filter(|text| !text.trim().is_empty() && text.trim() != own).collect();
        if !others.is_empty() {
            return self.ask(others);
        }
        self.note(StepKind::Retrieve, String::new(), took, |step| {
            step.taken = Some(false);
            step.reason = Some("the corpus has no response that is near enough".to_owned());
        });
        match self.way_to_write(Maxim::Relation) {
            Some(kind) => self.write(kind, 0),
            None => self.give_up(),
        }
    }

    /// What came of it; `None` before [`Next::Done`], or if no model could write a response.
    pub fn finish(self) -> Option<Outcome> {
        if self.next != Next::Done {
            return None;
        }
        let (before, after) = (self.before?, self.current?);
        let is_fallback = !self.is_changed && (!after.cooperative || self.rounds > 0 && self.named.is_some());
        let Pipeline { turn, generated, rounds, trace, .. } = self;
        Some(Outcome { response: turn.response, generated, is_fallback, before, after, rounds, trace })
    }

    /// The first response is there.
    fn begin_with(&mut self, text: String) {
        self.generated = Some(text.clone());
        self.turn.response = text;
        self.ask_first();
    }

    fn ask_first(&mut self) {
        self.next = Next::Detect(vec![self.turn.clone()]);
    }

    /// Asks for the verdicts on texts that may replace the response, and on the response itself if it has none.
    fn ask(&mut self, texts: Vec<String>) {
        let own = self.current.is_none().then(|| self.turn.clone());
        let others = texts.iter().map(|text| Turn { response: text.clone(), ..self.turn.clone() });
        self.next = Next::Detect(own.into_iter().chain(others).collect());
        self.candidates = texts;
    }

    /// Takes the best of some texts if it is better than the response. Whether one was.
    fn compare(&mut self, judged: Vec<(String, Verdict)>, took: Duration) -> bool {
        let Some(current) = self.current.clone() else { return false };
        let fitness = |(_, verdict): &&(String, Verdict)| worst(verdict);
        let refusals: Vec<Option<&str>> = judged.iter().map(|(_, verdict)| refusal(&current, verdict)).collect();
        let fit = judged.iter().enumerate().filter(|(place, _)| refusals[*place].is_none());
        let best = fit.min_by(|a, b| fitness(&a.1).total_cmp(&fitness(&b.1))).map(|(place, _)| place);
        for (place, (text, verdict)) in judged.iter().enumerate() {
            let (is_best, refusal) = (best == Some(place), refusals[place]);
            self.note(StepKind::Detect, text.clone(), took, |step| {
                step.probabilities = Some(verdict.probabilities);
                step.taken = Some(is_best);
                step.reason = (!is_best).then(|| refusal.unwrap_or("another one is better").to_owned());
            });
        }
        match best.and_then(|place| judged.into_iter().nth(place)) {
            Some((text, verdict)) => {
                self.turn.response = text;
                self.current = Some(verdict);
                self.is_changed = true;
                // Only the first response was named.
                self.named = None;
                self.tried = PerMaxim::default();
                true
            }
            None => false,
        }
    }

    fn mark_tried(&mut self) {
        if let Some(maxim) = self.maxim {
            *self.tried.get_mut(maxim) = true;
        }
    }

    fn give_up(&mut self) {
        self.mark_tried();
        self.choose();
    }

    /// Starts the next round, or ends.
    fn choose(&mut self) {
        let maxim = if self.rounds < self.rounds_max { self.worst_left() } else { None };
        self.maxim = maxim;
        let Some(maxim) = maxim else {
            match self.current {
                // A response that stays as it is has a verdict as well.
                None => self.ask_first(),
                Some(_) => self.next = Next::Done,
            }
            return;
        };
        self.rounds += 1;
        match self.way_to_write(maxim) {
            _ if maxim == Maxim::Relation && self.skills.nearest => self.next = Next::Nearest(self.turn.clone()),
            Some(kind) => self.write(kind, 0),
            None => self.give_up(),
        }
    }

    /// The violated maxim to repair next: relation first, then the most probable violation.
    fn worst_left(&self) -> Option<Maxim> {
        let can = |maxim: &Maxim| {
            let finds = *maxim == Maxim::Relation && self.skills.nearest;
            !self.tried.get(*maxim) && (finds || self.way_to_write(*maxim).is_some())
        };
        let violated = match (&self.named, &self.current) {
            (Some(named), _) => *named,
            (None, Some(verdict)) => verdict.violations,
            (None, None) => return None,
        };
        let left: Vec<Maxim> = ORDER.into_iter().filter(|maxim| *violated.get(*maxim)).filter(can).collect();
        let first = *left.first()?;
        let Some(verdict) = self.current.as_ref().filter(|_| first != Maxim::Relation) else { return Some(first) };
        let probability = |maxim: &Maxim| *verdict.probabilities.get(*maxim);
        // Of equal ones the first.
        left.into_iter().rev().max_by(|a, b| probability(a).total_cmp(&probability(b)))
    }

    fn way_to_write(&self, maxim: Maxim) -> Option<Kind> {
        match self.skills.repair.get(maxim) {
            Some(_) => Some(Kind::Repair(maxim)),
            // A response that is off topic is replaced by a new one.
            None => self.skills.answer.filter(|_| maxim == Maxim::Relation).map(|_| Kind::Answer),
        }
    }

    fn skill(&self, kind: Kind) -> Skill {
        let skill = match kind {
            Kind::Answer => self.skills.answer,
            Kind::Repair(maxim) => *self.skills.repair.get(maxim),
        };
        skill.unwrap_or_default()
    }

    fn write(&mut self, kind: Kind, attempt: u32) {
        self.next = Next::Write(Draft { kind, turn: self.turn.clone(), attempt });
    }

    fn note(&mut self, step: StepKind, text: String, took: Duration, more: impl FnOnce(&mut TraceStep)) {
        let (maxim, none) = (self.maxim, (None, None, None));
        let (probabilities, taken, reason) = none;
        let mut step = TraceStep { step, maxim, text, probabilities, taken, reason, took };
        more(&mut step);
        self.trace.push(step);
    }
}

/// The highest probability of a violation.
fn worst(verdict: &Verdict) -> f32 {
    verdict.probabilities.iter().map(|(_, probability)| *probability).fold(0.0, f32::max)
}

/// Why a text does not replace the response, if it does not.
fn refusal(current: &Verdict, other: &Verdict) -> Option<&'static str> {
    let is_new = |maxim: Maxim| *other.violations.get(maxim) && !*current.violations.get(maxim);
    if Maxim::ALL.into_iter().any(is_new) {
        Some("it violates a maxim that was not violated")
    } else if worst(other) >= worst(current) {
        Some("its highest probability of a violation is not lower")
    } else {
        None
    }
}
