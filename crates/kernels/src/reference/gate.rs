//! The gate of a feed-forward network.

use super::activate;
use crate::Activation;

/// `activation(gate) · up` of rows that hold `columns` numbers of the gate, then as many of up.
pub fn gate(x: &[f32], columns: usize, activation: Activation) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len() / 2);
    for row in x.chunks_exact((2 * columns).max(1)) {
        let (gate, up) = row.split_at(columns);
        out.extend(gate.iter().zip(up).map(|(gate, up)| activate(activation, *gate) * up));
    }
    out
}
