// The latency card: the last time, a line of recent times, and which verdicts came from the cache.

import { find, makeSvg, write } from "./dom.js";

const SHOWN = 40;
/** The view box in index.html. */
const WIDTH = 320;
const HEIGHT = 40;
const EDGE = 4;

interface Sample {
  wait_ms: number;
  isCached: boolean;
}

export class Latency {
  #samples: Sample[] = [];

  add(wait_ms: number, isCached: boolean): void {
    this.#samples.push({ wait_ms, isCached });
    if (this.#samples.length > SHOWN) this.#samples.shift();
    this.#draw();
  }

  /** Resets the times for another engine. */
  clear(): void {
    this.#samples = [];
    this.#draw();
  }

  #draw(): void {
    const samples = this.#samples;
    const last = samples.at(-1);
    const figure = find("latency");
    const cached = find("cached");
    const spark = find<SVGElement>("spark");
    cached.hidden = !last?.isCached;
    spark.replaceChildren();
    if (!last) {
      write(figure, "–");
      write(find("latency-note"), "");
      spark.setAttribute("aria-label", "No latency measured yet");
      return;
    }
    write(figure, showMs(last.wait_ms));
    const computed = samples.filter((sample) => !sample.isCached).map((sample) => sample.wait_ms);
    const count = `${samples.length} verdict${samples.length === 1 ? "" : "s"}`;
    const middle = computed.length > 1 ? `median ${showMs(median(computed))}` : "";
    write(find("latency-note"), [middle, count].filter(Boolean).join(" of "));
    const hits = `${samples.length - computed.length} from the cache`;
    spark.setAttribute("aria-label", ["Latency of the last " + count, middle, hits].filter(Boolean).join(", "));
    spark.append(...drawLine(samples));
  }
}

function drawLine(samples: Sample[]): SVGElement[] {
  const top = Math.max(...samples.map((sample) => sample.wait_ms), 1);
  const step = (WIDTH - 2 * EDGE) / (SHOWN - 1);
  // The newest is at the right edge.
  const x = (index: number) => WIDTH - EDGE - (samples.length - 1 - index) * step;
  const y = (wait_ms: number) => HEIGHT - EDGE - (wait_ms / top) * (HEIGHT - 2 * EDGE);
  const points = samples.map((sample, index) => `${x(index).toFixed(1)},${y(sample.wait_ms).toFixed(1)}`);
  const dots = samples.flatMap((sample, index) => {
    const isLast = index === samples.length - 1;
    if (!sample.isCached && !isLast) return [];
    return [makeSvg("circle", { class: sample.isCached ? "hit" : "now", cx: x(index), cy: y(sample.wait_ms), r: 3 })];
  });
  const line = points.length > 1 ? [makeSvg("polyline", { class: "line", points: points.join(" ") })] : [];
  const ground = makeSvg("line", { class: "ground", x1: EDGE, x2: WIDTH - EDGE, y1: HEIGHT - EDGE, y2: HEIGHT - EDGE });
  return [ground, ...line, ...dots];
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function showMs(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}
