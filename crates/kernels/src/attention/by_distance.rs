//! What the distance of a query and a key adds to their score.

use super::bias::ScoreBias;
use super::relative::Relative;

/// What distances add to scores.
#[derive(Clone, Copy, Debug, Default)]
pub enum ByDistance<'a> {
    /// Nothing.
    #[default]
    Nothing,
    /// Products with relative positions, which are scaled as the scores are: DeBERTa.
    Relative(&'a Relative),
    /// A number for each distance, which is not scaled: T5, MPNet.
    Bias(&'a ScoreBias),
}

impl<'a> From<Option<&'a Relative>> for ByDistance<'a> {
    fn from(relative: Option<&'a Relative>) -> Self {
        relative.map_or(Self::Nothing, Self::Relative)
    }
}

impl<'a> From<Option<&'a ScoreBias>> for ByDistance<'a> {
    fn from(bias: Option<&'a ScoreBias>) -> Self {
        bias.map_or(Self::Nothing, Self::Bias)
    }
}
