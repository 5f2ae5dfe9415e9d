//! A turn's fields → one text, after the manifest's template.

use crate::{Context, Turn, Utterance};
use grice_model::Manifest;
use std::ops::Range;

/// The manifest's text template, split at its placeholders.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
    turn_template: String,
    evidence_ignored: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Context,
    Evidence,
    Response,
}

/// A rendered text and where in it the fields stand, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The whole text.
    pub text: String,
    /// Where the context stands; empty if the template leaves it out.
    pub context: Range<usize>,
    /// Where the evidence stands; empty if the template leaves it out.
    pub evidence: Range<usize>,
    /// Where the response stands.
    pub response: Range<usize>,
}

impl Template {
    /// Takes the template of a checked manifest.
    pub fn new(manifest: &Manifest) -> Template {
        Template::parse(&manifest.template, &manifest.turn_template, &manifest.evidence_ignored)
    }

    /// Takes checked templates of a whole turn and of one turn of its context, and items of evidence that count as absent.
    pub(crate) fn parse(template: &str, turn_template: &str, evidence_ignored: &[String]) -> Template {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((at, name, field)) = first_placeholder(rest) {
            parts.push(Part::Literal(rest[..at].to_owned()));
            parts.push(Part::Field(field));
            rest = &rest[at + name.len()..];
        }
        parts.push(Part::Literal(rest.to_owned()));
        parts.retain(|part| *part != Part::Literal(String::new()));
        Template { parts, turn_template: turn_template.to_owned(), evidence_ignored: evidence_ignored.to_owned() }
    }

    /// The same with its special tokens written as the tokenizer reads them.
    pub fn marked(self, tokenizer: &super::Tokenizer) -> Template {
        let mark = |part| match part {
            Part::Literal(literal) => Part::Literal(tokenizer.mark(&literal)),
            field => field,
        };
        let parts = self.parts.into_iter().map(mark).collect();
        Template { parts, turn_template: tokenizer.mark(&self.turn_template), evidence_ignored: self.evidence_ignored }
    }

    /// The context as one text: as given, or its utterances after the turn template, joined by one space.
    pub fn context_text(&self, context: &Context) -> String {
        match context {
            Context::Text(text) => text.clone(),
            Context::Utterances(utterances) => {
                let texts = utterances.iter().enumerate().map(|(place, utterance)| match utterance {
                    Utterance::Spoken { speaker, text } => self.turn_text(speaker, text),
                    // The response comes from agent_2, so the turn right before it from agent_1, and so on back.
                    Utterance::Text(text) if (utterances.len() - place) % 2 == 1 => self.turn_text("agent_1", text),
                    Utterance::Text(text) => self.turn_text("agent_2", text),
                });
                texts.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// The evidence, or nothing where it only names its source.
    pub fn evidence_text<'t>(&self, turn: &'t Turn) -> &'t str {
        let evidence = turn.evidence.as_deref().unwrap_or_default();
        if self.only_ignored(evidence) { "" } else { evidence }
    }

    fn only_ignored(&self, evidence: &str) -> bool {
        let separates = |c: char| c.is_whitespace() || c == ',' || c == ';';
        let mut rest = evidence.trim_start_matches(separates);
        while !rest.is_empty() {
            // An item may hold spaces itself ("Personal Knowledge"), so items are looked for, not split off.
            let after = self.evidence_ignored.iter().filter_map(|item| {
                let after = rest.strip_prefix(item.as_str()).filter(|_| !item.is_empty())?;
                (after.is_empty() || after.starts_with(separates)).then_some(after)
            });
            match after.min_by_key(|after| after.len()) {
                Some(after) => rest = after.trim_start_matches(separates),
                None => return false,
            }
        }
        true
    }

    /// Puts the three texts in their places.
    pub fn render(&self, context: &str, evidence: &str, response: &str) -> Rendered {
        let mut rendered = Rendered { text: String::new(), context: 0..0, evidence: 0..0, response: 0..0 };
        for part in &self.parts {
            let start = rendered.text.len();
            match part {
                Part::Literal(literal) => rendered.text.push_str(literal),
                Part::Field(Field::Context) => {
                    rendered.text.push_str(context);
                    rendered.context = start..rendered.text.len();
                }
                Part::Field(Field::Evidence) => {
                    rendered.text.push_str(evidence);
                    rendered.evidence = start..rendered.text.len();
                }
                Part::Field(Field::Response) => {
                    rendered.text.push_str(response);
                    rendered.response = start..rendered.text.len();
                }
            }
        }
        rendered
    }

    /// Walks the template itself, so that a `{text}` inside a speaker's name stays as it is.
    fn turn_text(&self, speaker: &str, text: &str) -> String {
        let mut out = String::new();
        let mut rest = self.turn_template.as_str();
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{speaker}") {
                out.push_str(speaker);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{text}") {
                out.push_str(text);
                rest = after;
            } else {
                out.push('{');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        out
    }
}

fn first_placeholder(text: &str) -> Option<(usize, &'static str, Field)> {
    let known = [("{context}", Field::Context), ("{evidence}", Field::Evidence), ("{response}", Field::Response)];
    known.into_iter().filter_map(|(name, field)| Some((text.find(name)?, name, field))).min_by_key(|&(at, ..)| at)
}
