//! How tokens are chosen, and the rules that the options must keep.

use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

/// Longer guesses are wrong long before their end, and each token of them costs a row.
const DRAFT_MOST: usize = 1024;

/// The widest beam: each hypothesis costs a row of the model at every step.
pub const WIDTH_MAX: usize = 256;

/// When a beam search stops before `max_new_tokens`. The names in brackets are Hugging Face's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// As soon as `width` sequences have ended (`true`).
    AtWidth,
    /// Once the best open hypothesis, at its present length, scores no better than the worst ended sequence (`false`).
    #[default]
    Heuristic,
    /// Once no open hypothesis can get better than the worst ended sequence, whatever its length (`"never"`).
    Never,
}

/// Which token comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// The most probable token; of equal ones that with the lowest id.
    #[default]
    Greedy,
    /// A token drawn at random.
    Sample {
        /// Logits are divided by it, 0 or more; 0 is greedy.
        temperature: f32,
        /// Draws from so many of the most probable tokens, and those equal to the last of them; 0: from all.
        top_k: usize,
        /// Draws from the fewest tokens whose probabilities sum to it, 0 to 1; 1: from all, 0: from one.
        top_p: f32,
    },
    /// The most probable sequences, `width` hypotheses at a time. A width of 1 is greedy, as in Hugging Face's library.
    Beam {
        /// Hypotheses, 1 to [`WIDTH_MAX`].
        width: usize,
        /// The sum of log-probabilities is divided by the number of generated tokens to this power: above 0 favours long sequences.
        length_penalty: f32,
        /// When to stop.
        early: EarlyStopping,
    },
}

/// How a sequence is generated. The meaning of each option is that of Hugging Face's `GenerationConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeOptions {
    /// Which token comes next.
    pub search: Search,
    /// The most tokens that are generated, 1 or more; a stop token counts. Hugging Face's `max_length` counts the prompt or the start
    /// token as well.
    pub max_new_tokens: usize,
    /// No stop token before the decoder's sequence has so many tokens: the prompt, or the start token, counts.
    pub min_length: usize,
    /// No stop token before so many generated ones. It and `min_length` both hold; in Hugging Face's library it replaces the other.
    pub min_new_tokens: usize,
    /// Above 1: tokens of the decoder's sequence get less probable, each once; 1: off. Above 0.
    pub repetition_penalty: f32,
    /// Subtracted from the score of each new token that is there already, once; −2 to 2, and 0: off. OpenAI's interface has it.
    pub presence_penalty: f32,
    /// The same for each time that it is there.
    pub frequency_penalty: f32,
    /// No sequence of so many tokens comes twice in the decoder's sequence; 0: off.
    pub no_repeat_ngram: usize,
    /// Tokens that end a sequence.
    pub stop_tokens: Vec<u32>,
    /// Texts that end a sequence; none of them is empty.
    pub stop_strings: Vec<String>,
    /// Tokens that are never generated.
    pub banned: Vec<u32>,
    /// What random draws depend on, beside the number of the token. A sampled sequence needs one.
    pub seed: Option<u64>,
    /// How many alternatives are told for each token, with log-probabilities; `None`: no log-probabilities.
    pub log_probabilities: Option<usize>,
    /// How many tokens are guessed from source and prompt and checked in one run; 0: none. Never changes what is generated.
    pub draft: usize,
    /// How many sequences of a beam are returned, 1 to its width.
    pub returns: usize,
}

/// An option that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}; {rule}")]
pub struct OptionError {
    /// Name of the option.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub rule: &'static str,
}

impl Default for DecodeOptions {
    /// Greedy, at most 20 new tokens, everything else off.
    fn default() -> DecodeOptions {
        DecodeOptions {
            search: Search::Greedy,
            max_new_tokens: 20,
            min_length: 0,
            min_new_tokens: 0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            no_repeat_ngram: 0,
            stop_tokens: Vec::new(),
            stop_strings: Vec::new(),
            banned: Vec::new(),
            seed: None,
            log_probabilities: None,
            draft: 0,
            returns: 1,
        }
    }
}

impl DecodeOptions {
    /// Checks each option, and that no two contradict each other.
    ///
    /// # Errors
    /// [`OptionError`] with the first that breaks its rule.
    pub fn check(&self) -> Result<(), OptionError> {
        self.check_search()?;
        self.check_lengths()?;
        let penalty = self.repetition_penalty;
        rule(
            penalty.is_finite() && penalty > 0.0,
            "repetition_penalty",
            penalty,
            "it must be a finite number above 0",
        )?;
        for (field, penalty) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            rule((-2.0..=2.0).contains(&penalty), field, penalty, "it must be a number from -2 to 2")?;
        }
        let empty = self.stop_strings.iter().any(String::is_empty);
        rule(!empty, "stop_strings", "a list with an empty string", "each must hold at least one character")?;
        rule(self.draft <= DRAFT_MOST, "draft", self.draft, "it must be at most 1024")?;
        let drafts = self.draft == 0 || self.width() == 1;
        rule(drafts, "draft", self.draft, "beams are searched without drafts, so it must be 0")?;
        let returns = (1..=self.width()).contains(&self.returns);
        rule(returns, "returns", self.returns, "it must be at least 1, and at most the width of the beam")
    }

    fn check_search(&self) -> Result<(), OptionError> {
        match self.search {
            Search::Greedy => Ok(()),
            Search::Sample { temperature, top_p, .. } => {
                let warm = temperature.is_finite() && temperature >= 0.0;
                rule(warm, "temperature", temperature, "it must be a finite number, 0 or more")?;
                rule((0.0..=1.0).contains(&top_p), "top_p", top_p, "it must be a number from 0 to 1")
            }
            Search::Beam { width, length_penalty, .. } => {
                rule((1..=WIDTH_MAX).contains(&width), "width", width, "it must be a number from 1 to 256")?;
                rule(length_penalty.is_finite(), "length_penalty", length_penalty, "it must be a finite number")
            }
        }
    }

    fn check_lengths(&self) -> Result<(), OptionError> {
        rule(self.max_new_tokens > 0, "max_new_tokens", self.max_new_tokens, "it must be 1 or more")?;
        let fits = self.min_new_tokens <= self.max_new_tokens;
        rule(fits, "min_new_tokens", self.min_new_tokens, "it must be at most `max_new_tokens`")
    }

    /// Hypotheses at a time: 1 but for beams.
    pub fn width(&self) -> usize {
        match self.search {
            Search::Beam { width, .. } => width,
            Search::Greedy | Search::Sample { .. } => 1,
        }
    }

    /// Whether the same prompt gives the same tokens each time: only draws without a seed do not.
    pub fn is_repeatable(&self) -> bool {
        self.seed.is_some() || !self.is_sampled()
    }

    /// The options with a seed for their draws, if they have none yet.
    pub fn seeded(mut self, seed: u64) -> DecodeOptions {
        self.seed.get_or_insert(seed);
        self
    }

    pub(super) fn is_sampled(&self) -> bool {
        matches!(self.search, Search::Sample { temperature, .. } if temperature > 0.0)
    }
}

impl Hash for DecodeOptions {
    /// Equal options hash alike, and every field counts: a new one does not compile until it is named here.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let DecodeOptions {
            search,
            max_new_tokens,
            min_length,
            min_new_tokens,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            no_repeat_ngram,
            stop_tokens,
            stop_strings,
            banned,
            seed,
            log_probabilities,
            draft,
            returns,
        } = self;
        search.hash(state);
        (max_new_tokens, min_length, min_new_tokens, bits(*repetition_penalty), no_repeat_ngram).hash(state);
        (bits(*presence_penalty), bits(*frequency_penalty)).hash(state);
        (stop_tokens, stop_strings, banned, seed, log_probabilities, draft, returns).hash(state);
    }
}

impl Hash for Search {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match *self {
            Search::Greedy => {}
            Search::Sample { temperature, top_k, top_p } => (bits(temperature), top_k, bits(top_p)).hash(state),
            Search::Beam { width, length_penalty, early } => (width, bits(length_penalty), early).hash(state),
        }
    }
}

/// The same for 0 and −0, which are equal.
fn bits(number: f32) -> u32 {
    (number + 0.0).to_bits()
}

/// An error unless the rule is kept.
pub(super) fn rule(
    kept: bool,
    field: &'static str,
    value: impl std::fmt::Display,
    rule: &'static str,
) -> Result<(), OptionError> {
    if kept { Ok(()) } else { Err(OptionError { field, value: value.to_string(), rule }) }
}
