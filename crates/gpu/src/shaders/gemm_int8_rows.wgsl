// x · w in 8 bits for few rows, shared out as gemm_rows; an invocation takes sixteens of k.

/// At most 8; ROWS · COLUMN_THREADS · K_THREADS · 16 bytes of workgroup memory.
override ROWS: u32 = 8u;
override COLUMN_THREADS: u32 = 32u;
override K_THREADS: u32 = 4u;

override THREADS: u32 = COLUMN_THREADS * K_THREADS;
override SUMS: u32 = ROWS * THREADS;

/// [row, k thread, column thread].
var<workgroup> meeting: array<vec4<i32>, SUMS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_column4 = workgroup.x * COLUMN_THREADS;
    let first_row = shape.first_row + workgroup.y * ROWS;
    let share = share_of(workgroup.z);
    let column4 = first_column4 + thread % COLUMN_THREADS;

    var sums: array<vec4<i32>, 8>;
    if column4 < shape.columns4 {
        for (var k = share.x + thread / COLUMN_THREADS * 16u; k < share.y; k += K_THREADS * 16u) {
            let w = k / 4u * shape.columns4 + column4;
            let w0 = weights[w];
            let w1 = weights[w + shape.columns4];
            let w2 = weights[w + 2u * shape.columns4];
            let w3 = weights[w + 3u * shape.columns4];
            for (var m = 0u; m < ROWS; m++) {
                // What rows beyond the last sum up goes nowhere.
                let row = min(first_row + m, shape.rows - 1u);
                let a = x[(shape.x_offset + row * shape.x_stride + k / 4u) / 4u];
                sums[m] += dots(a.x, w0) + dots(a.y, w1) + dots(a.z, w2) + dots(a.w, w3);
            }
        }
    }
    for (var m = 0u; m < ROWS; m++) {
        meeting[m * THREADS + thread] = sums[m];
    }
    workgroupBarrier();

    for (var place = thread; place < ROWS * COLUMN_THREADS; place += THREADS) {
        let row = place / COLUMN_THREADS;
        let column = place % COLUMN_THREADS;
        var sum = vec4(0i);
        for (var i = 0u; i < K_THREADS; i++) {
            sum += meeting[row * THREADS + i * COLUMN_THREADS + column];
        }
        if first_row + row < shape.rows && first_column4 + column < shape.columns4 {
            if SPLIT {
                keep_share(workgroup.z, first_row + row, first_column4 + column, bitcast<vec4<u32>>(sum));
            } else {
                finish_int8(first_row + row, first_column4 + column, sum);
            }
        }
    }
}
