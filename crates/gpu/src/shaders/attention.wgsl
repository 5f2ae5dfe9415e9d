// softmax(scores · scale) · v for each sequence and head, with a softmax that goes along with the keys ("Online normalizer
// calculation for softmax", Milakov and Gimelshein 2018), and DeBERTa's relative positions: query i scores key j by Q_i·K_j +
// Q_i·keys[slot(i - j)] + K_j·queries[slot(i - j)]. Or T5's: a number for each head and distance, which is not scaled.
//
// A workgroup takes 32 queries of a head and goes over the keys of their sequence, 32 at a time. Its 64 invocations stand in a
// square of 8 by 8; each makes the scores of 4 queries with 4 keys, 8 numbers of the heads at a time by way of workgroup
// memory. Between 32 queries and 32 keys there are only 63 distances, so what positions add costs twice the scores themselves,
// rather than a product with every slot; and of the distances of its 4 by 4 pairs an invocation reads two fours. Then it adds
// the values to 4 queries' sums, in every eighth four of columns.

struct Shape {
    heads: u32,
    head_dim: u32,
    scale: f32,
    /// Between rows, and where the first starts.
    q_stride: u32,
    q_offset: u32,
    /// Of keys and values, which lie in the same rows.
    kv_stride: u32,
    k_offset: u32,
    v_offset: u32,
    out_stride: u32,
    /// Beyond it, to either side, distances share the slot of this one, or its bias.
    reach: i32,
    /// Numbers in a table before those of relative queries.
    queries_start: u32,
    /// Where the blocks of this call start.
    first_block: u32,
}

/// Whether there are relative keys, and relative queries.
override KEYS: bool = false;
override QUERIES: bool = false;
/// Whether the tables hold a number for each head and distance, which is added to scores.
override BIAS: bool = false;
/// Whether the tables hold f16, two to a word.
override HALF: bool = false;
/// Whether only the first token of a sequence asks; its row is then that of the sequence.
override FIRST: bool = false;
/// Heads of queries that share a head of keys.
override GROUP: u32 = 1u;
/// How far a query sees to either side.
override SIGHT: u32 = 0xffffffffu;
/// Fours of columns in a head; 32 at most.
override HEAD4: u32 = 16u;
/// How many of them an invocation adds up: ⌈HEAD4 / 8⌉.
override FOURS: u32 = 2u;
/// Keys whose values fit the tile together: HEAD4 · VALUE_KEYS is 512 at most, and 32 a multiple.
override VALUE_KEYS: u32 = 32u;

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> kv: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
/// First token of the sequence, its length, first query of the block, row of the sequence's first query.
@group(0) @binding(4) var<storage, read> blocks: array<vec4<u32>>;
/// Relative keys, then relative queries: [slots, heads · head_dim]. Or the bias, [heads, 2 · reach + 1], key minus query.
@group(0) @binding(5) var<storage, read> tables: array<u32>;
/// The slot of each distance from -reach to reach.
@group(0) @binding(6) var<storage, read> slots: array<u32>;

/// Numbers of the heads that scores are made from at a time.
const DEPTH = 8u;
// Fours from one of them to the next; odd, so that they lie in different banks.
const LINE = 9u;
const WINDOW = 17u;
// Where they start in the tile.
const K_TILE = DEPTH * LINE;
const KEYS_TILE = 2u * K_TILE;
const QUERIES_TILE = KEYS_TILE + DEPTH * WINDOW;
/// What is not to be seen. No infinity, whose difference with another is no number.
const HIDDEN = -3.0e38;

/// [depth, four of queries or keys or distances]; later values, [key, four of columns].
var<workgroup> tile: array<vec4<f32>, 512>;
/// Powers, [key, four of queries].
var<workgroup> powers: array<vec4<f32>, 288>;
/// What each invocation found in its four keys, for each of its four queries.
var<workgroup> found: array<vec4<f32>, 64>;
/// Rows of the tables for the distances of the block.
var<workgroup> distances: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = blocks[shape.first_block + workgroup.x];
    let head_column = workgroup.y * shape.head_dim;
    let key_column = workgroup.y / GROUP * shape.head_dim;
    let asking = select(block.y, 1u, FIRST);
    let query4 = thread / 8u;
    let key4 = thread % 8u;

    var largest = vec4(HIDDEN);
    var sum = vec4(0.0);
    // A four of columns each, and in it a column of the matrix for each query.
    var mix0 = mat4x4<f32>();
    var mix1 = mat4x4<f32>();
    var mix2 = mat4x4<f32>();
    var mix3 = mat4x4<f32>();
    var start_key = 0u;
    var end_key = block.y;
    if SIGHT != 0xffffffffu {
        start_key = (block.z - min(block.z, SIGHT)) / 32u * 32u;
        end_key = min(block.y, block.z + 32u + SIGHT);
    }
    for (var first_key = start_key; first_key < end_key; first_key += 32u) {
        // From here on a column for each key, and in it a number for each query.
        var scores = transpose(score(block, asking, head_column, key_column, first_key, query4, key4, thread)) * shape.scale;
        if BIAS {
            let start = i32(workgroup.y) * (2 * shape.reach + 1) + shape.reach;
            let distance = i32(first_key + key4 * 4u) - i32(block.z + query4 * 4u);
            for (var i = 0; i < 4; i++) {
                scores[i] += bias(start, vec4(distance + i) - vec4(0, 1, 2, 3));
            }
        }
        let keys = block.y - first_key;
        var score0 = select(scores[0], vec4(HIDDEN), key4 * 4u >= keys);
        var score1 = select(scores[1], vec4(HIDDEN), key4 * 4u + 1u >= keys);
        var score2 = select(scores[2], vec4(HIDDEN), key4 * 4u + 2u >= keys);
        var score3 = select(scores[3], vec4(HIDDEN), key4 * 4u + 3u >= keys);
        if SIGHT != 0xffffffffu {
            let key = first_key + key4 * 4u;
            let query = vec4(block.z + query4 * 4u) + vec4(0u, 1u, 2u, 3u);
            score0 = select(vec4(HIDDEN), score0, sees(query, key));
            score1 = select(vec4(HIDDEN), score1, sees(query, key + 1u));
            score2 = select(vec4(HIDDEN), score2, sees(query, key + 2u));
            score3 = select(vec4(HIDDEN), score3, sees(query, key + 3u));
        }
        found[key4 * 8u + query4] = max(max(score0, score1), max(score2, score3));
        workgroupBarrier();
        var top = largest;
        for (var i = 0u; i < 8u; i++) {
            top = max(top, found[i * 8u + query4]);
        }
        // All have read them before they are written again.
        workgroupBarrier();
        let shrink = exp(largest - top);
        largest = top;
        let power0 = exp(score0 - top);
        let power1 = exp(score1 - top);
        let power2 = exp(score2 - top);
        let power3 = exp(score3 - top);
        let line = key4 * 4u * LINE + query4;
        powers[line] = power0;
        powers[line + LINE] = power1;
        powers[line + 2u * LINE] = power2;
        powers[line + 3u * LINE] = power3;
        found[key4 * 8u + query4] = (power0 + power1) + (power2 + power3);
        sum *= shrink;
        mix0 = scaled(mix0, shrink);
        mix1 = scaled(mix1, shrink);
        mix2 = scaled(mix2, shrink);
        mix3 = scaled(mix3, shrink);
        for (var start = 0u; start < 32u; start += VALUE_KEYS) {
            load_values(block, key_column, first_key + start, thread);
            workgroupBarrier();
            for (var key = 0u; key < VALUE_KEYS; key++) {
                let power = powers[(start + key) * LINE + query4];
                // What is beyond the head's last four belongs to another key, and is never written out.
                let at = key * HEAD4 + key4;
                mix0 += product(tile[at], power);
                if FOURS > 1u {
                    mix1 += product(tile[min(at + 8u, 511u)], power);
                }
                if FOURS > 2u {
                    mix2 += product(tile[min(at + 16u, 511u)], power);
                }
                if FOURS > 3u {
                    mix3 += product(tile[min(at + 24u, 511u)], power);
                }
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < 8u; i++) {
            sum += found[i * 8u + query4];
        }
    }

    let first_query = block.z + query4 * 4u;
    let share = 1.0 / sum;
    write(scaled(mix0, share), block.w, first_query, asking, head_column, key4);
    if FOURS > 1u {
        write(scaled(mix1, share), block.w, first_query, asking, head_column, key4 + 8u);
    }
    if FOURS > 2u {
        write(scaled(mix2, share), block.w, first_query, asking, head_column, key4 + 16u);
    }
    if FOURS > 3u {
        write(scaled(mix3, share), block.w, first_query, asking, head_column, key4 + 24u);
    }
}

/// What four distances add, of a head whose number for distance 0 is at `start`.
fn bias(start: i32, distance: vec4<i32>) -> vec4<f32> {
    let place = vec4<u32>(start + clamp(distance, vec4(-shape.reach), vec4(shape.reach)));
    return bitcast<vec4<f32>>(vec4(tables[place.x], tables[place.y], tables[place.z], tables[place.w]));
}

/// Which of four queries see a key.
fn sees(query: vec4<u32>, key: u32) -> vec4<bool> {
    let key4 = vec4(key);
    return max(query, key4) - min(query, key4) <= vec4(SIGHT);
}

/// The columns times a factor each.
fn scaled(columns: mat4x4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        columns[0] * factors.x,
        columns[1] * factors.y,
        columns[2] * factors.z,
        columns[3] * factors.w,
    );
}

/// A column times each factor.
fn product(column: vec4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(column * factors.x, column * factors.y, column * factors.z, column * factors.w);
}

/// One four of columns of four queries.
fn write(mix: mat4x4<f32>, base: u32, first_query: u32, asking: u32, head_column: u32, four: u32) {
    var columns = mix;
    for (var i = 0u; i < 4u; i++) {
        let query = first_query + i;
        if query < asking {
            let row = (base + query) * shape.out_stride + head_column;
            for (var j = 0u; j < 4u; j++) {
                let column = four * 4u + j;
                if column < shape.head_dim {
                    out[row + column] = columns[i][j];
                }
            }
        }
    }
}

/// The scores of four queries with four keys: a column for each query, in it a number for each key.
fn score(
    block: vec4<u32>,
    asking: u32,
    head_column: u32,
    key_column: u32,
    first_key: u32,
    query4: u32,
    key4: u32,
    thread: u32,
) -> mat4x4<f32> {
    var scores = mat4x4<f32>();
    if KEYS || QUERIES {
        // Place 31 is the distance of the first query from the first key; it falls as keys rise.
        let distance = i32(block.z) - i32(first_key) + 31 - i32(thread);
        let slot = slots[u32(clamp(distance, -shape.reach, shape.reach) + shape.reach)];
        distances[thread] = slot * shape.heads * shape.head_dim + head_column;
        workgroupBarrier();
    }
    for (var depth = 0u; depth < shape.head_dim; depth += DEPTH) {
        load_tile(block, asking, head_column, key_column, first_key, depth, thread);
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let asked = tile[d * LINE + query4];
            let keys = tile[K_TILE + d * LINE + key4];
            // Windows of four distances: the later the query, the earlier they start.
            let window = d * WINDOW + key4 + 7u - query4;
            var rows = mat4x4<f32>(keys, keys, keys, keys);
            if KEYS {
                rows += windows(tile[KEYS_TILE + window], tile[KEYS_TILE + window + 1u]);
            }
            scores += scaled(rows, asked);
            if QUERIES {
                let rows = windows(tile[QUERIES_TILE + window], tile[QUERIES_TILE + window + 1u]);
                scores += mat4x4<f32>(keys * rows[0], keys * rows[1], keys * rows[2], keys * rows[3]);
            }
        }
        workgroupBarrier();
    }
    return scores;
}

/// Of eight distances the four that each of four queries has to four keys.
fn windows(low: vec4<f32>, high: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(vec4(low.w, high.xyz), vec4(low.zw, high.xy), vec4(low.yzw, high.x), low);
}

/// DEPTH numbers from `depth` on of 32 queries, 32 keys, and the tables' rows of 63 distances. Zeros for what is not there.
fn load_tile(
    block: vec4<u32>,
    asking: u32,
    head_column: u32,
    key_column: u32,
    first_key: u32,
    depth: u32,
    thread: u32,
) {
    let d = thread % DEPTH;
    let four = thread / DEPTH;
    let inside = depth + d < shape.head_dim;
    let column = head_column + depth + d;
    var value = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        let query = block.z + four * 4u + i;
        if inside && query < asking {
            value[i] = q[shape.q_offset + (block.w + query) * shape.q_stride + column];
        }
    }
    tile[d * LINE + four] = value;
    value = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        let key = first_key + four * 4u + i;
        if inside && key < block.y {
            value[i] = kv[shape.k_offset + (block.x + key) * shape.kv_stride + key_column + depth + d];
        }
    }
    tile[K_TILE + d * LINE + four] = value;
    for (var side = 0u; side < 2u; side++) {
        let window = four + side * 8u;
        if KEYS {
            tile[KEYS_TILE + d * WINDOW + window] = table_window(0u, window, depth + d, inside);
        }
        if QUERIES {
            tile[QUERIES_TILE + d * WINDOW + window] = table_window(shape.queries_start, window, depth + d, inside);
        }
    }
}

/// One column of a table for four distances.
fn table_window(start: u32, window: u32, column: u32, inside: bool) -> vec4<f32> {
    var value = vec4(0.0);
    if inside {
        for (var i = 0u; i < 4u; i++) {
            value[i] = table_at(start + distances[window * 4u + i] + column);
        }
    }
    return value;
}

fn table_at(index: u32) -> f32 {
    if HALF {
        return unpack2x16float(tables[index / 2u])[index % 2u];
    }
    return bitcast<f32>(tables[index]);
}

/// The values of VALUE_KEYS keys from `first_key` on, zeros for what is not there.
fn load_values(block: vec4<u32>, key_column: u32, first_key: u32, thread: u32) {
    for (var place = thread; place < VALUE_KEYS * HEAD4; place += 64u) {
        let key = first_key + place / HEAD4;
        let column = place % HEAD4 * 4u;
        var value = vec4(0.0);
        if key < block.y {
            let at = shape.v_offset + (block.x + key) * shape.kv_stride + key_column + column;
            for (var i = 0u; i < 4u; i++) {
                if column + i < shape.head_dim {
                    value[i] = kv[at + i];
                }
            }
        }
        tile[place] = value;
    }
}
