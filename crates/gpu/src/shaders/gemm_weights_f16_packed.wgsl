// Weights in f16, two to a word; arithmetic in f32. What every device can do.

alias Four = vec4<f32>;

/// [k, columns4], k padded to fours with zeros.
@group(0) @binding(2) var<storage, read> weights: array<vec2<u32>>;

fn weights_at(index: u32) -> Four {
    let words = weights[index];
    return vec4(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn narrow(value: vec4<f32>) -> Four {
    return value;
}
