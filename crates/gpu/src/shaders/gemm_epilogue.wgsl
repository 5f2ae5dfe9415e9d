// What follows a sum of products: bias, activation, residual.

/// Whether the residual is added.
override RESIDUAL: bool = false;

/// Two rows: the bias of each column, then its scale (8 bits only).
@group(0) @binding(3) var<storage, read> columns: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
/// Bits of f32; of sums as they are if SPLIT.
@group(0) @binding(5) var<storage, read_write> y: array<vec4<u32>>;

/// Writes the products of a row with four columns, complete but for the bias.
fn finish(row: u32, column4: u32, product: vec4<f32>) {
    var value = activate(product + columns[column4]);
    if RESIDUAL {
        value += residual[shape.residual_offset + row * shape.residual_stride + column4];
    }
    y[shape.y_offset + row * shape.y_stride + column4] = bitcast<vec4<u32>>(value);
}

/// Writes down a sum over a share of k: [share, row, columns4].
fn keep_share(share: u32, row: u32, column4: u32, bits: vec4<u32>) {
    y[(share * shape.rows + row) * shape.columns4 + column4] = bits;
}
