//! What a caller asks of a text; what it does not ask is as the model's makers do it.

use super::options::{DecodeOptions, OptionError, Search, rule};
use serde::Deserialize;

/// Options of one text. Those that are not given keep the model's own values.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Choice {
    /// See [`DecodeOptions::max_new_tokens`].
    pub max_new_tokens: Option<usize>,
    /// See [`DecodeOptions::min_new_tokens`].
    pub min_new_tokens: Option<usize>,
    /// See [`Search::Sample`]. It, `top_k`, `top_p` or a seed turn sampling on.
    pub temperature: Option<f32>,
    /// See [`Search::Sample`].
    pub top_k: Option<usize>,
    /// See [`Search::Sample`].
    pub top_p: Option<f32>,
    /// See [`DecodeOptions::seed`].
    pub seed: Option<u64>,
    /// The width of a beam.
    pub beams: Option<usize>,
    /// See [`Search::Beam`].
    pub length_penalty: Option<f32>,
    /// See [`DecodeOptions::repetition_penalty`].
    pub repetition_penalty: Option<f32>,
    /// See [`DecodeOptions::presence_penalty`].
    pub presence_penalty: Option<f32>,
    /// See [`DecodeOptions::frequency_penalty`].
    pub frequency_penalty: Option<f32>,
    /// See [`DecodeOptions::no_repeat_ngram`].
    pub no_repeat_ngram: Option<usize>,
    /// See [`DecodeOptions::stop_strings`].
    pub stop: Vec<String>,
    /// See [`DecodeOptions::draft`].
    pub draft: Option<usize>,
    /// See [`DecodeOptions::log_probabilities`].
    pub log_probabilities: Option<usize>,
}

impl Choice {
    /// The model's own options, changed by those that are given. A seed is drawn if one is needed and none is given.
    ///
    /// # Errors
    /// [`OptionError`] with the name that the option has here.
    pub fn over(&self, own: DecodeOptions, draw: impl FnOnce() -> u64) -> Result<DecodeOptions, OptionError> {
        self.check()?;
        let search = self.search(own.search);
        let options = DecodeOptions {
            search,
            max_new_tokens: self.max_new_tokens.unwrap_or(own.max_new_tokens),
            min_new_tokens: self.min_new_tokens.unwrap_or(own.min_new_tokens),
            repetition_penalty: self.repetition_penalty.unwrap_or(own.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(own.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(own.frequency_penalty),
            no_repeat_ngram: self.no_repeat_ngram.unwrap_or(own.no_repeat_ngram),
            stop_strings: self.stop.clone(),
            draft: self.draft.unwrap_or(0),
            log_probabilities: self.log_probabilities,
            seed: matches!(search, Search::Sample { .. }).then(|| self.seed.unwrap_or_else(draw)),
            ..own
        };
        match options.check() {
            Ok(()) => Ok(options),
            Err(error) => Err(OptionError { field: name_of(error.field), ..error }),
        }
    }

    /// Options that contradict each other.
    fn check(&self) -> Result<(), OptionError> {
        let Some(beams) = self.beams else {
            let penalty = self.length_penalty;
            return rule(penalty.is_none(), "length_penalty", penalty.unwrap_or(0.0), "only beams use it; set `beams`");
        };
        let draws = self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some();
        let expected = "beams draw nothing, so leave out `temperature`, `top_k` and `top_p`, or leave out `beams`";
        rule(!draws, "beams", beams, expected)
    }

    fn search(&self, own: Search) -> Search {
        if let Some(width) = self.beams {
            let length_penalty = self.length_penalty.unwrap_or(1.0);
            return Search::Beam { width, length_penalty, early: Default::default() };
        }
        let draws = self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some() || self.seed.is_some();
        let (temperature, top_k, top_p) = match own {
            Search::Sample { temperature, top_k, top_p } => (temperature, top_k, top_p),
            _ if draws => (1.0, 0, 1.0),
            _ => return own,
        };
        Search::Sample {
            temperature: self.temperature.unwrap_or(temperature),
            top_k: self.top_k.unwrap_or(top_k),
            top_p: self.top_p.unwrap_or(top_p),
        }
    }
}

fn name_of(field: &'static str) -> &'static str {
    match field {
        "width" => "beams",
        "stop_strings" => "stop",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(choice: Choice) -> Result<DecodeOptions, String> {
        choice.over(DecodeOptions::default(), || 77).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_given_replaces_the_models_own() {
        assert_eq!(over(Choice::default()), Ok(DecodeOptions::default()));
        let drawn = over(Choice { top_p: Some(0.9), ..Choice::default() }).unwrap();
        let search = Search::Sample { temperature: 1.0, top_k: 0, top_p: 0.9 };
        assert_eq!((drawn.search, drawn.seed), (search, Some(77)));
        assert_eq!(over(Choice { seed: Some(3), ..Choice::default() }).unwrap().seed, Some(3));
        let beam = over(Choice { beams: Some(4), ..Choice::default() }).unwrap();
        assert_eq!((beam.width(), beam.seed), (4, None));
    }

    #[test]
    fn contradictions_are_named() {
        let told = |choice: Choice| over(choice).unwrap_err();
        let beams = Some(4);
        assert!(told(Choice { beams, top_k: Some(5), ..Choice::default() }).starts_with("`beams` is 4; beams draw"));
        assert!(told(Choice { length_penalty: Some(2.0), ..Choice::default() }).starts_with("`length_penalty` is 2;"));
        assert!(told(Choice { beams, draft: Some(2), ..Choice::default() }).starts_with("`draft` is 2;"));
        assert!(told(Choice { beams: Some(300), ..Choice::default() }).starts_with("`beams` is 300;"));
        assert!(told(Choice { stop: vec![String::new()], ..Choice::default() }).starts_with("`stop` is a list"));
        let lengths = Choice { max_new_tokens: Some(3), min_new_tokens: Some(4), ..Choice::default() };
        assert!(told(lengths).starts_with("`min_new_tokens` is 4;"));
    }
}
