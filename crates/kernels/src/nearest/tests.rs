//! Every instruction set against the reference.

use super::dots::Dots;
use super::scan::COLUMNS_MAX;
use super::{ByteRows, round_to_bytes};
use crate::{Isa, Kernels, reference};
use proptest::prelude::*;

/// Numbers that are no pattern of any lane's width.
fn bytes(count: usize, seed: usize) -> Vec<i8> {
    (0..count).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9) >> 7) as u8 as i8).collect()
}

fn scales(rows: usize) -> Vec<f32> {
    (0..rows).map(|row| 0.001 + (row * 31 % 17) as f32 * 0.0003).collect()
}

#[test]
fn all_pairs_of_bytes_multiply_exactly() {
    let all: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    for isa in Isa::available() {
        // A product of its own, one of a full register, and one of what is left over.
        for (columns, place) in [(1, 0), (64, 37), (71, 70)] {
            let mut rows = vec![0; all.len() * columns];
            rows.chunks_exact_mut(columns).zip(&all).for_each(|(row, &x)| row[place] = x);
            for &q in &all {
                let mut query = vec![0; columns];
                query[place] = q;
                let mut sums = vec![i32::MAX; all.len()];
                Dots::new(isa, &query).of_rows(&rows, &mut sums);
                for (&x, sum) in all.iter().zip(sums) {
                    assert_eq!(sum, i32::from(q) * i32::from(x), "{}: {q} · {x} of {columns}", isa.name());
                }
            }
        }
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    let pairs = [(i8::MIN, i8::MIN), (i8::MIN, i8::MAX), (i8::MAX, i8::MIN), (i8::MAX, i8::MAX)];
    for isa in Isa::available() {
        for (q, x) in pairs {
            let (query, row) = (vec![q; COLUMNS_MAX], vec![x; COLUMNS_MAX]);
            let mut sum = [0];
            Dots::new(isa, &query).of_rows(&row, &mut sum);
            assert_eq!(i64::from(sum[0]), COLUMNS_MAX as i64 * i64::from(q) * i64::from(x), "{}", isa.name());
        }
    }
}

#[test]
fn meets_the_reference() {
    for (rows, columns) in [(1, 1), (3, 7), (5, 16), (63, 33), (130, 65), (700, 384), (9, 1000)] {
        let (values, scales) = (bytes(rows * columns, 1), scales(rows));
        let table = ByteRows { values: &values, scales: &scales, columns };
        let query = bytes(columns, 77);
        for (count, minimum) in [(0, None), (1, None), (5, Some(0.0)), (100, None), (usize::MAX, Some(-1.0))] {
            let expected = reference::nearest_rows((&query, 0.01), table, count, minimum);
            for isa in Isa::available() {
                for threads in [1, 3] {
                    let kernels = Kernels::with_isa(isa, threads);
                    let found = kernels.nearest_rows((&query, 0.01), table, count, minimum).unwrap();
                    assert_eq!(found, expected, "{}: {rows} rows of {columns}, {count}", isa.name());
                }
            }
        }
    }
}

/// The first of equal rows, over all tasks of all threads.
#[test]
fn equal_rows_come_in_order() {
    let (rows, columns) = (9000, 48);
    let row = bytes(columns, 3);
    let values: Vec<i8> = row.iter().copied().cycle().take(rows * columns).collect();
    let table = ByteRows { values: &values, scales: &vec![0.5; rows], columns };
    for threads in [1, 4] {
        let found = Kernels::new(threads).nearest_rows((&row, 0.5), table, 100, None).unwrap();
        assert_eq!(found.iter().map(|near| near.row).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_no_number_is_never_found() {
    let values = [1i8; 12];
    let table = ByteRows { values: &values, scales: &[1.0, f32::NAN, 0.5, f32::NAN], columns: 3 };
    for count in 1..6 {
        let found = Kernels::new(1).nearest_rows((&[1; 3], 1.0), table, count, None).unwrap();
        let rows: Vec<usize> = found.iter().map(|near| near.row).collect();
        assert_eq!(rows, [0, 2][..count.min(2)]);
    }
    assert!(Kernels::new(1).nearest_rows((&[1; 3], f32::NAN), table, 4, None).unwrap().is_empty());
}

#[test]
fn vectors_are_rounded_to_the_nearest_of_255_steps() {
    let mut out = [0; 4];
    assert_eq!(round_to_bytes(&[1.27, -0.635, 0.004, 0.0], &mut out), Some(1.27 / 127.0));
    assert_eq!(out[..], [127, -64, 0, 0]);
    assert_eq!(round_to_bytes(&[-2.0, 2.0, 0.0, 1.0], &mut out), Some(2.0 / 127.0));
    assert_eq!(out[..], [-127, 127, 0, 64]);
    assert_eq!(round_to_bytes(&[0.0; 4], &mut out), Some(0.0));
    assert_eq!(round_to_bytes(&[1e-40, 0.0, 0.0, 0.0], &mut out), Some(0.0));
    assert_eq!(out, [0; 4]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(round_to_bytes(&[1.0, bad, 0.0, 0.0], &mut out), None);
    }
    assert_eq!(round_to_bytes(&[1.0], &mut out), None);
    let mut one = [0];
    assert!(round_to_bytes(&[f32::MAX], &mut one).is_some_and(f32::is_finite) && one == [127]);
}

#[test]
fn refuses_slices_of_other_lengths() {
    let nearest = |query: usize, values: usize, scales: usize, columns: usize| {
        let (values, scales) = (vec![1; values], vec![1.0; scales]);
        let table = ByteRows { values: &values, scales: &scales, columns };
        Kernels::new(1).nearest_rows((&vec![1; query], 1.0), table, 2, None).is_ok()
    };
    assert!(nearest(3, 6, 2, 3) && nearest(3, 0, 0, 3));
    assert!(!nearest(2, 6, 2, 3) && !nearest(3, 5, 2, 3) && !nearest(3, 6, 1, 3) && !nearest(0, 0, 0, 0));
    assert!(!nearest(COLUMNS_MAX + 1, 0, 0, COLUMNS_MAX + 1));
}

proptest! {
    #[test]
    fn any_table_meets_the_reference(
        columns in 1usize..100, rows in 0usize..300, count in 0usize..20, seed in any::<u16>(), minimum in prop::option::of(-1f32..1.0),
    ) {
        // Few different rows, so that there are ties.
        let values: Vec<i8> = (0..rows).flat_map(|row| bytes(columns, usize::from(seed) + row % 7)).collect();
        let scales: Vec<f32> = (0..rows).map(|row| 0.001 * (row % 3) as f32).collect();
        let table = ByteRows { values: &values, scales: &scales, columns };
        let query = bytes(columns, usize::from(seed) * 3);
        let expected = reference::nearest_rows((&query, 0.02), table, count, minimum);
        for isa in Isa::available() {
            let found = Kernels::with_isa(isa, 2).nearest_rows((&query, 0.02), table, count, minimum).unwrap();
            prop_assert_eq!(&found, &expected, "{}", isa.name());
        }
    }

    /// The best five begin the best hundred.
    #[test]
    fn fewer_begin_more(rows in 1usize..400, few in 0usize..20, more in 0usize..200, seed in any::<u16>()) {
        let values: Vec<i8> = (0..rows).flat_map(|row| bytes(24, usize::from(seed) + row % 11)).collect();
        let table = ByteRows { values: &values, scales: &vec![0.01; rows], columns: 24 };
        let query = bytes(24, usize::from(seed) / 2);
        let nearest = |count| Kernels::new(1).nearest_rows((&query, 0.01), table, count, None).unwrap();
        let (a, b) = (nearest(few), nearest(few + more));
        prop_assert_eq!(&a[..], &b[..a.len()]);
        prop_assert_eq!(a.len(), few.min(rows));
    }
}
