//! Attention as a dispatch, and what turns its queries and keys.

use super::shaders::{ATTENTION, ROTATE};
use crate::geometry::Geometry;
use crate::model::{AttentionPlan, RotaryPlan};
use crate::recording::{Arena, Buffer, Dispatch, Label, PipelineKey, Recording, View};

/// Queries, and keys and values, which lie in the same rows.
pub(super) struct Operands {
    pub(super) q: View,
    pub(super) k: View,
    pub(super) v: View,
    /// Whether only token 0 asks, and queries are rows of sequences.
    pub(super) first: bool,
}

/// Attention over all sequences.
pub(super) fn record_attention(
    recording: &mut Recording,
    label: Label,
    plan: &AttentionPlan,
    operands: &Operands,
    geometry: &Geometry,
    out: View,
) {
    let Operands { q, k, v, first } = *operands;
    let AttentionPlan { heads, key_heads, head_dim, scale, window, relative, bias, .. } = plan;
    let blocks = geometry.query_blocks();
    let (first_block, blocks) = if first { (blocks, geometry.rows()) } else { (0, blocks) };
    let head4 = head_dim.div_ceil(4) as u32;
    let mut constants = vec![
        ("FIRST", u32::from(first)),
        ("HEAD4", head4),
        ("FOURS", head4.div_ceil(8)),
        ("VALUE_KEYS", if head4 <= 16 { 32 } else { 16 }),
    ];
    if heads != key_heads {
        constants.push(("GROUP", (heads / key_heads) as u32));
    }
    constants.extend(window.map(|window| ("SIGHT", window)));
    let (tables, slots, reach, queries_start) = match (relative, bias) {
        (None, None) => (Buffer::Nothing, Buffer::Nothing, 0, 0),
        (None, Some(bias)) => {
            constants.push(("BIAS", 1));
            (bias.values, Buffer::Nothing, bias.reach, 0)
        }
        (Some(relative), _) => {
            let sides = [("KEYS", relative.keys), ("QUERIES", relative.queries), ("HALF", relative.half)];
            constants.extend(sides.map(|(name, is)| (name, u32::from(is))));
            (relative.tables, relative.slots, relative.reach, relative.queries_start)
        }
    };
    let mut uniforms = vec![*heads as u32, *head_dim as u32, scale.to_bits()];
    let places = [q.stride, q.offset, k.stride, k.offset, v.offset, out.stride, reach, queries_start, first_block];
    uniforms.extend(places.map(|number| number as u32));
    recording.push(Dispatch {
        label,
        pipeline: PipelineKey { shader: &ATTENTION, constants },
        buffers: vec![q.buffer, k.buffer, out.buffer, Buffer::Arena(Arena::Blocks), tables, slots],
        workgroups: [blocks as u32, *heads as u32, 1],
        uniforms,
    });
}

/// Turns the heads of `x` in place, by the places of its rows in their sequences.
pub(super) fn record_rotation(
    recording: &mut Recording,
    label: Label,
    rotary: &RotaryPlan,
    head_dim: usize,
    geometry: &Geometry,
    x: View,
) {
    let RotaryPlan { table, columns, positions } = *rotary;
    let uniforms = [head_dim, columns / 2, x.stride, x.offset, positions];
    recording.push(Dispatch {
        label,
        pipeline: PipelineKey { shader: &ROTATE, constants: Vec::new() },
        buffers: vec![x.buffer, Buffer::Arena(Arena::Blocks), table],
        workgroups: [geometry.query_blocks() as u32, (x.columns / head_dim) as u32, 1],
        uniforms: uniforms.map(|number| number as u32).to_vec(),
    });
}
