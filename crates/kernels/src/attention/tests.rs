use super::*;
use crate::{Isa, Rounding, reference};
use proptest::prelude::*;

/// f32 sums of at most 128 products of numbers below 1, then of at most 600 shares of numbers below 1, in another order than the reference's f64;
/// `exp` adds 3e-7 of the share.
const TOLERANCE: f32 = 2e-5;

/// Numbers in ±1 that look random and are the same every time.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Which tables of relative positions there are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sides {
    None,
    Keys,
    Queries,
    Both,
}

/// Sequences and what they attend with: q, k and v are columns of one matrix.
struct Case {
    cu_seqlens: Vec<u32>,
    shape: AttentionShape,
    qkv: Vec<f32>,
    rows: [Option<Vec<f32>>; 2],
    slots: SlotMap,
    relative: Option<Relative>,
    bias: Option<ScoreBias>,
}

impl Case {
    /// The same with fewer key heads, or a window.
    fn with(mut self, key_heads: usize, window: Option<usize>) -> Self {
        self.shape = AttentionShape { key_heads, window, ..self.shape };
        self
    }

    /// Rounded stepwise.
    fn new(lengths: &[usize], heads: usize, head_dim: usize, sides: Sides, slots: SlotMap) -> Self {
        let mut cu_seqlens = vec![0];
        for length in lengths {
            cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + *length as u32);
        }
        let (tokens, width) = (lengths.iter().sum::<usize>(), heads * head_dim);
        let shape = AttentionShape::new(heads, head_dim, 2.0 / (head_dim as f32).sqrt(), Rounding::Stepwise);
        let table = |seed, there: bool| there.then(|| numbers(slots.slots() * width, seed));
        let rows = [
            table(2, matches!(sides, Sides::Keys | Sides::Both)),
            table(3, matches!(sides, Sides::Queries | Sides::Both)),
        ];
        let relative = Relative::new(rows[0].as_deref(), rows[1].as_deref(), slots.clone(), heads, head_dim).unwrap();
        let relative = (sides != Sides::None).then_some(relative);
        Self { cu_seqlens, shape, qkv: numbers(tokens * 3 * width, 1), rows, slots, relative, bias: None }
    }

    /// The same with a bias instead of relative positions.
    fn with_bias(mut self, reach: usize) -> Self {
        let values = numbers(self.shape.heads * (2 * reach + 1), 7);
        self.bias = Some(ScoreBias::new(self.shape.heads, reach, &values).unwrap());
        self
    }

    fn by_distance(&self) -> ByDistance<'_> {
        match &self.bias {
            Some(bias) => ByDistance::Bias(bias),
            None => self.relative.as_ref().into(),
        }
    }

    fn width(&self) -> usize {
        self.shape.heads * self.shape.head_dim
    }

    /// q, k and v by tokens, q with a row a token.
    fn rows(&self) -> [Rows<'_>; 3] {
        [0, 1, 2].map(|part| Rows { data: &self.qkv, stride: 3 * self.width(), offset: part * self.width() })
    }

    /// The formula, and its steps to the bit.
    fn expected(&self) -> [Vec<f32>; 2] {
        let [q, k, v] = self.rows();
        let [keys, queries] = [0, 1].map(|side: usize| self.rows[side].as_deref());
        let rows = reference::RelativeRows { keys, queries, slots: &self.slots };
        let relative = self.relative.is_some().then_some(&rows);
        [reference::attention, reference::attention_stepwise]
            .map(|attend| attend(&q, &k, &v, &self.cu_seqlens, Queries::All, &self.shape, relative, self.bias.as_ref()))
    }

    fn attend(&self, kernels: &Kernels) -> Vec<f32> {
        let [q, k, v] = self.rows();
        let mut out = vec![f32::NAN; self.qkv.len() / 3];
        let by_distance = self.by_distance();
        kernels.attention(&q, &k, &v, &self.cu_seqlens, Queries::All, &self.shape, by_distance, &mut out).unwrap();
        out
    }

    /// The first tokens' rows only; their queries in a matrix of their own.
    fn attend_first(&self, kernels: &Kernels) -> Vec<f32> {
        let [q, k, v] = self.rows();
        let starts = &self.cu_seqlens[..self.cu_seqlens.len() - 1];
        let first: Vec<f32> =
            starts.iter().flat_map(|&at| &q.data[at as usize * q.stride..][..self.width()]).copied().collect();
        let q = Rows { data: &first, stride: self.width(), offset: 0 };
        let mut out = vec![f32::NAN; first.len()];
        let by_distance = self.by_distance();
        kernels.attention(&q, &k, &v, &self.cu_seqlens, Queries::First, &self.shape, by_distance, &mut out).unwrap();
        out
    }

    /// Every instruction set against the reference, stepwise to the bit; threads and neighbours change nothing; first tokens meet the rest.
    fn check(mut self, name: &str) {
        let [formula, steps] = self.expected();
        compare(name, &steps, &formula);
        for (isa, rounding) in all_ways() {
            self.shape.rounding = rounding;
            let name = format!("{name}, {} {rounding:?}", isa.name());
            let got = self.attend(&Kernels::with_isa(isa, 1));
            match rounding {
                Rounding::Stepwise => assert_same(&name, &got, &steps),
                Rounding::Fused => compare(&name, &got, &formula),
            }
            let first_rows = self.cu_seqlens[..self.cu_seqlens.len() - 1].iter();
            let first_rows: Vec<f32> =
                first_rows.flat_map(|&at| &got[at as usize * self.width()..][..self.width()]).copied().collect();
            assert!(self.attend_first(&Kernels::with_isa(isa, 2)) == first_rows, "{name}: first tokens");
            for threads in [2, 5] {
                assert!(self.attend(&Kernels::with_isa(isa, threads)) == got, "{name}: {threads} threads");
            }
        }
    }

    /// Only sequence `index`.
    fn alone(&self, index: usize) -> Case {
        let (start, end) = (self.cu_seqlens[index] as usize, self.cu_seqlens[index + 1] as usize);
        let row = 3 * self.width();
        Case {
            cu_seqlens: vec![0, (end - start) as u32],
            qkv: self.qkv[start * row..end * row].to_vec(),
            rows: self.rows.clone(),
            slots: self.slots.clone(),
            relative: self.relative.clone(),
            bias: self.bias.clone(),
            ..*self
        }
    }
}

/// Every instruction set, both ways.
fn all_ways() -> impl Iterator<Item = (Isa, Rounding)> {
    let roundings = [Rounding::Stepwise, Rounding::Fused];
    Isa::available().into_iter().flat_map(move |isa| roundings.map(|rounding| (isa, rounding)))
}

fn assert_same(name: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.to_bits(), expected.to_bits(), "{name}: {got} at {at}, not {expected}");
    }
}

fn compare(name: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= TOLERANCE, "{name}: {got} at {at}, not {expected}");
    }
}

fn buckets() -> SlotMap {
    SlotMap::new(16, 16, 64).unwrap()
}

#[test]
fn meets_the_reference_at_awkward_lengths() {
    for length in [1, 2, 3, 8, 9, 16, 17, 31, 64, 129] {
        for sides in [Sides::None, Sides::Keys, Sides::Queries, Sides::Both] {
            Case::new(&[length], 2, 16, sides, buckets()).check(&format!("{length} tokens, {sides:?}"));
        }
    }
}

#[test]
fn meets_the_reference_at_awkward_widths() {
    for head_dim in [1, 3, 8, 20, 32, 64] {
        for heads in [1, 3] {
            Case::new(&[19, 1, 34], heads, head_dim, Sides::Both, buckets()).check(&format!("{heads}×{head_dim}"));
        }
    }
}

#[test]
fn meets_the_reference_at_model_shapes() {
    let deberta = || SlotMap::new(256, 256, 512).unwrap();
    Case::new(&[300, 17], 2, 64, Sides::Both, deberta()).check("300 tokens");
    Case::new(&[513], 1, 64, Sides::Both, deberta()).check("513 tokens");
    Case::new(&[513, 128], 1, 32, Sides::None, deberta()).check("513 tokens, plain");
    Case::new(&[40; 5], 2, 64, Sides::Both, SlotMap::new(24, 0, 0).unwrap()).check("no buckets");
}

#[test]
fn meets_the_reference_in_windows() {
    for window in [0, 1, 5, 16, 40, 64, 1000, usize::MAX] {
        for length in [1, 16, 17, 33, 129, 300] {
            for sides in [Sides::None, Sides::Both] {
                let case = Case::new(&[length, 7], 2, 20, sides, buckets()).with(2, Some(window));
                case.check(&format!("{length} tokens in a window of {window}, {sides:?}"));
            }
        }
    }
    Case::new(&[600], 1, 16, Sides::None, buckets()).with(1, Some(64)).check("600 tokens, smaller blocks");
}

#[test]
fn meets_the_reference_with_fewer_key_heads() {
    for (heads, key_heads) in [(2, 1), (4, 2), (6, 2), (6, 3), (3, 3)] {
        for sides in [Sides::None, Sides::Both] {
            let case = Case::new(&[40, 1, 19], heads, 8, sides, buckets()).with(key_heads, None);
            case.check(&format!("{heads} heads on {key_heads}, {sides:?}"));
        }
    }
}

#[test]
fn meets_the_reference_with_a_bias() {
    for reach in [0, 1, 7, 16, 40, 127] {
        for length in [1, 17, 40, 150] {
            let case = || Case::new(&[length, 3], 2, 12, Sides::None, buckets()).with_bias(reach);
            case().check(&format!("{length} tokens, a bias of {reach}"));
            case().with(1, Some(20)).check(&format!("{length} tokens, a bias of {reach}, a window, one head of keys"));
        }
    }
}

/// Long enough for several blocks of queries, and for distances beyond every bucket. The reference would take long: the scalar code, held to it
/// above, stands in.
#[test]
fn instruction_sets_agree_on_long_sequences() {
    let mut case = Case::new(&[2048, 5], 1, 16, Sides::Both, SlotMap::new(256, 256, 512).unwrap());
    let expected = case.attend(&Kernels::with_isa(Isa::scalar(), 1));
    for (isa, rounding) in all_ways() {
        case.shape.rounding = rounding;
        let got = case.attend(&Kernels::with_isa(isa, 2));
        match rounding {
            Rounding::Stepwise => assert_same(isa.name(), &got, &expected),
            Rounding::Fused => compare(isa.name(), &got, &expected),
        }
    }
}

#[test]
fn neighbours_change_nothing() {
    let lengths = [5, 64, 1, 130, 17, 64];
    for sides in [Sides::None, Sides::Both] {
        let mut case = Case::new(&lengths, 2, 32, sides, buckets());
        for (isa, rounding) in all_ways() {
            case.shape.rounding = rounding;
            for threads in [1, 2] {
                let kernels = Kernels::with_isa(isa, threads);
                let (together, first) = (case.attend(&kernels), case.attend_first(&kernels));
                for index in 0..lengths.len() {
                    let alone = case.alone(index);
                    let start = case.cu_seqlens[index] as usize * case.width();
                    let got = alone.attend(&kernels);
                    assert!(got == together[start..start + got.len()], "{}: sequence {index}", isa.name());
                    let got = alone.attend_first(&kernels);
                    assert!(got == first[index * case.width()..][..case.width()], "{}: first of {index}", isa.name());
                }
            }
        }
    }
}

#[test]
fn what_is_not_a_number_stays_in_its_sequence() {
    let mut case = Case::new(&[20, 20], 2, 16, Sides::Both, buckets());
    let width = case.width();
    case.qkv[3 * width * 7 + 5] = f32::NAN;
    for isa in Isa::available() {
        let out = case.attend(&Kernels::with_isa(isa, 1));
        let (first, second) = out.split_at(20 * case.width());
        assert!(first[7 * case.width()].is_nan(), "{}", isa.name());
        assert!(second.iter().all(|x| x.is_finite()), "{}", isa.name());
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let mut case = Case::new(&[33], 1, 16, Sides::None, buckets());
    case.shape.scale = 1e4;
    for isa in Isa::available() {
        let out = case.attend(&Kernels::with_isa(isa, 1));
        assert!(out.iter().all(|x| x.abs() <= 1.001), "{}", isa.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn meets_the_reference(
        lengths in prop::collection::vec(1usize..70, 1..4),
        heads in 1usize..4,
        head_dim in 1usize..40,
        sides in prop::sample::select(vec![Sides::None, Sides::Keys, Sides::Queries, Sides::Both]),
        span in 1usize..40,
        buckets in prop::sample::select(vec![0i64, 8, 16, 40]),
    ) {
        let slots = SlotMap::new(span, buckets, 64).unwrap();
        let name = format!("{lengths:?}, {heads}×{head_dim}, {sides:?}, span {span}, {buckets} buckets");
        Case::new(&lengths, heads, head_dim, sides, slots).check(&name);
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let case = Case::new(&[3, 2], 2, 4, Sides::Both, buckets());
    let [q, k, v] = case.rows();
    let kernels = Kernels::new(1);
    let attend = |q: &Rows<'_>, v: &Rows<'_>, cu_seqlens: &[u32], queries, relative: &Relative, out: usize| {
        let mut out = vec![0.0; out];
        kernels.attention(q, &k, v, cu_seqlens, queries, &case.shape, ByDistance::Relative(relative), &mut out)
    };
    let fine = case.relative.clone().unwrap();
    let cu = &case.cu_seqlens[..];
    assert_eq!(attend(&q, &v, cu, Queries::All, &fine, 40), Ok(()));
    assert_eq!(attend(&q, &v, cu, Queries::First, &fine, 16), Ok(()));
    for out in [0, 39, 41, 16] {
        assert!(attend(&q, &v, cu, Queries::All, &fine, out).is_err(), "{out} outputs");
    }
    for cu in [&[][..], &[1, 5], &[0, 3, 3, 5], &[0, 3, 2], &[0, 6], &[0, u32::MAX]] {
        let tokens = cu.last().map_or(0, |&end| end as usize).min(6);
        assert!(attend(&q, &v, cu, Queries::All, &fine, tokens * 8).is_err(), "{cu:?}");
    }
    let beyond = Rows { offset: v.offset + 1, ..v };
    assert!(attend(&q, &beyond, cu, Queries::All, &fine, 40).is_err());
    let endless = Rows { stride: usize::MAX, ..q };
    assert!(attend(&endless, &v, cu, Queries::All, &fine, 40).is_err());
    for (heads, head_dim) in [(1, 4), (2, 3), (4, 2)] {
        let table = vec![0.0; 32 * heads * head_dim];
        let other = Relative::new(Some(&table), None, buckets(), heads, head_dim).unwrap();
        assert!(attend(&q, &v, cu, Queries::All, &other, 40).is_err(), "{heads}×{head_dim}");
    }
    for (heads, fits) in [(1, false), (2, true), (3, false)] {
        let bias = ScoreBias::new(heads, 0, &vec![0.0; heads]).unwrap();
        let (by_distance, mut out) = (ByDistance::Bias(&bias), [0.0; 40]);
        let result = kernels.attention(&q, &k, &v, cu, Queries::All, &case.shape, by_distance, &mut out);
        assert_eq!(result.is_ok(), fits, "a bias of {heads} heads");
    }
    assert!(Relative::new(Some(&[0.0; 255]), None, buckets(), 2, 4).is_err());
    assert!(Relative::new(None, Some(&[0.0; 257]), buckets(), 2, 4).is_err());
    assert!(Relative::new(None, None, buckets(), usize::MAX, 4).is_err());
    assert_eq!(attend(&q, &v, &[0], Queries::All, &fine, 0), Ok(()));
    for key_heads in [0, 3, 4] {
        let shape = AttentionShape { key_heads, ..case.shape };
        let mut out = [0.0; 40];
        assert!(
            kernels.attention(&q, &k, &v, cu, Queries::All, &shape, ByDistance::Nothing, &mut out).is_err(),
            "{key_heads}"
        );
    }
}
