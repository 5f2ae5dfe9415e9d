//! What is done row by row, as dispatches: the embedding's sum, norms, gates, and the picking of rows.

use super::shaders::{EMBED, GATE, GATHER_ROWS, LAYER_NORM};
use crate::gemm::activation_code;
use crate::model::{EmbeddingPlan, NormPlan};
use crate::recording::{Arena, Buffer, Dispatch, Label, PipelineKey, Recording, View};
use grice_kernels::Activation;
use grice_model::Slot;

/// Records the sum of rows and its norm. `Wide` holds the rows of the tokens' words as [`Form`](crate::model::Form) says, `Scales` the
/// factors of those in 8 bits, `Places` the position of each token if there are positions.
pub(super) fn record_sum(recording: &mut Recording, plan: &EmbeddingPlan, y: View) {
    let EmbeddingPlan { form, positions, parameters, constant, normed, epsilon, centred, .. } = plan;
    let arena_if = |is: bool, arena: Arena| if is { Buffer::Arena(arena) } else { Buffer::Nothing };
    let (table, rows) = positions.map_or((Buffer::Nothing, 1), |positions| (positions.table, positions.rows));
    let sides = [("POSITIONS", positions.is_some()), ("CONSTANT", *constant)];
    let mut constants = vec![("FORM", form.code())];
    constants.extend(sides.map(|(name, is)| (name, u32::from(is))));
    constants.extend(not_centred(*centred));
    constants.extend((!normed).then_some(("NORMED", 0)));
    let sizes = [y.rows, y.columns, form.row_bytes(y.columns) / 4, y.stride, rows];
    let mut uniforms: Vec<u32> = sizes.iter().map(|&size| size as u32).collect();
    uniforms.push(epsilon.to_bits());
    recording.push(Dispatch {
        label: Label::new(None, "embed"),
        pipeline: PipelineKey { shader: &EMBED, constants },
        buffers: vec![
            Buffer::Arena(Arena::Slot(Slot::Wide)),
            arena_if(form.has_scales(), Arena::Scales),
            arena_if(positions.is_some(), Arena::Places),
            table,
            *parameters,
            y.buffer,
        ],
        workgroups: [y.rows as u32, 1, 1],
        uniforms,
    });
}

/// The rows of `from` at which sequences start.
pub(super) fn record_gather(recording: &mut Recording, label: Label, from: View, to: View) {
    recording.push(Dispatch {
        label,
        pipeline: PipelineKey { shader: &GATHER_ROWS, constants: Vec::new() },
        buffers: vec![from.buffer, Buffer::Arena(Arena::Starts), to.buffer],
        workgroups: [to.stride.div_ceil(64) as u32, to.rows as u32, 1],
        uniforms: vec![to.rows as u32, to.stride as u32],
    });
}

/// The rows of `x` normalised, into `y`, which may be `x` itself.
pub(super) fn record_norm(recording: &mut Recording, label: Label, x: View, norm: &NormPlan, y: View) {
    let in_place = x.buffer == y.buffer;
    let mut constants = vec![("IN_PLACE", u32::from(in_place))];
    constants.extend(not_centred(norm.centred));
    recording.push(Dispatch {
        label,
        pipeline: PipelineKey { shader: &LAYER_NORM, constants },
        buffers: vec![y.buffer, norm.parameters, if in_place { Buffer::Nothing } else { x.buffer }],
        workgroups: [y.rows as u32, 1, 1],
        uniforms: vec![y.rows as u32, y.columns as u32, y.stride as u32, norm.epsilon.to_bits()],
    });
}

/// What makes a shader's norm an RMS norm.
fn not_centred(centred: bool) -> Option<(&'static str, u32)> {
    (!centred).then_some(("CENTRED", 0))
}

/// `activation(gate) · up` of rows that hold the gate's columns, then those of up.
pub(super) fn record_gate(recording: &mut Recording, label: Label, x: View, activation: Activation, y: View) {
    recording.push(Dispatch {
        label,
        pipeline: PipelineKey { shader: &GATE, constants: vec![("ACTIVATION", activation_code(activation))] },
        buffers: vec![x.buffer, y.buffer],
        workgroups: [y.columns.div_ceil(256) as u32, y.rows as u32, 1],
        uniforms: [y.columns, x.stride, y.stride].map(|number| number as u32).to_vec(),
    });
}
