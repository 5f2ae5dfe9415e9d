// What every matrix product shares: y = act(x · w + bias) + residual, for rows of x and four columns of w at a time.

struct Shape {
    /// Where rows of x and y end.
    rows: u32,
    /// Columns of x, rows of w.
    k: u32,
    /// Columns of w, in fours; what is beyond the last true one is zero in w, bias and scales.
    columns4: u32,
    /// How much of k a workgroup sums over; all of it unless SPLIT. A multiple of 16.
    k_share: u32,
    /// Between rows of x, and where the first starts: in fours, or for 8 bits in words of four.
    x_stride: u32,
    x_offset: u32,
    /// Between rows of y, and where column 0 of the first is: in fours.
    y_stride: u32,
    y_offset: u32,
    /// Between rows of the residual, and where the first starts: in fours.
    residual_stride: u32,
    residual_offset: u32,
    /// How many shares of k there are.
    shares: u32,
    /// The row that the first workgroups start at.
    first_row: u32,
}

/// Whether sums over a share of k are written down for gemm_reduce to add up and finish.
override SPLIT: bool = false;
/// Whether k is no multiple of four, so that the last four of a row of x hold others than its own.
override K_TAIL: bool = false;

@group(0) @binding(0) var<uniform> shape: Shape;

/// The k that a workgroup starts at, and the one that it ends before.
fn share_of(share: u32) -> vec2<u32> {
    let first = share * shape.k_share;
    return vec2(min(first, shape.k), min(first + shape.k_share, shape.k));
}

/// Four of a row of x from k on, without what is not of this row.
fn masked(value: vec4<f32>, k: u32) -> vec4<f32> {
    if K_TAIL {
        return select(vec4(0.0), value, vec4(k) + vec4(0u, 1u, 2u, 3u) < vec4(shape.k));
    }
    return value;
}
