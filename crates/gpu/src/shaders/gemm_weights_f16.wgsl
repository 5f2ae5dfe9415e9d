// Weights in f16, and x rounded to it, which halves what workgroup memory holds and moves; sums in f32.
enable f16;

alias Four = vec4<f16>;

/// [k, columns4], k padded to fours with zeros.
@group(0) @binding(2) var<storage, read> weights: array<vec4<f16>>;

fn weights_at(index: u32) -> Four {
    return weights[index];
}

/// Rather the largest number than an infinity.
fn narrow(value: vec4<f32>) -> Four {
    return vec4<f16>(clamp(value, vec4(-65504.0), vec4(65504.0)));
}
