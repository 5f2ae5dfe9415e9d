//! Rows in 8 bits against `grice_kernels::reference::quantize_row`.

use super::device;
use crate::gemm::shaders::QUANTIZE_ROWS;
use crate::recording::{Arena, Buffer, Dispatch, Label, PipelineKey};
use crate::tune::stand::Stand;
use grice_kernels::reference::quantize_row;
use grice_model::Slot;

const X: Buffer = Buffer::Arena(Arena::Slot(Slot::Hidden));
const QUANTIZED: Buffer = Buffer::Arena(Arena::Quantized);
const SCALES: Buffer = Buffer::Arena(Arena::Scales);

/// Rows of `k` numbers. A factor that a device divides inexactly may take a number that lies between two integers to either of them; no
/// other number may differ, and no scale by more than that.
fn check(rows: &[Vec<f32>]) {
    let Some(gpu) = device::gpu("quantize_rows") else { return };
    let k = rows[0].len();
    let (stride, words) = (k.next_multiple_of(4) + 4, k.next_multiple_of(16) / 4);
    let mut x = vec![f32::NAN; 4 + rows.len() * stride];
    for (row, numbers) in rows.iter().enumerate() {
        x[4 + row * stride..][..k].copy_from_slice(numbers);
    }
    let mut stand = Stand::new(&gpu);
    stand.put(X, 0, bytemuck::cast_slice(&x)).unwrap();
    stand.put(QUANTIZED, 0, &vec![0xff; rows.len() * words * 4]).unwrap();
    stand.put(SCALES, 4 * rows.len() as u64, &[]).unwrap();
    let mut uniforms = [rows.len(), k, 0, 0, stride / 4, 1, words].map(|number| number as u32).to_vec();
    uniforms.extend([0; 5]);
    let constants = vec![("K_TAIL", u32::from(!k.is_multiple_of(4)))];
    let dispatch = Dispatch {
        label: Label { layer: None, op: "a test", operations: 0 },
        pipeline: PipelineKey { shader: &QUANTIZE_ROWS, constants },
        buffers: vec![X, QUANTIZED, SCALES],
        workgroups: [rows.len() as u32, 1, 1],
        uniforms,
    };
    stand.run(&[dispatch], 1).unwrap();
    let (bytes, scales) = (stand.read(QUANTIZED).unwrap(), stand.read(SCALES).unwrap());
    for (row, numbers) in rows.iter().enumerate() {
        let (expected, scale) = quantize_row(numbers);
        let found = f32::from_le_bytes(scales[4 * row..][..4].try_into().unwrap());
        let same = (found - scale).abs() <= 4e-7 * scale || (found.is_nan() && scale.is_nan());
        assert!(same, "row {row}: the scale is {found}, expected {scale}");
        let found = &bytes[row * words * 4..][..words * 4];
        for (column, &expected) in expected.iter().enumerate() {
            let found = found[column] as i8;
            let exact = numbers[column] / scale;
            let between = ((exact - exact.floor()) - 0.5).abs() < 1e-4 && (found - expected).abs() <= 1;
            assert!(found == expected || between, "({row}, {column}): {exact} becomes {found}, expected {expected}");
        }
        assert!(found[k..].iter().all(|&byte| byte == 0), "row {row}: the padding is {:?}", &found[k..]);
    }
}

fn row(k: usize, scale: f32, seed: usize) -> Vec<f32> {
    (0..k).map(|index| ((index * 7919 + seed * 31) % 2003) as f32 / 1001.0 * scale - scale).collect()
}

#[test]
fn rows_of_any_length() {
    for k in [1, 3, 4, 16, 70, 257, 1000] {
        check(&[row(k, 1.0, 1), row(k, 1e-6, 2), row(k, 1e6, 3)]);
    }
}

#[test]
fn halves_go_to_the_even_integer() {
    check(&[(0..128).map(|index| index as f32 - 0.5).chain([127.0]).collect()]);
    check(&[(0..128).map(|index| 0.5 - index as f32).chain([127.0]).collect()]);
}

#[test]
fn rows_without_a_scale_touch_no_other() {
    let mut rows = vec![vec![0.0; 21], row(21, 1.0, 5), vec![1e-38; 21], row(21, 1.0, 6), row(21, 2.0, 7)];
    rows[1][20] = f32::NAN;
    rows[3][4] = f32::NEG_INFINITY;
    check(&rows);
}
