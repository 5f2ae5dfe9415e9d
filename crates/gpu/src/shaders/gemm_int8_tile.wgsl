// x · w in 8 bits, tiled as gemm_tile: TILE_K is a multiple of 16.

override TILE_M: u32 = 64u;
override TILE_N: u32 = 64u;
override TILE_K: u32 = 32u;
/// At most 8.
override THREAD_M: u32 = 4u;
/// At most 2.
override THREAD_N4: u32 = 1u;

override TILE_N4: u32 = TILE_N / 4u;
override TILE_K4: u32 = TILE_K / 4u;
override TILE_K16: u32 = TILE_K / 16u;
override THREADS_M: u32 = TILE_M / THREAD_M;
override THREADS_N: u32 = TILE_N4 / THREAD_N4;
override THREADS: u32 = THREADS_M * THREADS_N;
override X_WORDS: u32 = TILE_M * TILE_K16;
override W_WORDS: u32 = TILE_K4 * TILE_N4;

/// [row, k16].
var<workgroup> x_tile: array<vec4<u32>, X_WORDS>;
/// [k4, column4].
var<workgroup> w_tile: array<vec4<u32>, W_WORDS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_column4 = workgroup.x * TILE_N4;
    let first_row = shape.first_row + workgroup.y * TILE_M;
    let share = share_of(workgroup.z);
    let thread_m = thread / THREADS_N;
    let thread_n = thread % THREADS_N;

    var sums: array<vec4<i32>, 16>;
    for (var k = share.x; k < share.y; k += TILE_K) {
        load_x(first_row, k, share.y, thread);
        load_weights(first_column4, k, share.y, thread);
        workgroupBarrier();
        for (var k16 = 0u; k16 < TILE_K16; k16++) {
            var w: array<vec4<u32>, 8>;
            for (var i = 0u; i < 4u; i++) {
                for (var n = 0u; n < THREAD_N4; n++) {
                    w[i * 2u + n] = w_tile[(k16 * 4u + i) * TILE_N4 + thread_n + n * THREADS_N];
                }
            }
            for (var m = 0u; m < THREAD_M; m++) {
                let a = x_tile[(thread_m + m * THREADS_M) * TILE_K16 + k16];
                for (var n = 0u; n < THREAD_N4; n++) {
                    sums[m * 2u + n] +=
                        dots(a.x, w[n]) + dots(a.y, w[2u + n]) + dots(a.z, w[4u + n]) + dots(a.w, w[6u + n]);
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
                    finish_int8(row, column4, sums[m * 2u + n]);
                }
            }
        }
    }
}

// Both are padded with zeros to sixteens of k, and shares end at sixteens or at the end.
fn load_x(first_row: u32, first_k: u32, last_k: u32, thread: u32) {
    for (var word = thread; word < X_WORDS; word += THREADS) {
        let row = first_row + word / TILE_K16;
        let k = first_k + word % TILE_K16 * 16u;
        var value = vec4(0u);
        if row < shape.rows && k < last_k {
            value = x[(shape.x_offset + row * shape.x_stride + k / 4u) / 4u];
        }
        x_tile[word] = value;
    }
}

fn load_weights(first_column4: u32, first_k: u32, last_k: u32, thread: u32) {
    for (var word = thread; word < W_WORDS; word += THREADS) {
        let k = first_k + word / TILE_N4 * 4u;
        let column4 = first_column4 + word % TILE_N4;
        var value = vec4(0u);
        if k < last_k && column4 < shape.columns4 {
            value = weights[k / 4u * shape.columns4 + column4];
        }
        w_tile[word] = value;
    }
}
