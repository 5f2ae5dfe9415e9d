// Weights in f32.

alias Four = vec4<f32>;

/// [k, columns4], k padded to fours with zeros.
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;

fn weights_at(index: u32) -> Four {
    return weights[index];
}

fn narrow(value: vec4<f32>) -> Four {
    return value;
}
