//! One query a sequence: too little work to pack anything for.

use super::scratch::Scratch;
use super::{Call, Relative};
use crate::pool::Parts;
use crate::vector::{Operation, Simd, add_scaled, dot, softmax_row};

/// A head of a sequence, for its first token only.
pub(super) struct First<'a> {
    call: &'a Call<'a>,
    head: usize,
    sequence: usize,
    out: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl<'a> Call<'a> {
    pub(super) fn first(
        &'a self,
        head: usize,
        sequence: usize,
        out: &'a Parts<'a, f32>,
        scratch: &'a mut Scratch,
    ) -> First<'a> {
        let start = sequence * self.width + head * self.shape.head_dim;
        // SAFETY: no other task has this sequence and head.
        let out = unsafe { out.part(start, self.shape.head_dim) };
        First { call: self, head, sequence, out, scratch }
    }
}

impl Operation for First<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { call, head, sequence, out, scratch } = self;
        let size = call.shape.head_dim;
        let columns = head * size..(head + 1) * size;
        let tokens = call.tokens(sequence);
        let q = &call.q.data[call.q.offset + sequence * call.q.stride..][columns.clone()];
        scratch.scores.resize(tokens.len());
        for (j, token) in tokens.clone().enumerate() {
            let k = &call.k.data[call.k.offset + token * call.k.stride..][columns.clone()];
            let mut score = dot(s, q, k);
            if let Some(Relative { keys, queries, slots }) = call.relative {
                let slot = slots.slot(-(j as i64));
                if let Some(keys) = keys {
                    score += dot(s, q, keys.row(head, slot));
                }
                if let Some(queries) = queries {
                    score += dot(s, k, queries.row(head, slot));
                }
            }
            scratch.scores[j] = score * call.shape.scale;
        }
        softmax_row(s, &mut scratch.scores);
        out.fill(0.0);
        for (token, &share) in tokens.zip(scratch.scores.iter()) {
            add_scaled(s, out, &call.v.data[call.v.offset + token * call.v.stride..][columns.clone()], share);
        }
    }
}
