// x · w by cooperative matrices: SUBGROUPS_M · SUBGROUPS_N subgroups, each with FRAGMENTS_M · FRAGMENTS_N fragments of y, make a tile; x is
// rounded to f16 on the way into workgroup memory. The next tiles are fetched while the present ones are multiplied.

/// Invocations of a subgroup; all subgroups are full.
override SUBGROUP: u32 = 32u;
override SUBGROUPS_M: u32 = 4u;
override SUBGROUPS_N: u32 = 2u;
/// FRAGMENTS_M and FRAGMENTS_N are at most 4 each, and 8 by their product.
override FRAGMENTS_M: u32 = 2u;
override FRAGMENTS_N: u32 = 4u;
/// A multiple of FRAGMENT.
override TILE_K: u32 = 32u;

override TILE_M: u32 = SUBGROUPS_M * FRAGMENTS_M * FRAGMENT;
override TILE_N: u32 = SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
override TILE_K4: u32 = TILE_K / 4u;
override TILE_N4: u32 = TILE_N / 4u;
override THREADS: u32 = SUBGROUP * SUBGROUPS_M * SUBGROUPS_N;
// Rows are padded by eight numbers, so that those of a fragment lie in different banks.
override X_PITCH: u32 = TILE_K4 + 2u;
override W_PITCH: u32 = TILE_N4 + 2u;
override X_WORDS: u32 = TILE_M * X_PITCH;
override W_WORDS: u32 = TILE_K * W_PITCH;
/// Fours of x and w that an invocation fetches; at most 8 each.
override X_FETCHED: u32 = (TILE_M * TILE_K4 + THREADS - 1u) / THREADS;
override W_FETCHED: u32 = (TILE_K * TILE_N4 + THREADS - 1u) / THREADS;
const FRAGMENT4: u32 = FRAGMENT / 4u;
override STAGE_WORDS: u32 = SUBGROUPS_M * SUBGROUPS_N * FRAGMENT * FRAGMENT4;

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
/// [k, columns4], k padded to fours with zeros.
@group(0) @binding(2) var<storage, read> weights: array<vec4<f16>>;

/// [row, k4].
var<workgroup> x_tile: array<vec4<f16>, X_WORDS>;
/// [k, column4].
var<workgroup> w_tile: array<vec4<f16>, W_WORDS>;
/// A fragment of each subgroup on its way out: [subgroup, row, column4].
var<workgroup> stage: array<vec4<f32>, STAGE_WORDS>;

/// What an invocation has fetched and not yet put into workgroup memory.
struct Fetched {
    x: array<vec4<f16>, 8>,
    w: array<vec4<f16>, 8>,
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let first_column4 = workgroup.x * TILE_N4;
    let first_row = shape.first_row + workgroup.y * TILE_M;
    let share = share_of(workgroup.z);
    let row_fragment = subgroup / SUBGROUPS_N * FRAGMENTS_M;
    let column_fragment = subgroup % SUBGROUPS_N * FRAGMENTS_N;

    var sums: array<FragmentY, 8>;
    var fetched: Fetched;
    fetch(&fetched, first_row, first_column4, share.x, share.y, thread);
    for (var k = share.x; k < share.y; k += TILE_K) {
        put(&fetched, thread);
        workgroupBarrier();
        if k + TILE_K < share.y {
            fetch(&fetched, first_row, first_column4, k + TILE_K, share.y, thread);
        }
        for (var step = 0u; step < TILE_K / FRAGMENT; step++) {
            var w: array<FragmentW, 4>;
            for (var n = 0u; n < FRAGMENTS_N; n++) {
                let index = step * FRAGMENT * W_PITCH + (column_fragment + n) * FRAGMENT4;
                let stride = W_PITCH;
                w[n] = coopLoadT<FragmentW>(&w_tile[index], stride);
            }
            for (var m = 0u; m < FRAGMENTS_M; m++) {
                let index = (row_fragment + m) * FRAGMENT * X_PITCH + step * FRAGMENT4;
                let stride = X_PITCH;
                let a = coopLoadT<FragmentX>(&x_tile[index], stride);
                for (var n = 0u; n < FRAGMENTS_N; n++) {
                    sums[m * FRAGMENTS_N + n] = coopMultiplyAdd(a, w[n], sums[m * FRAGMENTS_N + n]);
                }
            }
        }
        workgroupBarrier();
    }

    let first_stage = subgroup * FRAGMENT * FRAGMENT4;
    for (var m = 0u; m < FRAGMENTS_M; m++) {
        for (var n = 0u; n < FRAGMENTS_N; n++) {
            let index = first_stage;
            let stride = FRAGMENT4;
            coopStoreT(sums[m * FRAGMENTS_N + n], &stage[index], stride);
            workgroupBarrier();
            for (var word = lane; word < FRAGMENT * FRAGMENT4; word += SUBGROUP) {
                let row = first_row + (row_fragment + m) * FRAGMENT + word / FRAGMENT4;
                let column4 = first_column4 + (column_fragment + n) * FRAGMENT4 + word % FRAGMENT4;
                if row < shape.rows && column4 < shape.columns4 {
                    if SPLIT {
                        keep_share(workgroup.z, row, column4, bitcast<vec4<u32>>(stage[first_stage + word]));
                    } else {
                        finish(row, column4, stage[first_stage + word]);
                    }
                }
            }
            workgroupBarrier();
        }
    }
}

fn fetch(
    fetched: ptr<function, Fetched>,
    first_row: u32,
    first_column4: u32,
    first_k: u32,
    last_k: u32,
    thread: u32,
) {
    for (var i = 0u; i < X_FETCHED; i++) {
        let word = thread + i * THREADS;
        let row = first_row + word / TILE_K4;
        let k = first_k + word % TILE_K4 * 4u;
        var value = vec4(0.0);
        if word < TILE_M * TILE_K4 && row < shape.rows && k < last_k {
            value = masked(x[shape.x_offset + row * shape.x_stride + k / 4u], k);
        }
        // Rather the largest number than an infinity.
        (*fetched).x[i] = vec4<f16>(clamp(value, vec4(-65504.0), vec4(65504.0)));
    }
    for (var i = 0u; i < W_FETCHED; i++) {
        let word = thread + i * THREADS;
        let k = first_k + word / TILE_N4;
        let column4 = first_column4 + word % TILE_N4;
        var value = vec4<f16>();
        if word < TILE_K * TILE_N4 && k < last_k && column4 < shape.columns4 {
            value = weights[k * shape.columns4 + column4];
        }
        (*fetched).w[i] = value;
    }
}

fn put(fetched: ptr<function, Fetched>, thread: u32) {
    for (var i = 0u; i < X_FETCHED; i++) {
        let word = thread + i * THREADS;
        if word < TILE_M * TILE_K4 {
            x_tile[word / TILE_K4 * X_PITCH + word % TILE_K4] = (*fetched).x[i];
        }
    }
    for (var i = 0u; i < W_FETCHED; i++) {
        let word = thread + i * THREADS;
        if word < TILE_K * TILE_N4 {
            w_tile[word / TILE_N4 * W_PITCH + word % TILE_N4] = (*fetched).w[i];
        }
    }
}
