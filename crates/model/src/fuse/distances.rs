//! What a piece of attention says of distances: the angles of rotary positions, and numbers added to scores.

use super::constants::floats;
use super::glue::{Glue, elements};
use super::region::{Region, Step};
use super::sample::TOKENS;
use grice_kernels::{Rotary, ScoreBias};
use tract_onnx::pb::NodeProto;

/// Distances are looked at up to this one. What begins beyond it shows when the piece is compared in longer sequences.
pub(super) const FAR: usize = 1024;

/// Whether a piece may tell near tokens from far ones.
pub(super) fn compares<'p>(glue: &Glue<'_, 'p>, region: &Region<'p>) -> bool {
    let comparing = ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Trilu", "Equal"];
    nodes(glue, region).any(|node| comparing.contains(&node.op_type.as_str()))
}

/// The rotary positions whose frequencies stand in the piece, for sequences of any length.
pub(super) fn rotaries<'p>(glue: &Glue<'_, 'p>, region: &Region<'p>) -> Vec<Rotary> {
    if !["Sin", "Cos"].iter().all(|op| nodes(glue, region).any(|node| node.op_type == *op)) {
        return Vec::new();
    }
    let mut found: Vec<Rotary> = Vec::new();
    for name in nodes(glue, region).flat_map(|node| &node.input).filter(|name| !name.is_empty()) {
        let frequencies = glue.regions.graph.constant(name).and_then(floats);
        if let Some(rotary) = frequencies.and_then(|frequencies| rotary_of(&frequencies))
            && !found.contains(&rotary)
        {
            found.push(rotary);
        }
    }
    found
}

/// `base^(-i / count)` for each of `count` pairs, which all but the base may be read from.
fn rotary_of(frequencies: &[f32]) -> Option<Rotary> {
    let count = frequencies.len();
    let falls = frequencies.windows(2).all(|pair| 0.0 < pair[1] && pair[1] < pair[0]);
    if frequencies.first() != Some(&1.0) || !falls {
        return None;
    }
    let last = f64::from(frequencies[count - 1]);
    // With a single pair any base will do.
    let base = if count == 1 { 10_000.0 } else { last.powf(-(count as f64) / (count - 1) as f64) };
    // Bases are whole numbers; the frequencies are rounded.
    let whole = base.round();
    let base = if (base - whole).abs() <= 1e-4 * base { whole } else { base };
    Some(Rotary::plain(base as f32, 2 * count, 0))
}

/// What may be added to scores: values that no input changes, a number for each head and pair of tokens that hangs on their distance alone.
pub(super) fn biases<'p>(glue: &Glue<'_, 'p>, region: &Region<'p>, columns: usize) -> Vec<ScoreBias> {
    let graph = glue.regions.graph;
    let added = nodes(glue, region).filter(|node| node.op_type == "Add").flat_map(|node| &node.input);
    let mut names: Vec<&str> = added.map(|name| graph.resolve(name)).collect();
    names.dedup();
    let names = names.into_iter().filter(|name| graph.constant(name).is_none() && !glue.regions.varies(name));
    let tokens = glue.ladder.up_to().clamp(TOKENS, FAR);
    names.filter_map(|name| bias_of(glue, name, tokens, columns)).collect()
}

fn bias_of<'p>(glue: &Glue<'_, 'p>, name: &'p str, tokens: usize, columns: usize) -> Option<ScoreBias> {
    let square = |tokens: usize| {
        let value = glue.constant_value(name, tokens, columns).ok()?;
        let heads = match *value.shape() {
            [1, heads, rows, keys] | [heads, rows, keys] if [rows, keys] == [tokens; 2] => heads,
            _ => return None,
        };
        Some((heads, elements(&value).ok()?))
    };
    square(TOKENS)?;
    let (heads, values) = square(tokens)?;
    let at = |head: usize, query: usize, key: usize| values[(head * tokens + query) * tokens + key];
    let by_distance = |head: usize, distance: i64| match usize::try_from(distance) {
        Ok(ahead) => at(head, 0, ahead),
        Err(_) => at(head, distance.unsigned_abs() as usize, 0),
    };
    let places = (0..heads).flat_map(|head| (0..tokens).flat_map(move |i| (0..tokens).map(move |j| (head, i, j))));
    let hangs_on_distance =
        |(head, i, j): (usize, usize, usize)| at(head, i, j) == by_distance(head, j as i64 - i as i64);
    if !values.iter().all(|value| value.is_finite()) || !places.into_iter().all(hangs_on_distance) {
        return None;
    }
    let end = tokens as i64 - 1;
    let is_end = |distance: i64| {
        (0..heads)
            .all(|head| [1, -1].iter().all(|side| by_distance(head, side * distance) == by_distance(head, side * end)))
    };
    let reach = (0..=end).rev().take_while(|distance| is_end(*distance)).last().unwrap_or(end);
    let numbers: Vec<f32> =
        (0..heads).flat_map(|head| (-reach..=reach).map(move |distance| by_distance(head, distance))).collect();
    ScoreBias::new(heads, reach as usize, &numbers).ok()
}

fn nodes<'r, 'p>(glue: &Glue<'r, 'p>, region: &'r Region<'p>) -> impl Iterator<Item = &'p NodeProto> + 'r {
    let graph = glue.regions.graph;
    region.steps.iter().filter_map(move |step| match step {
        Step::Node(index) => Some(&graph.proto.node[*index]),
        Step::Linear(_) => None,
    })
}
