use super::*;
use crate::{Isa, Rounding, reference};
use proptest::prelude::*;

/// As for attention over packed sequences: f32 sums in another order than the reference's f64.
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

/// Sequences of some lengths, each with its own pages, out of order.
#[derive(Debug)]
struct Case {
    lengths: Vec<usize>,
    shape: AttentionShape,
    bias: Option<ScoreBias>,
    /// Rows of q, k and v side by side, a row a token.
    qkv: Vec<f32>,
    pages: Vec<Vec<u32>>,
    pool_len: usize,
}

impl Case {
    /// Rounded stepwise.
    fn new(lengths: &[usize], heads: [usize; 2], head_dim: usize) -> Self {
        let [heads, key_heads] = heads;
        let scale = 2.0 / (head_dim as f32).sqrt();
        let shape = AttentionShape { key_heads, ..AttentionShape::new(heads, head_dim, scale, Rounding::Stepwise) };
        let pages_of = |length: &usize| length.div_ceil(PAGE_TOKENS);
        let total: usize = lengths.iter().map(pages_of).sum::<usize>() + 1;
        // From the last page down, in turns, so that no sequence has neighbouring ones.
        let mut pages = vec![Vec::new(); lengths.len()];
        let mut free = (0..total as u32).rev();
        for round in 0..total {
            for (pages, length) in pages.iter_mut().zip(lengths) {
                if round < pages_of(length) {
                    pages.extend(free.next());
                }
            }
        }
        let width = (heads + 2 * key_heads) * head_dim;
        let qkv = numbers(lengths.iter().sum::<usize>() * width, 1);
        Self { lengths: lengths.to_vec(), shape, bias: None, qkv, pages, pool_len: total * page_len(&shape) }
    }

    fn with_window(mut self, window: usize) -> Self {
        self.shape.window = Some(window);
        self
    }

    fn with_bias(mut self, reach: usize) -> Self {
        let values = numbers(self.shape.heads * (2 * reach + 1), 7);
        self.bias = Some(ScoreBias::new(self.shape.heads, reach, &values).unwrap());
        self
    }

    fn width(&self) -> usize {
        self.shape.heads * self.shape.head_dim
    }

    /// q, k and v by tokens.
    fn rows(&self) -> [Rows<'_>; 3] {
        let (width, key_width) = (self.width(), self.shape.key_heads * self.shape.head_dim);
        let stride = width + 2 * key_width;
        [0, width, width + key_width].map(|offset| Rows { data: &self.qkv, stride, offset })
    }

    /// Some tokens of each sequence, and the first of their rows.
    fn pieces(&self, tokens: impl Fn(usize) -> Range<usize>) -> Vec<PagedSequence<'_>> {
        let mut start = 0;
        let mut sequences = Vec::new();
        for (length, pages) in self.lengths.iter().zip(&self.pages) {
            let tokens = tokens(*length);
            let queries = start + tokens.start..start + tokens.end;
            sequences.push(PagedSequence { queries, kept: tokens.start, pages });
            start += length;
        }
        sequences
    }

    /// A pool of what is no number, so that whatever is read without having been written shows.
    fn pool(&self) -> Vec<f32> {
        vec![f32::NAN; self.pool_len]
    }

    fn keep(&self, kernels: &Kernels, sequences: &[PagedSequence<'_>], pool: &mut [f32]) {
        let [_, k, v] = self.rows();
        kernels.keep(&k, &v, sequences, &self.shape, pool).unwrap();
    }

    fn attend(&self, kernels: &Kernels, sequences: &[PagedSequence<'_>], seen: Seen, pool: &[f32], out: &mut [f32]) {
        let [q, ..] = self.rows();
        kernels.attend_pages(&q, pool, sequences, seen, &self.shape, self.bias.as_ref(), out).unwrap();
    }

    fn empty(&self) -> Vec<f32> {
        vec![0.0; self.lengths.iter().sum::<usize>() * self.width()]
    }

    /// All tokens at once.
    fn at_once(&self, kernels: &Kernels) -> Vec<f32> {
        let (mut pool, mut out) = (self.pool(), self.empty());
        let all = self.pieces(|length| 0..length);
        self.keep(kernels, &all, &mut pool);
        self.attend(kernels, &all, Seen::Earlier, &pool, &mut out);
        out
    }

    /// Some tokens at a time, of all sequences together.
    fn in_pieces(&self, kernels: &Kernels, piece: usize) -> Vec<f32> {
        let (mut pool, mut out) = (self.pool(), self.empty());
        let longest = self.lengths.iter().max().copied().unwrap_or(0);
        for start in (0..longest).step_by(piece) {
            let tokens = self.pieces(|length| start.min(length)..(start + piece).min(length));
            self.keep(kernels, &tokens, &mut pool);
            self.attend(kernels, &tokens, Seen::Earlier, &pool, &mut out);
        }
        out
    }

    /// Every instruction set against the reference, stepwise to the bit; pieces, threads and neighbours change nothing.
    fn check(mut self, pieces: &[usize]) {
        let name = format!("{:?}, {:?}", self.lengths, self.shape);
        let [q, k, v] = self.rows();
        let all = self.pieces(|length| 0..length);
        let mut pool = self.pool();
        reference::keep(&k, &v, &all, &self.shape, &mut pool);
        let bias = self.bias.as_ref();
        let formula = reference::attend_pages(&q, &pool, &all, Seen::Earlier, &self.shape, bias);
        let steps = reference::attend_pages_stepwise(&q, &pool, &all, Seen::Earlier, &self.shape, bias);
        compare(&name, &steps, &formula);
        for isa in Isa::available() {
            for rounding in [Rounding::Stepwise, Rounding::Fused] {
                self.shape.rounding = rounding;
                let name = format!("{name}, {}", isa.name());
                let got = self.at_once(&Kernels::with_isa(isa, 1));
                match rounding {
                    Rounding::Stepwise => assert_same(&name, &got, &steps),
                    Rounding::Fused => compare(&name, &got, &formula),
                }
                assert_same(&name, &self.at_once(&Kernels::with_isa(isa, 3)), &got);
                for &piece in pieces {
                    let name = format!("{name}, in pieces of {piece}");
                    assert_same(&name, &self.in_pieces(&Kernels::with_isa(isa, 1 + piece % 2), piece), &got);
                }
            }
        }
    }
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

#[test]
fn meets_the_reference_at_the_edges_of_pages() {
    for length in [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97] {
        Case::new(&[length], [2, 2], 16).check(&[1, 2, 7, 32]);
    }
}

#[test]
fn meets_the_reference_at_awkward_widths() {
    for head_dim in [1, 3, 8, 20, 32, 64, 80, 128] {
        Case::new(&[19, 40], [2, 1], head_dim).check(&[1, 5]);
    }
}

#[test]
fn meets_the_reference_with_fewer_key_heads() {
    for heads in [[4, 1], [4, 2], [6, 2], [9, 3], [3, 3]] {
        Case::new(&[40, 1, 70], heads, 8).with_bias(4).check(&[1, 3, 33]);
    }
}

#[test]
fn meets_the_reference_in_windows() {
    for window in [1, 2, 15, 16, 31, 32, 33, 64, 1000, usize::MAX] {
        Case::new(&[100, 34], [2, 1], 16).with_window(window).check(&[1, 6, 32]);
        Case::new(&[100], [2, 2], 12).with_window(window).with_bias(20).check(&[1, 50]);
    }
}

#[test]
fn meets_the_reference_with_a_bias() {
    for reach in [0, 1, 5, 16, 31, 32, 127] {
        Case::new(&[7, 90], [3, 3], 8).with_bias(reach).check(&[1, 8, 31]);
    }
}

#[test]
fn long_prompts_are_the_same_in_pieces() {
    let case = Case::new(&[700, 300], [2, 1], 16);
    let kernels = Kernels::new(2);
    let expected = case.at_once(&kernels);
    for piece in [1, 64, 129] {
        assert_same(&format!("in pieces of {piece}"), &case.in_pieces(&kernels, piece), &expected);
    }
}

#[test]
fn all_kept_keys_are_seen() {
    for (heads, lengths) in [([2, 2], vec![1, 33, 64]), ([4, 2], vec![40, 5])] {
        let case = Case::new(&lengths, heads, 12);
        let [q, k, v] = case.rows();
        let all = case.pieces(|length| 0..length);
        let mut pool = case.pool();
        reference::keep(&k, &v, &all, &case.shape, &mut pool);
        // Two queries of each sequence at most.
        let asking: Vec<_> = all
            .iter()
            .map(|all| PagedSequence { queries: all.queries.start..all.queries.end.min(all.queries.start + 2), ..*all })
            .zip(&lengths)
            .map(|(sequence, &kept)| PagedSequence { kept, ..sequence })
            .collect();
        let rows = asking.last().map_or(0, |last| last.queries.end);
        let formula = reference::attend_pages(&q, &pool, &asking, Seen::Kept, &case.shape, None);
        let steps = reference::attend_pages_stepwise(&q, &pool, &asking, Seen::Kept, &case.shape, None);
        compare("kept", &steps, &formula);
        for isa in Isa::available() {
            for rounding in [Rounding::Stepwise, Rounding::Fused] {
                for threads in [1, 2] {
                    let shape = AttentionShape { rounding, ..case.shape };
                    let (kernels, mut out) = (Kernels::with_isa(isa, threads), vec![0.0; rows * case.width()]);
                    kernels.attend_pages(&q, &pool, &asking, Seen::Kept, &shape, None, &mut out).unwrap();
                    match rounding {
                        Rounding::Stepwise => assert_same(isa.name(), &out, &steps),
                        Rounding::Fused => compare(isa.name(), &out, &formula),
                    }
                }
            }
        }
    }
}

/// What a beam that splits reads out of its own copy are the bits of the page that it was copied from, however full.
#[test]
fn a_copied_page_holds_its_tokens() {
    for (head_dim, tokens) in [(5, 1), (16, 16), (24, 17), (64, 32), (12, 0)] {
        let case = Case::new(&[tokens.max(1)], [2, 2], head_dim);
        let (kernels, [q, ..]) = (Kernels::new(2), case.rows());
        let mut pool = vec![f32::NAN; 4 * page_len(&case.shape)];
        case.keep(&kernels, &case.pieces(|length| 0..length), &mut pool);
        let from = case.pages[0][0] as usize;
        let before = pool.clone();
        kernels.copy_pages(&[PageCopy { from, to: 3, tokens }], &case.shape, &mut pool).unwrap();
        let (rest, _) = pool.split_at(3 * page_len(&case.shape));
        assert!(rest.iter().zip(&before).all(|(a, b)| a.to_bits() == b.to_bits()), "other pages stay");
        if tokens == 0 {
            continue;
        }
        let read = |page: u32| {
            let mut out = vec![0.0; case.width()];
            let seen = [PagedSequence { queries: 0..1, kept: tokens, pages: &[page] }];
            kernels.attend_pages(&q, &pool, &seen, Seen::Kept, &case.shape, None, &mut out).unwrap();
            out
        };
        assert_same("a copy", &read(3), &read(from as u32));
        for refused in [PageCopy { from: 0, to: 4, tokens }, PageCopy { from: 0, to: 1, tokens: PAGE_TOKENS + 1 }] {
            assert!(kernels.copy_pages(&[refused], &case.shape, &mut pool).is_err(), "{refused:?}");
        }
    }
}

/// Beams of a source see the same pages: together they get the bits that each gets alone.
#[test]
fn sequences_that_share_what_is_kept_do_not_change_each_other() {
    let case = Case::new(&[70, 33], [4, 2], 24);
    let mut pool = case.pool();
    case.keep(&Kernels::new(1), &case.pieces(|length| 0..length), &mut pool);
    let [q, ..] = case.rows();
    let [long, short] = [&case.pages[0], &case.pages[1]];
    // Five beams of one source, one of whose neighbours sees less of it; a gap; beams of another source, of several tokens each.
    let kept = [(0..1, 70, long), (1..2, 70, long), (2..3, 64, long), (3..4, 70, long), (4..7, 70, long)];
    let kept = kept.into_iter().chain([(9..10, 70, long), (10..12, 33, short), (12..13, 33, short)]);
    let all: Vec<PagedSequence<'_>> =
        kept.map(|(queries, kept, pages)| PagedSequence { queries, kept, pages }).collect();
    for isa in Isa::available() {
        for threads in [1, 2] {
            let kernels = Kernels::with_isa(isa, threads);
            let attend = |sequences: &[PagedSequence<'_>], out: &mut [f32]| {
                kernels.attend_pages(&q, &pool, sequences, Seen::Kept, &case.shape, None, out).unwrap();
            };
            let (mut together, mut alone) = (vec![7.0; 13 * case.width()], vec![7.0; 13 * case.width()]);
            attend(&all, &mut together);
            all.iter().for_each(|one| attend(std::slice::from_ref(one), &mut alone));
            assert_same(isa.name(), &together, &alone);
            assert!(together[7 * case.width()..9 * case.width()].iter().all(|&number| number == 7.0), "the gap stays");
        }
    }
}

#[test]
fn keys_that_are_no_numbers_do_not_reach_earlier_queries() {
    let mut case = Case::new(&[40], [2, 2], 16);
    let expected = case.at_once(&Kernels::new(1));
    let width = case.width();
    case.qkv[3 * width * 35 + width..3 * width * 36].fill(f32::NAN);
    for isa in Isa::available() {
        let got = case.at_once(&Kernels::with_isa(isa, 1));
        let (before, after) = got.split_at(35 * case.width());
        assert_same(isa.name(), before, &expected[..before.len()]);
        assert!(after.iter().all(|x| x.is_nan()), "{}", isa.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn meets_the_reference(
        lengths in prop::collection::vec(1usize..100, 1..4),
        key_heads in 1usize..3,
        group in 1usize..4,
        head_dim in 1usize..40,
        window in prop::option::of(1usize..90),
        reach in prop::option::of(0usize..50),
        piece in 1usize..70,
    ) {
        let mut case = Case::new(&lengths, [key_heads * group, key_heads], head_dim);
        case.shape.window = window;
        if let Some(reach) = reach {
            case = case.with_bias(reach);
        }
        case.check(&[piece, 1]);
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let case = Case::new(&[40, 3], [2, 1], 4);
    let [q, k, v] = case.rows();
    let kernels = Kernels::new(1);
    let fine = case.pieces(|length| 0..length);
    let keep = |sequences: &[PagedSequence<'_>], k: &Rows<'_>, shape: &AttentionShape, pool: usize| {
        kernels.keep(k, &v, sequences, shape, &mut vec![0.0; pool])
    };
    let attend =
        |sequences: &[PagedSequence<'_>], seen, shape: &AttentionShape, bias: Option<&ScoreBias>, out: usize| {
            let pool = vec![0.0; case.pool_len];
            kernels.attend_pages(&q, &pool, sequences, seen, shape, bias, &mut vec![0.0; out])
        };
    let (shape, pool, out) = (&case.shape, case.pool_len, 43 * 8);
    assert_eq!(keep(&fine, &k, shape, pool), Ok(()));
    assert_eq!(attend(&fine, Seen::Earlier, shape, None, out), Ok(()));
    assert_eq!(attend(&[], Seen::Earlier, shape, None, 0), Ok(()));
    assert!(attend(&fine, Seen::Earlier, shape, None, out - 1).is_err());
    assert!(keep(&fine, &Rows { stride: usize::MAX, ..k }, shape, pool).is_err());
    assert!(keep(&fine, &Rows { data: &k.data[1..], ..k }, shape, pool).is_ok());
    assert!(keep(&fine, &Rows { data: &k.data[9..], ..k }, shape, pool).is_err());
    let sequence = |queries, kept, pages| PagedSequence { queries, kept, pages };
    let wrong: [&[PagedSequence<'_>]; 6] = [
        &[sequence(0..1, 64, &[0, 1])],
        &[sequence(0..1, 0, &[])],
        &[sequence(0..1, 0, &[4])],
        &[sequence(0..1, usize::MAX, &[0])],
        &[sequence(0..2, 0, &[0]), sequence(1..3, 0, &[1])],
        &[sequence(0..44, 0, &[0, 1])],
    ];
    for sequences in wrong {
        assert!(keep(sequences, &k, shape, pool).is_err(), "{sequences:?}");
        assert!(attend(sequences, Seen::Earlier, shape, None, 50 * 8).is_err(), "{sequences:?}");
    }
    assert!(keep(&fine, &k, shape, pool - 1).is_err());
    assert!(attend(&[sequence(0..1, 0, &[0])], Seen::Kept, shape, None, out).is_err());
    assert!(attend(&[sequence(0..1, 65, &[0, 1])], Seen::Kept, shape, None, out).is_err());
    let bias = |heads| ScoreBias::new(heads, 0, &vec![0.0; heads]).unwrap();
    assert!(attend(&fine, Seen::Earlier, shape, Some(&bias(2)), out).is_ok());
    assert!(attend(&fine, Seen::Earlier, shape, Some(&bias(1)), out).is_err());
    let kept = [sequence(0..1, 40, &case.pages[0])];
    assert!(attend(&kept, Seen::Kept, shape, None, out).is_ok());
    assert!(attend(&kept, Seen::Kept, shape, Some(&bias(2)), out).is_err());
    let windowed = |window| AttentionShape { window: Some(window), ..*shape };
    assert!(attend(&kept, Seen::Kept, &windowed(3), None, out).is_err());
    assert!(attend(&fine, Seen::Earlier, &windowed(0), None, out).is_err());
    for (heads, key_heads, head_dim) in [(2, 0, 4), (3, 2, 4), (2, 1, usize::MAX), (usize::MAX, 1, 4)] {
        let shape = AttentionShape { heads, key_heads, head_dim, ..*shape };
        assert!(keep(&fine, &k, &shape, pool).is_err(), "{shape:?}");
        assert!(attend(&fine, Seen::Earlier, &shape, None, out).is_err(), "{shape:?}");
    }
    let nothing = AttentionShape { head_dim: 0, ..*shape };
    assert_eq!(keep(&fine, &k, &nothing, 0), Ok(()));
    assert_eq!(attend(&fine, Seen::Earlier, &nothing, None, 0), Ok(()));
}
