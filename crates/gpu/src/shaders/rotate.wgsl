// Rotary positions: of each head the first columns turn, in pairs of one in their first half and one in their second, by an angle
// of the token's place in its sequence. A workgroup takes a head of up to 32 tokens.

struct Shape {
    head_dim: u32,
    /// Pairs that turn.
    pairs: u32,
    /// Between rows, and where the first starts.
    stride: u32,
    offset: u32,
    /// Rows of the table, at least one.
    positions: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
/// First token of the sequence, its length, first token of the block in it, row of the sequence's first token.
@group(0) @binding(2) var<storage, read> blocks: array<vec4<u32>>;
/// Of each position the cosines, then the sines: [positions, 2, pairs].
@group(0) @binding(3) var<storage, read> table: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = blocks[workgroup.x];
    let tokens = min(block.y - block.z, 32u);
    for (var place = thread; place < tokens * shape.pairs; place += 64u) {
        let position = block.z + place / shape.pairs;
        let pair = place % shape.pairs;
        let angle = min(position, shape.positions - 1u) * 2u * shape.pairs + pair;
        let cosine = table[angle];
        let sine = table[angle + shape.pairs];
        let first = shape.offset + (block.w + position) * shape.stride + workgroup.y * shape.head_dim + pair;
        let a = x[first];
        let b = x[first + shape.pairs];
        x[first] = a * cosine - b * sine;
        x[first + shape.pairs] = b * cosine + a * sine;
    }
}
