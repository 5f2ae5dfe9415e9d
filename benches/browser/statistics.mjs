// Medians and ratios from the times of blocks.

/// `{shape, blocks: name → [ms per run], differences}` → the report. Block `i` of each engine ran at about the same time, so ratios are
/// taken block by block: other load affects both.
export function compare({ shape, blocks, differences }, artifacts) {
  const contenders = {};
  for (const [name, times] of Object.entries(blocks)) {
    contenders[name] = { median_ms: quantile(times, 0.5), minimum_ms: Math.min(...times), blocks: times.length };
  }
  for (const name of artifacts) {
    const ratios = blocks[name].map((time, index) => time / blocks["onnxruntime-web"][index]);
    contenders[name].ratio = { median: quantile(ratios, 0.5), lower: quantile(ratios, 0.25), upper: quantile(ratios, 0.75) };
    contenders[name].largest_difference = differences[name];
  }
  return { shape: shape.join("x"), contenders };
}

/// The quantile of the numbers, linearly interpolated.
export function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const place = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return low + (high - low) * (place - Math.floor(place));
}

export function shown(number) {
  return number === undefined ? "?" : number.toPrecision(3);
}
