//! Each shader by itself on a device, against what `grice_kernels::reference` makes of the same numbers. Products have theirs
//! in `gemm`.

#![allow(clippy::unwrap_used)]

use super::attention::{Operands, record_attention, record_rotation};
use super::rows::{record_gate, record_gather, record_norm, record_sum};
use crate::device::Gpu;
use crate::gather::row_of;
use crate::gemm::tests::device::gpu;
use crate::geometry::Geometry;
use crate::model::{
    AttentionPlan, BiasPlan, EmbeddingPlan, Form, NormPlan, PositionsPlan, RelativePlan, RotaryPlan, pack_halves,
};
use crate::recording::{Arena, Buffer, Label, Recording, View};
use crate::tune::stand::Stand;
use grice_kernels::{
    Activation, AttentionShape, Embedding, EmbeddingTable, LayerNorm, Queries, Rotary, Rounding, Rows, ScoreBias,
    SlotMap, Table, reference,
};
use grice_model::Slot;

/// Sums of up to 512 products in f32, where the oracle's are in f64; numbers are about 1.
const TOLERANCE: f32 = 2e-5;
/// The same with tables in f16: half a unit in its last place, times the 64 products of a score.
const HALF_TOLERANCE: f32 = 2e-3;
/// What padding and gaps hold before, which must not get into any result.
const FOREIGN: f32 = f32::NAN;

const LABEL: Label = Label { layer: None, op: "a test", operations: 0 };

fn arena(arena: Arena) -> Buffer {
    Buffer::Arena(arena)
}

/// Between -1 and 1, as if at random.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |index: usize| {
        let mixed = (index + seed * 1_000_003).wrapping_mul(2_654_435_761) >> 7;
        (mixed % 20_011) as f32 / 10_005.0 - 1.0
    };
    (0..count).map(number).collect()
}

fn put(stand: &mut Stand<'_>, buffer: Buffer, numbers: &[f32]) {
    stand.put(buffer, 0, bytemuck::cast_slice(numbers)).unwrap();
}

fn read(stand: &Stand<'_>, buffer: Buffer) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&stand.read(buffer).unwrap())
}

fn assert_near(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Written so that a NaN fails.
        assert!((found - expected).abs() <= tolerance, "{what}: {found} at {index}, but {expected} is right");
    }
}

fn check_norm(gpu: &Gpu, rows: usize, columns: usize, centred: bool) {
    let norm = LayerNorm { gamma: numbers(columns, 1), beta: numbers(columns, 2), epsilon: 1e-5, centred };
    let x = numbers(rows * columns, 3);
    let view = View::whole(arena(Arena::Slot(Slot::Hidden)), rows, columns);
    let mut spread = vec![FOREIGN; rows * view.stride];
    for (to, from) in spread.chunks_exact_mut(view.stride).zip(x.chunks_exact(columns)) {
        to[..columns].copy_from_slice(from);
    }
    let mut stand = Stand::new(gpu);
    put(&mut stand, view.buffer, &spread);
    put(&mut stand, Buffer::Weight(0), &[norm.gamma.clone(), norm.beta.clone()].concat());
    stand.put(Buffer::Nothing, 16, &[]).unwrap();
    let mut recording = Recording::default();
    let plan = NormPlan { parameters: Buffer::Weight(0), epsilon: norm.epsilon, centred };
    record_norm(&mut recording, LABEL, view, &plan, view);
    stand.run(&recording.dispatches, 1).unwrap();
    let found: Vec<f32> = read(&stand, view.buffer)[..rows * view.stride]
        .chunks_exact(view.stride)
        .flat_map(|row| row[..columns].to_vec())
        .collect();
    let expected = reference::layer_norm(&x, &norm);
    assert_near(&format!("norm of {rows} by {columns}"), &found, &expected, TOLERANCE);
    // Out of another buffer, which stays as it is.
    let from = View::whole(arena(Arena::Slot(Slot::Attended)), rows, columns);
    put(&mut stand, from.buffer, &spread);
    put(&mut stand, view.buffer, &vec![FOREIGN; spread.len()]);
    let mut recording = Recording::default();
    record_norm(&mut recording, LABEL, from, &plan, view);
    stand.run(&recording.dispatches, 1).unwrap();
    let rows_of = |buffer: Buffer| -> Vec<f32> {
        let rows = read(&stand, buffer);
        rows[..spread.len()].chunks_exact(view.stride).flat_map(|row| row[..columns].to_vec()).collect()
    };
    assert_near(&format!("norm of {rows} by {columns} elsewhere"), &rows_of(view.buffer), &expected, TOLERANCE);
    assert_eq!(rows_of(from.buffer), x);
}

#[test]
fn layer_norm_is_the_references() {
    let Some(gpu) = gpu("layer_norm") else { return };
    for (rows, columns) in [(1, 1), (3, 7), (2, 64), (5, 65), (130, 30), (2, 768), (1, 3000)] {
        check_norm(&gpu, rows, columns, true);
        check_norm(&gpu, rows, columns, false);
    }
}

/// Words of a few ids in every form, with positions and a row for all and without.
fn check_embedding(gpu: &Gpu, columns: usize, table: Table, positions: bool, constant: bool, normed: bool) {
    let (ids, places, vocabulary) = ([3u32, 0, 4, 3, 1], [0u32, 1, 2, 0, 6], 5);
    let table = EmbeddingTable::new(vocabulary, columns, table).unwrap();
    let centred = !(positions && constant);
    let norm = LayerNorm { gamma: numbers(columns, 1), beta: numbers(columns, 2), epsilon: 1e-5, centred };
    let position_rows = EmbeddingTable::new(7, columns, Table::F32(numbers(7 * columns, 3))).unwrap();
    let row = numbers(columns, 4);
    let embedding =
        Embedding { words: &table, positions: positions.then_some(&position_rows), constant: constant.then_some(&row) };
    let sums = reference::embed(&ids, &places, &embedding);
    let expected = if normed { reference::layer_norm(&sums, &norm) } else { sums };

    let form = match table.table() {
        Table::F32(_) => Form::F32,
        Table::F16(_) => Form::F16,
        Table::Int8 { .. } => Form::Int8,
        Table::Columns(_) => unreachable!("the table was made of rows"),
    };
    let mut words = vec![0xff; ids.len() * form.row_bytes(columns)];
    for (to, &id) in words.chunks_exact_mut(form.row_bytes(columns)).zip(&ids) {
        let from = row_of(&table, id as usize).unwrap();
        to[..from.len()].copy_from_slice(from);
    }
    let mut stand = Stand::new(gpu);
    stand.put(arena(Arena::Slot(Slot::Wide)), 0, &words).unwrap();
    if let Table::Int8 { scales, .. } = table.table() {
        put(&mut stand, arena(Arena::Scales), &ids.map(|id| scales[id as usize]));
    }
    stand.put(arena(Arena::Places), 0, bytemuck::cast_slice(&places)).unwrap();
    stand.put(Buffer::Nothing, 16, &[]).unwrap();
    put(&mut stand, Buffer::Weight(0), &numbers(7 * columns, 3));
    let rows = if constant { &row[..] } else { &[] };
    put(&mut stand, Buffer::Weight(1), &[&norm.gamma, &norm.beta, rows].concat());
    let y = View::whole(arena(Arena::Slot(Slot::Hidden)), ids.len(), columns);
    put(&mut stand, y.buffer, &vec![FOREIGN; y.rows * y.stride]);
    let plan = EmbeddingPlan {
        columns,
        form,
        positions: positions.then_some(PositionsPlan { table: Buffer::Weight(0), rows: 7 }),
        parameters: Buffer::Weight(1),
        constant,
        normed,
        epsilon: norm.epsilon,
        centred,
    };
    let mut recording = Recording::default();
    record_sum(&mut recording, &plan, y);
    stand.run(&recording.dispatches, 1).unwrap();
    let found = read(&stand, y.buffer);
    let found: Vec<f32> = found.chunks_exact(y.stride).take(y.rows).flat_map(|row| row[..columns].to_vec()).collect();
    let what = format!("{form:?} words of {columns}, positions {positions}, constant {constant}");
    assert_near(&what, &found, &expected, TOLERANCE);
}

#[test]
fn embed_adds_up_rows_and_normalises() {
    let Some(gpu) = gpu("embed") else { return };
    for columns in [1, 7, 30, 64, 65, 768] {
        let words = numbers(5 * columns, 5);
        let halves = words.iter().map(|&number| half::f16::from_f32(number).to_bits()).collect();
        let values = words.iter().map(|number| (number * 127.0) as i8).collect();
        let tables =
            [Table::F32(words), Table::F16(halves), Table::Int8 { values, scales: vec![0.01, 0.02, 0.03, 0.04, 0.05] }];
        for table in tables {
            for (positions, constant) in [(false, false), (true, false), (false, true), (true, true)] {
                check_embedding(&gpu, columns, table.clone(), positions, constant, true);
                check_embedding(&gpu, columns, table.clone(), positions, constant, false);
            }
        }
    }
}

#[test]
fn gather_rows_takes_the_rows() {
    let Some(gpu) = gpu("gather_rows") else { return };
    for (rows, columns, starts) in [(1, 3, vec![0u32]), (90, 70, vec![0, 3, 89]), (40, 768, (0..40).collect())] {
        let view = View::whole(arena(Arena::Slot(Slot::Hidden)), rows, columns);
        let x = numbers(rows * view.stride, 1);
        let mut stand = Stand::new(&gpu);
        put(&mut stand, view.buffer, &x);
        let to = View::whole(arena(Arena::Slot(Slot::First)), starts.len(), columns);
        put(&mut stand, to.buffer, &vec![FOREIGN; to.rows * to.stride]);
        stand.put(arena(Arena::Starts), 0, bytemuck::cast_slice(&starts)).unwrap();
        let mut recording = Recording::default();
        record_gather(&mut recording, LABEL, view, to);
        stand.run(&recording.dispatches, 1).unwrap();
        let expected: Vec<f32> =
            starts.iter().flat_map(|&start| x[start as usize * view.stride..][..view.stride].to_vec()).collect();
        assert_eq!(read(&stand, to.buffer)[..to.rows * to.stride], expected);
    }
}

#[test]
fn gate_is_the_references() {
    let Some(gpu) = gpu("gate") else { return };
    let activations = [
        Activation::Identity,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Tanh,
        Activation::Silu,
    ];
    for (rows, columns) in [(1, 1), (3, 7), (2, 256), (5, 257), (70, 30)] {
        for activation in activations {
            let from = View::whole(arena(Arena::Slot(Slot::Wide)), rows, 2 * columns);
            let to = View::whole(arena(Arena::Slot(Slot::Context)), rows, columns);
            let x = numbers(rows * 2 * columns, 1);
            let mut stand = Stand::new(&gpu);
            put(&mut stand, from.buffer, &fill(&x, &from, 2 * columns));
            put(&mut stand, to.buffer, &vec![FOREIGN; to.rows * to.stride]);
            let mut recording = Recording::default();
            record_gate(&mut recording, LABEL, from, activation, to);
            stand.run(&recording.dispatches, 1).unwrap();
            let found = read(&stand, to.buffer);
            let found: Vec<f32> =
                found.chunks_exact(to.stride).take(rows).flat_map(|row| row[..columns].to_vec()).collect();
            let what = format!("{activation:?} gate of {rows} by {columns}");
            assert_near(&what, &found, &reference::gate(&x, columns, activation), TOLERANCE);
        }
    }
}

#[test]
fn rotate_is_the_references() {
    let Some(gpu) = gpu("rotate") else { return };
    for (offsets, heads, head_dim, columns) in
        [(vec![0u32, 1], 1, 2, 2), (vec![0, 5, 6, 76], 3, 11, 8), (vec![0, 200, 233], 2, 64, 64)]
    {
        let geometry = Geometry::new(&offsets);
        let rotary = Rotary::plain(10_000.0, columns, 200);
        let width = heads * head_dim;
        let whole = View::whole(arena(Arena::Slot(Slot::Wide)), geometry.tokens, width + 9);
        let x = View { offset: 4, columns: width, ..whole };
        let before = numbers(geometry.tokens * x.stride, 1);
        let mut stand = Stand::new(&gpu);
        put(&mut stand, x.buffer, &before);
        stand.put(arena(Arena::Blocks), 0, bytemuck::cast_slice(&geometry.blocks)).unwrap();
        put(&mut stand, Buffer::Weight(0), rotary.table().unwrap().values());
        let plan = RotaryPlan { table: Buffer::Weight(0), columns, positions: rotary.positions };
        let mut recording = Recording::default();
        record_rotation(&mut recording, LABEL, &plan, head_dim, &geometry, x);
        stand.run(&recording.dispatches, 1).unwrap();
        let expected = reference::rotate(&before, x.stride, x.offset, heads, head_dim, &offsets, &rotary);
        let found = read(&stand, x.buffer);
        assert_near(&format!("{offsets:?}"), &found[..expected.len()], &expected, TOLERANCE);
    }
}

/// What attention is tested on.
#[derive(Clone, Copy, Debug)]
struct Case {
    lengths: &'static [usize],
    heads: usize,
    head_dim: usize,
    /// Whether there are relative keys, and relative queries.
    sides: (bool, bool),
    /// Span, buckets and the largest position.
    slots: (usize, i64, usize),
    half: bool,
    first: bool,
    /// Heads of queries that share a head of keys.
    group: usize,
    window: Option<u32>,
    /// How far distances have a number of their own that is added to scores.
    bias: Option<usize>,
}

const PLAIN: Case = Case {
    lengths: &[40],
    heads: 2,
    head_dim: 16,
    sides: (false, false),
    slots: (8, 8, 32),
    half: false,
    first: false,
    group: 1,
    window: None,
    bias: None,
};

/// What attention reads of a case, and where on a device it lies.
struct Asked {
    offsets: Vec<u32>,
    geometry: Geometry,
    q: View,
    kv: View,
    v: View,
    out: View,
    q_numbers: Vec<f32>,
    kv_numbers: Vec<f32>,
    map: SlotMap,
    /// Relative keys and relative queries; empty where there are none.
    tables: [Vec<f32>; 2],
    bias: Option<ScoreBias>,
    scale: f32,
}

impl Asked {
    /// Keys and values side by side, queries beside them or in a matrix of their own; rows at fours, and after each what must not
    /// matter.
    fn of(case: Case) -> Asked {
        let Case { lengths, heads, head_dim, sides, slots, first, group, bias, .. } = case;
        let (width, key_width) = (heads * head_dim, heads / group * head_dim);
        let mut offsets = vec![0u32];
        offsets.extend(lengths.iter().scan(0, |end, length| {
            *end += *length as u32;
            Some(*end)
        }));
        let geometry = Geometry::new(&offsets);
        let tokens = geometry.tokens;
        let asking = if first { geometry.rows() } else { tokens };
        let whole = |place, rows| View::whole(arena(place), rows, width);
        let q = View { offset: 4, stride: width.next_multiple_of(4) + 8, ..whole(Arena::Slot(Slot::Query), asking) };
        let kv = View { stride: (2 * key_width).next_multiple_of(4) + 4, ..whole(Arena::Slot(Slot::Wide), tokens) };
        let map = SlotMap::new(slots.0, slots.1, slots.2).unwrap();
        let table = |has: bool| if has { numbers(map.slots() * width, 3 + usize::from(has)) } else { Vec::new() };
        Asked {
            q_numbers: fill(&numbers(asking * width, 1), &q, width),
            kv_numbers: fill(&numbers(tokens * 2 * key_width, 2), &kv, 2 * key_width),
            v: View { offset: key_width, ..kv },
            out: whole(Arena::Slot(Slot::Context), asking),
            tables: [table(sides.0), table(sides.1)],
            bias: bias.map(|reach| ScoreBias::new(heads, reach, &numbers(heads * (2 * reach + 1), 6)).unwrap()),
            scale: 1.0 / (head_dim as f32).sqrt(),
            offsets,
            geometry,
            q,
            kv,
            map,
        }
    }

    /// What a device makes of it, without the padding.
    fn run(&self, gpu: &Gpu, case: Case) -> Vec<f32> {
        let Case { heads, head_dim, sides, half, first, group, window, .. } = case;
        let Asked { q, kv, v, out, .. } = *self;
        let mut stand = Stand::new(gpu);
        put(&mut stand, q.buffer, &self.q_numbers);
        put(&mut stand, kv.buffer, &self.kv_numbers);
        put(&mut stand, out.buffer, &vec![FOREIGN; out.rows * out.stride]);
        stand.put(arena(Arena::Blocks), 0, bytemuck::cast_slice(&self.geometry.blocks)).unwrap();
        stand.put(Buffer::Nothing, 0, &[]).unwrap();
        let relative = (sides != (false, false)).then(|| {
            let all = self.tables.concat();
            let words: Vec<u32> = match half {
                true => pack_halves(all.iter().copied()),
                false => all.iter().map(|number| number.to_bits()).collect(),
            };
            stand.put(Buffer::Weight(0), 0, bytemuck::cast_slice(&words)).unwrap();
            let (table, places) = (Buffer::Weight(0), Buffer::Weight(1));
            let (plan, slots) = RelativePlan::of(&self.map, table, places, sides, heads * head_dim);
            stand.put(places, 0, bytemuck::cast_slice(&slots)).unwrap();
            RelativePlan { half, ..plan }
        });
        let bias = self.bias.as_ref().map(|bias| {
            let (reach, numbers) = grice_model::numbers_of(bias);
            put(&mut stand, Buffer::Weight(0), &numbers);
            BiasPlan { values: Buffer::Weight(0), reach }
        });
        let plan = AttentionPlan {
            heads,
            key_heads: heads / group,
            head_dim,
            scale: self.scale,
            window,
            relative,
            rotary: None,
            bias,
        };
        let mut recording = Recording::default();
        record_attention(&mut recording, LABEL, &plan, &Operands { q, k: kv, v, first }, &self.geometry, out);
        stand.run(&recording.dispatches, 1).unwrap();
        let rows = read(&stand, out.buffer);
        let rows = rows[..out.rows * out.stride].chunks_exact(out.stride);
        rows.flat_map(|row| row[..heads * head_dim].to_vec()).collect()
    }

    /// What is right.
    fn expected(&self, case: Case) -> Vec<f32> {
        let Case { heads, head_dim, sides, first, group, window, .. } = case;
        let shape = AttentionShape::new(heads, head_dim, self.scale, Rounding::Fused);
        let window = window.map(|window| window as usize);
        let rows_of = |data, view: &View| Rows { data, stride: view.stride, offset: view.offset };
        let relative = reference::RelativeRows {
            keys: sides.0.then_some(&self.tables[0][..]),
            queries: sides.1.then_some(&self.tables[1][..]),
            slots: &self.map,
        };
        reference::attention(
            &rows_of(&self.q_numbers, &self.q),
            &rows_of(&self.kv_numbers, &self.kv),
            &rows_of(&self.kv_numbers, &self.v),
            &self.offsets,
            if first { Queries::First } else { Queries::All },
            &AttentionShape { key_heads: heads / group, window, ..shape },
            Some(&relative),
            self.bias.as_ref(),
        )
    }
}

/// Rows of numbers where a view has them, and around them what must not matter.
fn fill(numbers: &[f32], view: &View, columns: usize) -> Vec<f32> {
    let mut all = vec![FOREIGN; view.offset + view.rows * view.stride];
    for (row, numbers) in numbers.chunks_exact(columns).enumerate() {
        all[view.offset + row * view.stride..][..columns].copy_from_slice(numbers);
    }
    all
}

fn check_attention(gpu: &Gpu, case: Case) {
    let asked = Asked::of(case);
    let tolerance = if case.half { HALF_TOLERANCE } else { TOLERANCE };
    assert_near(&format!("{case:?}"), &asked.run(gpu, case), &asked.expected(case), tolerance);
}

#[test]
fn attention_is_the_references() {
    let Some(gpu) = gpu("attention") else { return };
    let relative = Case { sides: (true, true), ..PLAIN };
    let cases = [
        PLAIN,
        Case { lengths: &[1], ..PLAIN },
        Case { lengths: &[31, 1, 33, 64, 7], ..PLAIN },
        Case { lengths: &[200, 3], head_dim: 64, ..PLAIN },
        Case { heads: 1, head_dim: 128, ..PLAIN },
        Case { heads: 3, head_dim: 10, ..PLAIN },
        Case { heads: 5, head_dim: 8, ..PLAIN },
        Case { heads: 1, head_dim: 99, ..PLAIN },
        Case { lengths: &[512], heads: 1, ..PLAIN },
        Case { lengths: &[5, 40, 1], first: true, ..PLAIN },
        relative,
        Case { lengths: &[1, 70, 33, 2], ..relative },
        Case { lengths: &[512], heads: 1, slots: (256, 256, 512), ..relative },
        Case { lengths: &[600], heads: 1, head_dim: 8, slots: (16, -1, 512), ..relative },
        Case { lengths: &[65, 3], heads: 3, head_dim: 10, ..relative },
        Case { lengths: &[50], heads: 2, head_dim: 128, ..relative },
        Case { sides: (true, false), ..relative },
        Case { sides: (false, true), ..relative },
        Case { lengths: &[90, 2], half: true, head_dim: 64, ..relative },
        Case { lengths: &[33], half: true, heads: 3, head_dim: 9, ..relative },
        Case { lengths: &[64, 1, 100], first: true, ..relative },
        Case { lengths: &[70, 3], heads: 6, group: 3, ..PLAIN },
        Case { lengths: &[40], heads: 4, group: 2, head_dim: 10, ..relative },
        Case { lengths: &[5, 40, 1], heads: 4, group: 4, first: true, ..PLAIN },
        Case { lengths: &[200, 1, 33], window: Some(0), ..PLAIN },
        Case { lengths: &[200, 1, 33], window: Some(5), ..PLAIN },
        Case { lengths: &[300, 40], window: Some(64), heads: 4, group: 2, ..PLAIN },
        Case { lengths: &[100, 2], window: Some(31), ..relative },
        Case { lengths: &[64, 1, 100], window: Some(33), first: true, ..PLAIN },
        Case { lengths: &[1, 70, 33, 2], bias: Some(0), ..PLAIN },
        Case { lengths: &[1, 70, 33, 2], bias: Some(20), heads: 3, head_dim: 10, ..PLAIN },
        Case { lengths: &[300, 5], bias: Some(128), heads: 4, group: 2, ..PLAIN },
        Case { lengths: &[100, 40], bias: Some(9), window: Some(31), ..PLAIN },
        Case { lengths: &[5, 40, 1], bias: Some(16), first: true, ..PLAIN },
    ];
    for case in cases {
        check_attention(&gpu, case);
    }
}
