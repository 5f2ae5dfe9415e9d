// A sum over a workgroup of 64, for shaders that give a row to each.

var<workgroup> sums: array<f32, 64>;

/// Of all invocations' parts.
fn sum_of(part: f32, thread: u32) -> f32 {
    // Somebody may still read the sum before.
    workgroupBarrier();
    sums[thread] = part;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            sums[thread] += sums[thread + half];
        }
    }
    return workgroupUniformLoad(&sums[0]);
}
