//! The four maxims and a value for each of them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the four maxims of conversation (H. P. Grice, *Logic and Conversation*, 1975).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Maxim {
    /// Say as much as is needed, and no more.
    Quantity,
    /// Say what is true and supported.
    Quality,
    /// Keep to the subject.
    Relation,
    /// Be clear, brief and orderly.
    Manner,
}

impl Maxim {
    /// All four, in the order that every output of grice uses.
    pub const ALL: [Maxim; 4] = [Maxim::Quantity, Maxim::Quality, Maxim::Relation, Maxim::Manner];

    /// The lower-case name used in manifests and output.
    pub fn name(self) -> &'static str {
        match self {
            Maxim::Quantity => "quantity",
            Maxim::Quality => "quality",
            Maxim::Relation => "relation",
            Maxim::Manner => "manner",
        }
    }
}

impl fmt::Display for Maxim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A value for each maxim; serialises as an object with the four names.
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerMaxim<T> {
    /// Value for [`Maxim::Quantity`].
    pub quantity: T,
    /// Value for [`Maxim::Quality`].
    pub quality: T,
    /// Value for [`Maxim::Relation`].
    pub relation: T,
    /// Value for [`Maxim::Manner`].
    pub manner: T,
}

impl<T> PerMaxim<T> {
    /// Builds the four values by asking for each.
    pub fn from_fn(mut value: impl FnMut(Maxim) -> T) -> Self {
        PerMaxim {
            quantity: value(Maxim::Quantity),
            quality: value(Maxim::Quality),
            relation: value(Maxim::Relation),
            manner: value(Maxim::Manner),
        }
    }

    /// The value for one maxim.
    pub fn get(&self, maxim: Maxim) -> &T {
        match maxim {
            Maxim::Quantity => &self.quantity,
            Maxim::Quality => &self.quality,
            Maxim::Relation => &self.relation,
            Maxim::Manner => &self.manner,
        }
    }

    /// The value for one maxim, to change it.
    pub fn get_mut(&mut self, maxim: Maxim) -> &mut T {
        match maxim {
            Maxim::Quantity => &mut self.quantity,
            Maxim::Quality => &mut self.quality,
            Maxim::Relation => &mut self.relation,
            Maxim::Manner => &mut self.manner,
        }
    }

    /// The four pairs, in the order of [`Maxim::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Maxim, &T)> {
        Maxim::ALL.into_iter().map(|maxim| (maxim, self.get(maxim)))
    }
}
