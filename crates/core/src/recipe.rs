//! `grice.json` of a model that writes texts: its recipes for repairs and answers (`docs/bundle.md`).

use crate::generate::{Choice, DecodeOptions, Search};
use crate::task::Skill;
use crate::text::Template;
use crate::{Error, Result};
use grice_model::{Maxim, PerMaxim, check_template, is_inside, without_bom};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const FORMAT: u64 = 2;
/// The name of the recipe for answers; the others have the names of maxims.
const ANSWER: &str = "answer";
/// The most tokens of a prompt if the recipe does not say.
const SOURCE_TOKENS: usize = 256;
/// The most tokens of a repair or answer if the recipe does not say.
const NEW_TOKENS: usize = 128;
/// Another try costs the time of a whole text.
const RETRIES_MOST: u64 = 10;
/// What another try draws with if the recipe draws nothing: it would give the same text again.
const RETRY: Search = Search::Sample { temperature: 0.85, top_k: 0, top_p: 0.92 };
const KNOWN: [&str; 15] = [
    "template",
    "source_tokens",
    "retries",
    "min_word_f1",
    "beams",
    "length_penalty",
    "temperature",
    "top_k",
    "top_p",
    "min_new_tokens",
    "max_new_tokens",
    "repetition_penalty",
    "no_repeat_ngram",
    "stop",
    "draft",
];

/// How a model writes one kind of text.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The prompt.
    pub(crate) template: Template,
    /// The most tokens of the prompt; the oldest part of the context is left out first.
    pub source_tokens: usize,
    /// How often a degenerate text is written again.
    pub retries: u32,
    /// The least share of words that a repair must have in common with the response, 0 to 1.
    pub min_word_f1: f32,
    choice: Choice,
}

/// The recipes of a model.
#[derive(Clone, Debug, Default)]
pub struct Recipes {
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// For the violations of each maxim.
    pub repair: PerMaxim<Option<Recipe>>,
    /// For answers.
    pub answer: Option<Recipe>,
    /// `sha256:<hex>` of files, by their path.
    pub(crate) digests: BTreeMap<String, String>,
    /// The texts of all templates.
    templates: Vec<String>,
}

/// The manifest as it is written, before it is checked.
#[derive(Deserialize)]
struct Written {
    format: u64,
    task: String,
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default = "turn_template")]
    turn_template: String,
    #[serde(default)]
    evidence_ignored: Vec<String>,
    recipes: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    digests: BTreeMap<String, String>,
}

fn turn_template() -> String {
    "[{speaker}]: {text}".to_owned()
}

impl Recipes {
    /// Reads and checks `grice.json`; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::BundleFile`] that names file and field.
    pub(crate) fn parse(json: &[u8], path: &str) -> Result<Recipes> {
        let told = |cause: String| Error::BundleFile { path: path.to_owned(), cause };
        let written: Written = serde_json::from_slice(without_bom(json)).map_err(|error| told(error.to_string()))?;
        written.check().map_err(told)
    }

    /// The names of its recipes: of maxims, and `answer`.
    pub fn names(&self) -> Vec<&'static str> {
        let repairs = self.repair.iter().filter(|(_, recipe)| recipe.is_some()).map(|(maxim, _)| maxim.name());
        repairs.chain(self.answer.as_ref().map(|_| ANSWER)).collect()
    }

    /// Whether a manifest is of a model that writes texts.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn are_in(json: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Only {
            task: String,
        }
        serde_json::from_slice::<Only>(without_bom(json)).is_ok_and(|only| is_task(&only.task))
    }

    /// The texts of all templates, which may spell special tokens.
    pub(crate) fn templates(&self) -> Vec<&str> {
        self.templates.iter().map(String::as_str).collect()
    }

    /// The same with special tokens of templates as the tokenizer reads them.
    pub(crate) fn marked(self, tokenizer: &crate::text::Tokenizer) -> Recipes {
        let mark = |recipe: Recipe| Recipe { template: recipe.template.marked(tokenizer), ..recipe };
        let PerMaxim { quantity, quality, relation, manner } = self.repair;
        let repair = PerMaxim {
            quantity: quantity.map(mark),
            quality: quality.map(mark),
            relation: relation.map(mark),
            manner: manner.map(mark),
        };
        Recipes { repair, answer: self.answer.map(mark), ..self }
    }
}

fn is_task(task: &str) -> bool {
    matches!(task, "repair" | "generate")
}

impl Written {
    fn check(self) -> Result<Recipes, String> {
        if self.format != FORMAT {
            return Err(format!("`format` of a model that writes texts must be {FORMAT}, found {}", self.format));
        }
        if !is_task(&self.task) {
            return Err(format!("`task` is `{}`; expected `repair` or `generate`", self.task));
        }
        if let Some(path) = self.digests.keys().find(|path| !is_inside(path)) {
            return Err(format!("`digests`: `{path}` is not a path inside the folder"));
        }
        check_template("turn_template", &self.turn_template, &["{speaker}", "{text}"], "{text}")
            .map_err(|error| error.to_string())?;
        let (mut repair, mut answer, mut templates) = (PerMaxim::default(), None, vec![self.turn_template.clone()]);
        for (name, fields) in &self.recipes {
            let recipe = self.recipe(name, fields).map_err(|problem| format!("`recipes.{name}`: {problem}"))?;
            templates.extend(fields["template"].as_str().map(str::to_owned));
            match Maxim::ALL.into_iter().find(|maxim| maxim.name() == name) {
                Some(maxim) => *repair.get_mut(maxim) = Some(recipe),
                None if name == ANSWER => answer = Some(recipe),
                None => {
                    return Err(format!("`recipes.{name}` is unknown; expected the name of a maxim, or `{ANSWER}`"));
                }
            }
        }
        if self.recipes.is_empty() {
            return Err("`recipes` is empty; it must have one for a maxim or for answers".to_owned());
        }
        Ok(Recipes { name: self.name, version: self.version, repair, answer, digests: self.digests, templates })
    }

    fn recipe(&self, name: &str, fields: &Map<String, Value>) -> Result<Recipe, String> {
        if let Some(unknown) = fields.keys().find(|field| !KNOWN.contains(&field.as_str())) {
            return Err(format!("unknown field `{unknown}`; known are {}", KNOWN.join(", ")));
        }
        let template = fields.get("template").and_then(Value::as_str).ok_or("`template` must be a text")?;
        let needed = if name == ANSWER { "{context}" } else { "{response}" };
        check_template("template", template, &["{context}", "{evidence}", "{response}"], needed)
            .map_err(|error| error.to_string())?;
        let whole = |field: &str, default: usize, most: u64| match fields.get(field) {
            None => Ok(default),
            Some(value) => match value.as_u64().filter(|number| *number <= most) {
                Some(number) => Ok(number as usize),
                None => Err(format!("`{field}` is {value}; it must be a whole number up to {most}")),
            },
        };
        let choice: Choice =
            serde_json::from_value(Value::Object(fields.clone())).map_err(|error| error.to_string())?;
        let recipe = Recipe {
            template: Template::parse(template, &self.turn_template, &self.evidence_ignored),
            source_tokens: whole("source_tokens", SOURCE_TOKENS, 1 << 20)?,
            retries: whole("retries", 0, RETRIES_MOST)? as u32,
            min_word_f1: share(fields, "min_word_f1")?,
            choice,
        };
        recipe.options(&[], 0, 0).map_err(|error| error.to_string())?;
        Ok(recipe)
    }
}

/// A number from 0 to 1; 0 if it is missing.
fn share(fields: &Map<String, Value>, field: &str) -> Result<f32, String> {
    let Some(value) = fields.get(field) else { return Ok(0.0) };
    let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
    share.map(|share| share as f32).ok_or_else(|| format!("`{field}` is {value}; it must be a number from 0 to 1"))
}

impl Recipe {
    /// For a pipeline.
    pub fn skill(&self) -> Skill {
        Skill { retries: self.retries, min_word_f1: self.min_word_f1 }
    }

    /// The most tokens that it writes.
    pub(crate) fn new_tokens(&self) -> usize {
        self.choice.max_new_tokens.unwrap_or(NEW_TOKENS)
    }

    /// How the tokens of a try are chosen. Greedy where the recipe says nothing; tries differ in their draws.
    ///
    /// # Errors
    /// [`crate::generate::OptionError`] for options that break a rule.
    pub(crate) fn options(
        &self,
        stop_tokens: &[u32],
        seed: u64,
        attempt: u32,
    ) -> Result<DecodeOptions, crate::generate::OptionError> {
        let own = DecodeOptions { stop_tokens: stop_tokens.to_vec(), max_new_tokens: NEW_TOKENS, ..Default::default() };
        let options = self.choice.over(own, || 0)?;
        let search = match options.search {
            Search::Greedy | Search::Beam { .. } if attempt > 0 => RETRY,
            search => search,
        };
        let seed = matches!(search, Search::Sample { .. }).then(|| seed.wrapping_add(u64::from(attempt)));
        Ok(DecodeOptions { search, seed, ..options })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GRICEBENCH: &str = r#"{
        "format": 2, "task": "repair", "name": "r", "version": "1",
        "recipes": {
            "quantity": {"template": "fix quantity: [CONTEXT] {context} [RESPONSE] {response}", "beams": 4,
                "min_new_tokens": 7, "max_new_tokens": 128, "repetition_penalty": 1.5, "no_repeat_ngram": 3, "retries": 2},
            "manner": {"template": "fix manner: [CONTEXT] {context} [RESPONSE] {response}", "temperature": 0.85, "top_p": 0.92}
        }
    }"#;

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut json: Value = serde_json::from_str(GRICEBENCH).unwrap();
        change(&mut json);
        Recipes::parse(json.to_string().as_bytes(), "x/grice.json").unwrap_err().to_string()
    }

    #[test]
    fn gricebench_s_recipes_are_read() {
        let recipes = Recipes::parse(GRICEBENCH.as_bytes(), "grice.json").unwrap();
        assert!(
            Recipes::are_in(GRICEBENCH.as_bytes()) && recipes.answer.is_none() && recipes.repair.relation.is_none()
        );
        let quantity = recipes.repair.quantity.unwrap();
        assert_eq!((quantity.retries, quantity.source_tokens), (2, 256));
        let options = quantity.options(&[1], 5, 0).unwrap();
        assert_eq!((options.width(), options.min_new_tokens, options.seed), (4, 7, None));
        assert_eq!((options.repetition_penalty, options.no_repeat_ngram, options.stop_tokens), (1.5, 3, vec![1]));
        // Another try draws.
        let again = quantity.options(&[1], 5, 2).unwrap();
        assert_eq!((again.search, again.seed), (RETRY, Some(7)));
        let manner = recipes.repair.manner.unwrap().options(&[], 5, 0).unwrap();
        assert_eq!(
            (manner.search, manner.seed),
            (Search::Sample { temperature: 0.85, top_k: 0, top_p: 0.92 }, Some(5))
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 13] = [
            (
                |json| json["digests"] = serde_json::json!({"../x": "sha256:00"}),
                "`digests`: `../x` is not a path inside the folder",
            ),
            (
                |json| json["recipes"]["manner"]["min_word_f1"] = 2.into(),
                "`min_word_f1` is 2; it must be a number from 0",
            ),
            (
                |json| json["format"] = 1.into(),
                "x/grice.json: `format` of a model that writes texts must be 2, found 1",
            ),
            (|json| json["task"] = "detect".into(), "`task` is `detect`"),
            (|json| json["recipes"] = Map::new().into(), "`recipes` is empty"),
            (|json| json["recipes"]["humour"] = json["recipes"]["manner"].clone(), "`recipes.humour` is unknown"),
            (|json| json["recipes"]["manner"]["template"] = "{context}".into(), "`{response}` is missing"),
            (|json| json["recipes"]["manner"]["template"] = 3.into(), "`recipes.manner`: `template` must be a text"),
            (|json| json["recipes"]["manner"]["beems"] = 3.into(), "unknown field `beems`"),
            (
                |json| json["recipes"]["manner"]["retries"] = 11.into(),
                "`retries` is 11; it must be a whole number up to 10",
            ),
            (|json| json["recipes"]["manner"]["beams"] = 4.into(), "`beams` is 4; beams draw nothing"),
            (|json| json["recipes"]["manner"]["top_p"] = 1.5.into(), "`top_p` is 1.5"),
            (
                |json| json["recipes"]["answer"] = serde_json::json!({"template": "{response}"}),
                "`{context}` is missing",
            ),
        ];
        for (change, words) in cases {
            let told = refused(change);
            assert!(told.contains(words), "{told}\nhas no: {words}");
        }
    }
}
