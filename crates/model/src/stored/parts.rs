//! The description of a program: the same structure with the names of tensors in place of numbers.

use super::attention::KeptAttention;
use super::container::{Reader, Tensor, Writer};
use super::weights::{KeptLinear, KeptMatrix, KeptNorm, Read, Reading};
use crate::program::{
    Block, Body, Dense, Embedding, FeedForward, Head, Place, Positions, Program, Readout, ScorePositions, Scores, Sees,
    Stack,
};
use grice_kernels::Activation;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct KeptProgram {
    embedding: KeptEmbedding,
    layers: Vec<Vec<KeptBlock>>,
    last: Option<KeptNorm>,
    head: Vec<KeptDense>,
}

#[derive(Serialize, Deserialize)]
struct KeptEmbedding {
    words: KeptMatrix,
    positions: Option<KeptPositions>,
    constant: Option<Tensor>,
    norm: Option<KeptNorm>,
    projection: Option<KeptLinear>,
}

#[derive(Serialize, Deserialize)]
struct KeptPositions {
    table: KeptMatrix,
    offset: usize,
    uncounted: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct KeptBlock {
    norm: Option<KeptNorm>,
    place: KeptPlace,
    #[serde(flatten)]
    body: KeptBody,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptPlace {
    Before,
    After,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptBody {
    Attention(Box<KeptAttention>),
    FeedForward(Box<KeptFeedForward>),
}

#[derive(Serialize, Deserialize)]
struct KeptFeedForward {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gate: Option<KeptLinear>,
    up: KeptLinear,
    #[serde(with = "crate::steps::ActivationName")]
    activation: Activation,
    down: KeptLinear,
}

#[derive(Serialize, Deserialize)]
struct KeptDense {
    linear: KeptLinear,
    #[serde(with = "crate::steps::ActivationName")]
    activation: Activation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    norm: Option<KeptNorm>,
}

impl KeptProgram {
    /// Writes the tensors of a program and describes it; says so if its head is a graph.
    pub(super) fn of<'p>(program: &'p Program, writer: &mut Writer<'p>) -> Read<KeptProgram> {
        let Stack { embedding, layers, last } = &program.encoder;
        let head = program.head().ok_or("it reads vectors of whole texts, which compiled programs cannot hold yet")?;
        let dense =
            head.layers.as_ref().map_err(|unfused| format!("its head is no dense layers: {}", unfused.reason))?;
        let mut kept = Vec::with_capacity(layers.len());
        for (number, layer) in layers.iter().enumerate() {
            let blocks = layer.iter().enumerate();
            let blocks = blocks.map(|(at, block)| KeptBlock::of(block, &format!("layer.{number}.{at}"), writer));
            kept.push(blocks.collect::<Read<_>>()?);
        }
        let head = dense.iter().enumerate().map(|(number, Dense { linear, activation, norm })| {
            let name = format!("head.{number}");
            KeptDense {
                linear: KeptLinear::of(linear, &name, writer),
                activation: *activation,
                norm: norm.as_ref().map(|norm| KeptNorm::of(norm, &name, writer)),
            }
        });
        let head = head.collect();
        Ok(KeptProgram {
            embedding: KeptEmbedding::of(embedding, writer),
            layers: kept,
            last: last.as_ref().map(|norm| KeptNorm::of(norm, "last", writer)),
            head,
        })
    }

    pub(super) fn read(self, reader: &Reader<'_>) -> Read<Program> {
        let reading = Reading::new(reader);
        let layer = |blocks: Vec<KeptBlock>| blocks.into_iter().map(|block| block.read(&reading)).collect();
        let encoder = Stack {
            embedding: self.embedding.read(&reading)?,
            layers: self.layers.into_iter().map(layer).collect::<Read<_>>()?,
            last: self.last.map(|norm| norm.read(&reading)).transpose()?,
        };
        let dense = |KeptDense { linear, activation, norm }: KeptDense| {
            let norm = norm.map(|norm| norm.read(&reading)).transpose()?;
            Ok(Dense { linear: linear.read(&reading)?, activation, norm })
        };
        let layers = self.head.into_iter().map(dense).collect::<Read<_>>()?;
        Ok(Program { encoder, readout: Readout::Classes(Head { layers: Ok(layers), graph: None }) })
    }
}

/// Whether the first form has a word for it. A new activation is not of the first form: releases that read it would not know the word.
fn is_of_first_form(activation: Activation) -> bool {
    match activation {
        Activation::Identity | Activation::Gelu | Activation::GeluTanh | Activation::Relu | Activation::Tanh => true,
        Activation::Silu => false,
    }
}

impl Program {
    /// Whether the first form of description has words for it.
    pub(super) fn is_of_first_form(&self) -> bool {
        let is_plain = |body: &Body| match body {
            Body::Attention(attention) => {
                let Scores { heads, key_heads, sees, positions, .. } = &attention.scores;
                let has_words = matches!(positions, ScorePositions::None | ScorePositions::Disentangled(_));
                heads == key_heads && *sees == Sees::All && has_words
            }
            Body::FeedForward(FeedForward { gate, activation, .. }) => gate.is_none() && is_of_first_form(*activation),
        };
        let Stack { embedding, last, .. } = &self.encoder;
        let mut norms = self.encoder.blocks().map(|block| &block.norm).chain([&embedding.norm]);
        let mut head = self.head().and_then(|head| head.layers.as_ref().ok()).into_iter().flatten();
        norms.all(|norm| norm.as_ref().is_some_and(|norm| norm.centred))
            && last.as_ref().is_none_or(|norm| norm.centred)
            && self.encoder.blocks().all(|block| is_plain(&block.body))
            && head.all(|dense| dense.norm.is_none() && is_of_first_form(dense.activation))
    }
}

impl KeptEmbedding {
    fn of<'p>(embedding: &'p Embedding, writer: &mut Writer<'p>) -> KeptEmbedding {
        let Embedding { words, positions, constant, norm, projection } = embedding;
        KeptEmbedding {
            words: KeptMatrix::of(words, "words", writer),
            positions: positions.as_ref().map(|Positions { table, offset, uncounted }| KeptPositions {
                table: KeptMatrix::of(table, "positions", writer),
                offset: *offset,
                uncounted: *uncounted,
            }),
            constant: constant.as_ref().map(|row| writer.push("constant", &[row.len()], row)),
            norm: norm.as_ref().map(|norm| KeptNorm::of(norm, "embedding", writer)),
            projection: projection.as_ref().map(|linear| KeptLinear::of(linear, "projection", writer)),
        }
    }

    fn read(self, reading: &Reading<'_>) -> Read<Embedding> {
        let words = self.words.read(reading)?;
        let columns = words.columns();
        let positions = self.positions.map(|kept| {
            let table = kept.table.read(reading)?;
            let fits = table.columns() == columns && kept.offset <= table.rows() && u32::try_from(table.rows()).is_ok();
            let positions = Positions { table, offset: kept.offset, uncounted: kept.uncounted };
            if fits { Ok(positions) } else { Err("it is damaged: its positions do not fit its words".to_owned()) }
        });
        let (positions, norm) = (positions.transpose()?, self.norm.map(|norm| norm.read(reading)).transpose()?);
        if norm.as_ref().is_some_and(|norm| norm.gamma.len() != columns) {
            return Err("it is damaged: the norm of its embedding does not fit its words".to_owned());
        }
        let constant = self.constant.map(|row| reading.reader.read(&row, &[columns])).transpose()?;
        let projection = self.projection.map(|linear| linear.read(reading)).transpose()?;
        Ok(Embedding { words, positions, constant, norm, projection })
    }
}

impl KeptBlock {
    fn of<'p>(block: &'p Block, name: &str, writer: &mut Writer<'p>) -> Read<KeptBlock> {
        let body = match &block.body {
            Body::Attention(attention) => KeptBody::Attention(Box::new(KeptAttention::of(attention, name, writer)?)),
            Body::FeedForward(FeedForward { gate, up, activation, down }) => {
                let mut linear = |linear, part| KeptLinear::of(linear, &format!("{name}.{part}"), writer);
                KeptBody::FeedForward(Box::new(KeptFeedForward {
                    gate: gate.as_ref().map(|gate| linear(gate, "gate")),
                    up: linear(up, "up"),
                    activation: *activation,
                    down: linear(down, "down"),
                }))
            }
        };
        let place = match block.place {
            Place::Before => KeptPlace::Before,
            Place::After => KeptPlace::After,
        };
        Ok(KeptBlock { norm: block.norm.as_ref().map(|norm| KeptNorm::of(norm, name, writer)), place, body })
    }

    fn read(self, reading: &Reading<'_>) -> Read<Block> {
        let place = match self.place {
            KeptPlace::Before => Place::Before,
            KeptPlace::After => Place::After,
        };
        let body = match self.body {
            KeptBody::Attention(kept) => Body::Attention(Box::new(kept.read(reading)?)),
            KeptBody::FeedForward(kept) => {
                let KeptFeedForward { gate, up, activation, down } = *kept;
                let gate = gate.map(|gate| gate.read(reading)).transpose()?;
                Body::FeedForward(FeedForward { gate, up: up.read(reading)?, activation, down: down.read(reading)? })
            }
        };
        Ok(Block { norm: self.norm.map(|norm| norm.read(reading)).transpose()?, place, body })
    }
}
