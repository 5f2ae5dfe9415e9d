//! The dense layers and the norms of a graph: what each reads, and their weights.

use super::activation::Activations;
use super::anchors::{Anchor, Weights};
use super::glue::Glue;
use super::norms::Normed;
use super::region::Region;
use super::unfused::Fused;
use crate::program::Unfused;
use crate::weights::{Linear, Matrix};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A dense or normalising anchor, and the piece of the graph that makes its input.
pub(super) struct Site<'p> {
    pub(super) output: &'p str,
    pub(super) input: Region<'p>,
}

pub(super) struct Encoder<'a, 'p> {
    pub(super) glue: &'a Glue<'a, 'p>,
    /// Of hidden states.
    pub(super) columns: usize,
    pub(super) linears: Vec<Site<'p>>,
    pub(super) norms: Vec<Site<'p>>,
    pub(super) activations: Activations<'a, 'p>,
    /// Matrices already read, by the name of the tensor, whether it is transposed, and columns.
    matrices: RefCell<HashMap<MatrixKey<'p>, Arc<Matrix>>>,
}

type MatrixKey<'p> = (&'p str, bool, Range<usize>);

impl<'a, 'p> Encoder<'a, 'p> {
    pub(super) fn new(glue: &'a Glue<'a, 'p>, columns: usize) -> Self {
        let (mut linears, mut norms) = (Vec::new(), Vec::new());
        for &output in &glue.regions.anchors.order {
            if !glue.regions.varies(output) {
                continue;
            }
            match glue.regions.anchors.get(output) {
                Some(Anchor::Linear { input, .. }) => {
                    linears.push(Site { output, input: glue.regions.back_from(input) });
                }
                Some(Anchor::Norm { input, .. }) => norms.push(Site { output, input: glue.regions.back_from(input) }),
                _ => (),
            }
        }
        Encoder { glue, columns, linears, norms, activations: Activations::new(glue), matrices: RefCell::default() }
    }

    /// The one dense layer that reads the embedding and makes it wider, and the value it makes.
    pub(super) fn projection_of(&self, hidden: &'p str) -> Fused<Option<(Linear, &'p str)>> {
        let &[output] = self.dense_readers(hidden).as_slice() else { return Ok(None) };
        let projection = self.linear(output)?;
        let widens = projection.inputs() == self.columns && projection.outputs() > self.columns;
        // Queries, keys and values in one product are wider too, and no dense layer reads them as they are.
        let reads = |site: &Site<'p>| self.glue.is_same(&site.input, output, projection.outputs());
        Ok((widens && self.linears.iter().any(reads)).then_some((projection, output)))
    }

    /// Dense layers applied to `value` as it is.
    pub(super) fn dense_readers(&self, value: &'p str) -> Vec<&'p str> {
        let readers = self.linears.iter().filter(|site| self.glue.is_same(&site.input, value, self.columns));
        readers.map(|site| site.output).collect()
    }

    /// Dense layers applied to token 0 of `value`, its axis kept.
    pub(super) fn first_token_readers(&self, value: &'p str) -> Vec<&'p str> {
        let is_reader = |site: &&Site<'p>| self.glue.is_first_token(&site.input, value, self.columns, true);
        self.linears.iter().filter(is_reader).map(|site| site.output).collect()
    }

    /// The first dense layer that reads all of these.
    pub(super) fn reader_of(&self, values: &[&'p str]) -> Option<&Site<'p>> {
        self.linears.iter().find(|site| {
            let data: Vec<&str> = site.input.data().collect();
            values.iter().all(|value| data.contains(value))
        })
    }

    /// The layer norm of `part` plus one of `rests`, and which.
    pub(super) fn norm_of_sum(&self, part: &'p str, rests: &[&'p str]) -> Fused<(usize, Normed<'p>)> {
        let regions = self.glue.regions;
        for (place, &rest) in rests.iter().enumerate() {
            let is_sum = |site: &&Site<'p>| match regions.anchors.get(rest) {
                Some(_) => self.glue.is_sum(&site.input, [part, rest], self.columns),
                None => self.glue.is_sum(&regions.back_to(rest, site.input.value), [part, rest], self.columns),
            };
            if let Some(normed) = self.norms.iter().find(is_sum).and_then(|site| self.normed(site)) {
                return Ok((place, normed));
            }
        }
        Err(Unfused::new(format!("no layer norm of `{part}` plus `{}`", rests.join("`, or plus `"))))
    }

    pub(super) fn normed(&self, site: &Site<'p>) -> Option<Normed<'p>> {
        match self.glue.regions.anchors.get(site.output)? {
            Anchor::Norm { norm, .. } => {
                Some(Normed { output: site.output, input: site.input.value, norm: norm.clone() })
            }
            _ => None,
        }
    }

    /// How many columns a dense layer reads and makes.
    pub(super) fn size_of(&self, output: &'p str) -> Option<(usize, usize)> {
        match self.glue.regions.anchors.get(output)? {
            Anchor::Linear { weights, .. } => weights.shape(),
            _ => None,
        }
    }

    pub(super) fn linear(&self, output: &'p str) -> Fused<Linear> {
        let columns = self.size_of(output).map_or(0, |(_, outputs)| outputs);
        self.columns_of(output, 0..columns)
    }

    /// Some columns of a dense layer, as a layer of their own.
    pub(super) fn columns_of(&self, output: &'p str, columns: Range<usize>) -> Fused<Linear> {
        let cannot = |what: &str| Unfused::new(format!("the {what} of the dense layer `{output}` cannot be read"));
        let Some(Anchor::Linear { weights, bias, .. }) = self.glue.regions.anchors.get(output) else {
            return Err(Unfused::new(format!("`{output}` is no dense layer")));
        };
        let bias = bias.map(|bias| bias.read().ok_or_else(|| cannot("bias"))).transpose()?;
        let bias = bias.map(|bias| bias.get(columns.clone()).map(<[f32]>::to_vec).ok_or_else(|| cannot("bias")));
        let weights = self.matrix(weights, columns).ok_or_else(|| cannot("weights"))?;
        Ok(Linear { weights, bias: bias.transpose()? })
    }

    /// A matrix that was read before, under this name or another one, is the same in memory: layers that share weights share what is packed.
    fn matrix(&self, weights: &Weights<'p>, columns: Range<usize>) -> Option<Arc<Matrix>> {
        let key = (weights.name(), weights.is_transposed(), columns.clone());
        if let Some(known) = self.matrices.borrow().get(&key) {
            return Some(known.clone());
        }
        let whole = weights.read()?;
        let matrix = if columns.len() == whole.columns() { whole } else { whole.columns_of(columns)? };
        let known = self.matrices.borrow().values().find(|known| ***known == matrix).cloned();
        let matrix = known.unwrap_or_else(|| Arc::new(matrix));
        self.matrices.borrow_mut().insert(key, matrix.clone());
        Some(matrix)
    }
}
