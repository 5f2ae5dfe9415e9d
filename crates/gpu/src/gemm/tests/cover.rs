//! Dispatches reckoned through without a device: every result is written once, and nothing is read or written beyond its buffer.

use super::all_methods;
use crate::error::GpuError;
use crate::gemm::{Choice, Method, Product, Scratch, Weights, quantized_bytes};
use crate::recording::{Arena, Buffer, Dispatch, Label, View};
use grice_kernels::Activation;
use grice_model::Precision;
use grice_model::Slot;
use proptest::prelude::*;
use std::collections::HashMap;
use std::ops::Range;

const X: Buffer = Buffer::Arena(Arena::Slot(Slot::Hidden));
const Y: Buffer = Buffer::Arena(Arena::Slot(Slot::Wide));
const RESIDUAL: Buffer = Buffer::Arena(Arena::Slot(Slot::Attended));
const SCRATCH: Scratch = Scratch {
    quantized: Buffer::Arena(Arena::Quantized),
    scales: Buffer::Arena(Arena::Scales),
    shares: Buffer::Arena(Arena::Shares),
};

#[derive(Clone, Debug)]
struct Case {
    method: Method,
    shares: u32,
    m: usize,
    k: usize,
    n: usize,
    /// Numbers that a row has beyond its own, in fours, and fours before the first.
    gap: usize,
    /// Columns of a part of the weights, in fours.
    part4: usize,
    residual: bool,
}

/// Uniforms by their names in `gemm_shape.wgsl`.
struct Uniforms<'a>(&'a [u32]);

impl Uniforms<'_> {
    fn get(&self, name: &str) -> usize {
        let names = [
            "rows",
            "k",
            "columns4",
            "k_share",
            "x_stride",
            "x_offset",
            "y_stride",
            "y_offset",
            "residual_stride",
            "residual_offset",
            "shares",
            "first_row",
        ];
        self.0[names.iter().position(|known| *known == name).unwrap()] as usize
    }
}

struct Sizes(HashMap<Buffer, usize>);

impl Sizes {
    /// That words up to `end` of a buffer are there.
    fn reach(&self, buffer: Buffer, end: usize) {
        let size = self.0[&buffer];
        assert!(end <= size, "{buffer:?} has {size} words, but {end} are reached");
    }
}

fn view(buffer: Buffer, case: &Case, columns: usize) -> View {
    let stride = columns.next_multiple_of(4) + 4 * case.gap;
    View { buffer, rows: case.m, columns, stride, offset: 4 * case.gap }
}

fn words_of(view: &View) -> usize {
    view.offset + view.rows * view.stride
}

fn weights_of(case: &Case, sizes: &mut Sizes) -> Weights {
    let precision = case.method.precision();
    let mut parts = Vec::new();
    for start in (0..case.n).step_by(4 * case.part4) {
        let range = start..case.n.min(start + 4 * case.part4);
        let padded = range.len().next_multiple_of(4);
        let words = match precision {
            Precision::Fp32 => case.k.next_multiple_of(4) * padded,
            Precision::Fp16 => case.k.next_multiple_of(4) * padded / 2,
            Precision::Int4 => unreachable!("4-bit weights become f32 on a GPU"),
            Precision::Int8 => case.k.next_multiple_of(16) / 4 * padded,
        };
        let (weights, columns) = (Buffer::Weight(2 * parts.len()), Buffer::Weight(2 * parts.len() + 1));
        sizes.0.extend([(weights, words), (columns, 2 * padded)]);
        parts.push(crate::gemm::weights::WeightPart { range, weights, columns });
    }
    Weights { precision, k: case.k, n: case.n, parts }
}

fn check(case: &Case) {
    let mut sizes = Sizes(HashMap::from([(Buffer::Nothing, 0)]));
    let weights = weights_of(case, &mut sizes);
    let (x, y) = (view(X, case, case.k), view(Y, case, case.n));
    let residual = case.residual.then(|| view(RESIDUAL, case, case.n));
    let label = Label { layer: Some(1), op: "up", operations: 0 };
    let activation = Activation::Gelu;
    let product = Product { label, x, weights: &weights, activation, residual, y, scratch: SCRATCH };
    let choice = Choice { method: case.method, shares: case.shares };
    sizes.0.extend([(X, words_of(&x)), (Y, words_of(&y)), (RESIDUAL, words_of(&y)), (SCRATCH.scales, case.m)]);
    sizes.0.insert(SCRATCH.quantized, quantized_bytes(case.m, case.k) as usize / 4);
    sizes.0.insert(SCRATCH.shares, product.shares_bytes(&choice) as usize / 4);

    let dispatches = product.record(&choice).unwrap();
    let mut ledger = Ledger {
        case,
        sizes: &sizes,
        written: vec![0; words_of(&y)],
        kept: HashMap::new(),
        quantized: vec![0; case.m],
    };
    for dispatch in &dispatches {
        assert_eq!(dispatch.buffers.len(), dispatch.pipeline.shader.bindings.len());
        assert!(dispatch.workgroups.iter().all(|&count| (1..=65_535).contains(&count)), "{:?}", dispatch.workgroups);
        match dispatch.pipeline.shader.name {
            "gemm_quantize_rows" => ledger.quantize(dispatch),
            "gemm_reduce" => ledger.reduce(dispatch),
            _ => ledger.multiply(dispatch),
        }
    }
    ledger.close(&y);
    let operations: u64 = dispatches.iter().map(|dispatch| dispatch.label.operations).sum();
    assert_eq!(operations, 2 * (case.m * case.k * case.n) as u64);
}

struct Ledger<'a> {
    case: &'a Case,
    sizes: &'a Sizes,
    /// How often each word of y was written.
    written: Vec<u32>,
    /// How often each share of each result was written down, by its word; emptied when it is added up.
    kept: HashMap<usize, u32>,
    quantized: Vec<u32>,
}

impl Ledger<'_> {
    fn quantize(&mut self, dispatch: &Dispatch) {
        let shape = Uniforms(&dispatch.uniforms);
        let [x, quantized, scales] = dispatch.buffers[..] else { panic!("{dispatch:?}") };
        let first = shape.get("first_row");
        for row in (first..first + dispatch.workgroups[0] as usize).filter(|&row| row < shape.get("rows")) {
            self.quantized[row] += 1;
            let words = shape.get("k").div_ceil(4);
            self.sizes.reach(x, 4 * (shape.get("x_offset") + row * shape.get("x_stride") + words));
            self.sizes.reach(quantized, row * shape.get("y_stride") + words.next_multiple_of(4));
            self.sizes.reach(scales, row + 1);
        }
    }

    fn multiply(&mut self, dispatch: &Dispatch) {
        let (shape, method) = (Uniforms(&dispatch.uniforms), &self.case.method);
        let (tile_m, tile_n) = method.tile();
        let [columns, rows, shares] = dispatch.workgroups.map(|count| count as usize);
        let int8 = method.precision() == Precision::Int8;
        assert_eq!(shares, shape.get("shares"));
        assert_eq!(shape.get("k_share") % 16, 0);
        if int8 {
            assert!(self.quantized.iter().all(|&times| times == 1), "rows in 8 bits {:?}", self.quantized);
        }
        let mut covered = 0;
        for share in 0..shares {
            let k = share * shape.get("k_share")..((share + 1) * shape.get("k_share")).min(shape.get("k"));
            assert!(!k.is_empty(), "share {share} of {shares} is empty");
            covered += k.len();
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                let first = shape.get("first_row") + row * tile_m as usize;
                let m = first..(first + tile_m as usize).min(shape.get("rows"));
                let n4 = column * tile_n as usize / 4..((column + 1) * tile_n as usize / 4).min(shape.get("columns4"));
                self.read_operands(dispatch, &m, &n4, &k);
                self.write_results(dispatch, share, m, n4);
            }
        }
        assert_eq!(covered, self.case.k);
    }

    /// What a workgroup reads at most.
    fn read_operands(&self, dispatch: &Dispatch, m: &Range<usize>, n4: &Range<usize>, k: &Range<usize>) {
        let (shape, precision) = (Uniforms(&dispatch.uniforms), self.case.method.precision());
        let row = (m.end - 1) * shape.get("x_stride") + shape.get("x_offset");
        let (x, weights) = (dispatch.buffers[0], dispatch.buffers[1]);
        let columns4 = shape.get("columns4");
        match precision {
            Precision::Int8 => {
                self.sizes.reach(x, row + k.end.next_multiple_of(16) / 4);
                self.sizes.reach(weights, 4 * ((k.end.next_multiple_of(16) / 4 - 1) * columns4 + n4.end));
                self.sizes.reach(dispatch.buffers[5], m.end);
            }
            _ => {
                self.sizes.reach(x, 4 * (row + k.end.div_ceil(4)));
                let numbers = 4 * ((k.end.next_multiple_of(4) - 1) * columns4 + n4.end);
                self.sizes.reach(weights, if precision == Precision::Fp16 { numbers / 2 } else { numbers });
            }
        }
    }

    fn write_results(&mut self, dispatch: &Dispatch, share: usize, m: Range<usize>, n4: Range<usize>) {
        let shape = Uniforms(&dispatch.uniforms);
        for (row, column4) in m.flat_map(|row| n4.clone().map(move |column4| (row, column4))) {
            if shape.get("shares") > 1 {
                assert_eq!(dispatch.buffers[4], SCRATCH.shares);
                let word = 4 * ((share * shape.get("rows") + row) * shape.get("columns4") + column4);
                self.sizes.reach(SCRATCH.shares, word + 4);
                *self.kept.entry(word).or_default() += 1;
            } else {
                self.finish(dispatch, row, column4);
            }
        }
    }

    fn reduce(&mut self, dispatch: &Dispatch) {
        let shape = Uniforms(&dispatch.uniforms);
        let [columns, rows, _] = dispatch.workgroups.map(|count| count as usize);
        let first = shape.get("first_row");
        for row in (first..first + rows).filter(|&row| row < shape.get("rows")) {
            for column4 in 0..(64 * columns).min(shape.get("columns4")) {
                for share in 0..shape.get("shares") {
                    let word = 4 * ((share * shape.get("rows") + row) * shape.get("columns4") + column4);
                    assert_eq!(self.kept.remove(&word), Some(1), "share {share} of row {row}, columns {column4}");
                }
                self.finish(dispatch, row, column4);
            }
        }
    }

    fn finish(&mut self, dispatch: &Dispatch, row: usize, column4: usize) {
        let shape = Uniforms(&dispatch.uniforms);
        let [columns, residual, y] = dispatch.buffers[2..5] else { panic!("{dispatch:?}") };
        assert_eq!(y, Y);
        self.sizes.reach(columns, 4 * (shape.get("columns4") + column4 + 1));
        if self.case.residual {
            let word = shape.get("residual_offset") + row * shape.get("residual_stride") + column4;
            self.sizes.reach(residual, 4 * word + 4);
        }
        let word = shape.get("y_offset") + row * shape.get("y_stride") + column4;
        self.sizes.reach(y, 4 * word + 4);
        for written in &mut self.written[4 * word..][..4] {
            *written += 1;
        }
    }

    /// Every result once, and beside them only what is left of the last four columns.
    fn close(self, y: &View) {
        assert!(self.kept.is_empty());
        for (word, written) in self.written.into_iter().enumerate() {
            let column = word.checked_sub(y.offset).map(|word| word % y.stride);
            let due = column.is_some_and(|column| column < y.columns.next_multiple_of(4));
            assert_eq!(written, u32::from(due), "word {word} of {y:?}");
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..200, 1usize..200, 1usize..200);
    let rest = (0usize..3, 1usize..60, any::<bool>(), 1u32..9);
    (proptest::sample::select(all_methods()), sizes, rest).prop_map(
        |(method, (m, k, n), (gap, part4, residual, shares))| Case { method, shares, m, k, n, gap, part4, residual },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_result_is_written_once(case in cases()) {
        check(&case);
    }
}

#[test]
fn more_rows_than_a_dimension_has_workgroups() {
    let rows = |form: &str| {
        let is = |method: &Method| {
            matches!(method, Method::Rows { size, .. } if size.rows == 1) && format!("{method:?}").contains(form)
        };
        all_methods().into_iter().find(is).unwrap()
    };
    for form in ["F32", "Int8"] {
        for shares in [1, 2] {
            let method = rows(form);
            check(&Case { method, shares, m: 66_000, k: 300, n: 3, gap: 0, part4: 8, residual: true });
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let method = all_methods()[0];
    let case = Case { method, shares: 1, m: 8, k: 8, n: 8, gap: 0, part4: 8, residual: true };
    let mut sizes = Sizes(HashMap::new());
    let weights = weights_of(&case, &mut sizes);
    let refuse = |change: &dyn Fn(&mut Product<'_>), words: &str| {
        let label = Label { layer: Some(1), op: "up", operations: 0 };
        let (x, y, residual) = (view(X, &case, 8), view(Y, &case, 8), Some(view(RESIDUAL, &case, 8)));
        let activation = Activation::Identity;
        let mut product = Product { label, x, weights: &weights, activation, residual, y, scratch: SCRATCH };
        assert!(product.record(&method.into()).is_ok());
        change(&mut product);
        match product.record(&method.into()) {
            Err(GpuError::Lowering { step, reason }) => assert!(step == "up" && reason.contains(words), "{reason}"),
            Err(GpuError::Limit { what, .. }) => assert!(what.contains(words), "{what}"),
            other => panic!("{other:?}, where {words:?} was due"),
        }
    };
    refuse(&|product| product.x.columns = 7, "rows of 7 numbers");
    refuse(&|product| product.y.columns = 7, "another shape");
    refuse(&|product| product.y.rows = 9, "another shape");
    refuse(&|product| product.x.rows = 0, "another shape");
    refuse(&|product| product.x.offset = 2, "multiples of four");
    refuse(&|product| product.y.stride = 4, "multiples of four");
    refuse(&|product| product.y.buffer = X, "overwrite");
    refuse(&|product| product.residual = Some(View { buffer: Y, ..product.y }), "overwrite");
    refuse(&|product| product.x.offset = 1 << 40, "a matrix of up");
    let int8 = all_methods().into_iter().find(|method| method.precision() == Precision::Int8).unwrap();
    let label = Label { layer: None, op: "up", operations: 0 };
    let (x, y) = (view(X, &case, 8), view(Y, &case, 8));
    let activation = Activation::Identity;
    let product = Product { label, x, weights: &weights, activation, residual: None, y, scratch: SCRATCH };
    assert!(product.record(&int8.into()).unwrap_err().to_string().contains("cannot multiply"));
}
