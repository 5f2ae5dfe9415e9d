// x · w in tiles: each workgroup makes TILE_M · TILE_N products, TILE_K at a time by way of workgroup memory; each invocation keeps
// THREAD_M rows of 4 · THREAD_N4 columns in registers. Rows and columns of an invocation are interleaved with those of its neighbours, so that
// neighbours read neighbouring words.

override TILE_M: u32 = 64u;
override TILE_N: u32 = 64u;
override TILE_K: u32 = 16u;
/// At most 8.
override THREAD_M: u32 = 4u;
/// At most 2.
override THREAD_N4: u32 = 1u;

override TILE_N4: u32 = TILE_N / 4u;
override TILE_K4: u32 = TILE_K / 4u;
override THREADS_M: u32 = TILE_M / THREAD_M;
override THREADS_N: u32 = TILE_N4 / THREAD_N4;
override THREADS: u32 = THREADS_M * THREADS_N;
override X_WORDS: u32 = TILE_M * TILE_K4;
override W_WORDS: u32 = TILE_K * TILE_N4;

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;

/// [row, k4].
var<workgroup> x_tile: array<Four, X_WORDS>;
/// [k, column4].
var<workgroup> w_tile: array<Four, W_WORDS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_column4 = workgroup.x * TILE_N4;
    let first_row = shape.first_row + workgroup.y * TILE_M;
    let share = share_of(workgroup.z);
    let thread_m = thread / THREADS_N;
    let thread_n = thread % THREADS_N;

    var sums: array<vec4<f32>, 16>;
    for (var k = share.x; k < share.y; k += TILE_K) {
        load_x(first_row, k, share.y, thread);
        load_weights(first_column4, k, share.y, thread);
        workgroupBarrier();
        for (var k4 = 0u; k4 < TILE_K4; k4++) {
            var w: array<vec4<f32>, 8>;
            for (var i = 0u; i < 4u; i++) {
                for (var n = 0u; n < THREAD_N4; n++) {
                    w[i * 2u + n] = vec4<f32>(w_tile[(k4 * 4u + i) * TILE_N4 + thread_n + n * THREADS_N]);
                }
            }
            for (var m = 0u; m < THREAD_M; m++) {
                let a = vec4<f32>(x_tile[(thread_m + m * THREADS_M) * TILE_K4 + k4]);
                for (var n = 0u; n < THREAD_N4; n++) {
                    sums[m * 2u + n] += a.x * w[n] + a.y * w[2u + n] + a.z * w[4u + n] + a.w * w[6u + n];
                }
            }
        }
        workgroupBarrier();
    }

    for (var m = 0u; m < THREAD_M; m++) {
        let row = first_row + thread_m + m * THREADS_M;
        for (var n = 0u; n < THREAD_N4; n++) {
            let column4 = first_column4 + thread_n + n * THREADS_N;
            if row < shape.rows && column4 < shape.columns4 {
                if SPLIT {
                    keep_share(workgroup.z, row, column4, bitcast<vec4<u32>>(sums[m * 2u + n]));
                } else {
                    finish(row, column4, sums[m * 2u + n]);
                }
            }
        }
    }
}

fn load_x(first_row: u32, first_k: u32, last_k: u32, thread: u32) {
    for (var word = thread; word < X_WORDS; word += THREADS) {
        let row = first_row + word / TILE_K4;
        let k = first_k + word % TILE_K4 * 4u;
        var value = vec4(0.0);
        if row < shape.rows && k < last_k {
            value = masked(x[shape.x_offset + row * shape.x_stride + k / 4u], k);
        }
        x_tile[word] = narrow(value);
    }
}

fn load_weights(first_column4: u32, first_k: u32, last_k: u32, thread: u32) {
    for (var word = thread; word < W_WORDS; word += THREADS) {
        let k = first_k + word / TILE_N4;
        let column4 = first_column4 + word % TILE_N4;
        var value = Four();
        if k < last_k && column4 < shape.columns4 {
            value = weights_at(k * shape.columns4 + column4);
        }
        w_tile[word] = value;
    }
}
