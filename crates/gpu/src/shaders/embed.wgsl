// The embedding of each token: the row of its word, as the model's file has it, plus the row of its position, plus a row that is the
// same for all; then, where there is one, a layer norm, (x - mean) / sqrt(variance + epsilon) · gamma + beta. A workgroup takes a token.

/// How words are stored: 0 in f32, 1 in f16, 2 in 8 bits with a factor for each row.
override FORM: u32 = 0u;
override POSITIONS: u32 = 0u;
override CONSTANT: u32 = 0u;
/// Whether there is a norm.
override NORMED: bool = true;
/// Whether the norm subtracts the mean; if not, it counts as 0.
override CENTRED: bool = true;

struct Shape {
    tokens: u32,
    columns: u32,
    /// Words of 32 bits from one row of words to the next.
    row_words: u32,
    /// Numbers from one row of y to the next.
    stride: u32,
    /// Rows of the table of positions, at least one.
    positions: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
/// The rows of the tokens' words, [tokens, row_words].
@group(0) @binding(1) var<storage, read> words: array<u32>;
/// Of rows in 8 bits, [tokens].
@group(0) @binding(2) var<storage, read> scales: array<f32>;
/// Which position each token has, [tokens].
@group(0) @binding(3) var<storage, read> places: array<u32>;
/// [positions, columns].
@group(0) @binding(4) var<storage, read> table: array<f32>;
/// Gamma, beta, then the row that is the same for all: [3, columns].
@group(0) @binding(5) var<storage, read> parameters: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    // Were there a workgroup too many, it would write what another writes as well.
    let token = min(workgroup.x, shape.tokens - 1u);
    let first = token * shape.stride;
    let columns = shape.columns;
    var part = 0.0;
    // Each invocation reads again only what it wrote itself.
    for (var column = thread; column < columns; column += 64u) {
        var x = word(token, column);
        if POSITIONS != 0u {
            x += table[min(places[token], shape.positions - 1u) * columns + column];
        }
        if CONSTANT != 0u {
            x += parameters[2u * columns + column];
        }
        y[first + column] = x;
        part += x;
    }
    if NORMED {
        normalise(first, part, thread);
    }
}

/// The row from `first` on, of which an invocation adds up to `part`.
fn normalise(first: u32, part: f32, thread: u32) {
    let columns = shape.columns;
    var mean = 0.0;
    if CENTRED {
        mean = sum_of(part, thread) / f32(columns);
    }
    var squares = 0.0;
    for (var column = thread; column < columns; column += 64u) {
        let distance = y[first + column] - mean;
        squares += distance * distance;
    }
    let factor = inverseSqrt(sum_of(squares, thread) / f32(columns) + shape.epsilon);
    for (var column = thread; column < columns; column += 64u) {
        y[first + column] = (y[first + column] - mean) * factor * parameters[column] + parameters[columns + column];
    }
}

/// A number of the row of a token's word.
fn word(token: u32, column: u32) -> f32 {
    let row = token * shape.row_words;
    if FORM == 0u {
        return bitcast<f32>(words[row + column]);
    }
    if FORM == 1u {
        let pair = unpack2x16float(words[row + column / 2u]);
        return select(pair.x, pair.y, column % 2u == 1u);
    }
    let four = bitcast<i32>(words[row + column / 4u]);
    return f32(extractBits(four, 8u * (column % 4u), 8u)) * scales[token];
}
