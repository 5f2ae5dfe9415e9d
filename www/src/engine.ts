// The engine card: the switches, the selected engine, and the reason for a fallback.

import type { Detector } from "grice/webgpu";
import { find, make, write } from "./dom.js";

export type Device = "auto" | "cpu" | "gpu";

/** A model file of the build. */
export interface ModelFile {
  precision: string;
  url: string;
  bytes: number;
  /** `sha256-` and base64, as in a page's `integrity`. */
  integrity: string;
  /** Whether it has a compiled program, which the lean module opens. */
  compiled: boolean;
}

export interface Setup {
  device: Device;
  precision: string;
}

const DEVICES: Record<Device, string> = { auto: "Auto", cpu: "CPU", gpu: "GPU" };

export class EngineCard {
  #setup: Setup;

  constructor(models: ModelFile[], hasGpu: boolean, changed: (setup: Setup) => void) {
    this.#setup = { device: "auto", precision: models[0]?.precision ?? "" };
    const devices = (Object.keys(DEVICES) as Device[]).map((device) => {
      const isOff = device === "gpu" && !hasGpu;
      return this.#makeChoice("device", device, DEVICES[device], isOff, () => changed((this.#setup = { ...this.#setup, device })));
    });
    const precisions = models.map(({ precision }) =>
      this.#makeChoice("precision", precision, precision, false, () => changed((this.#setup = { ...this.#setup, precision }))),
    );
    find("device").append(...devices);
    find("precision").append(...precisions);
  }

  get setup(): Setup {
    return this.#setup;
  }

  showLoading(): void {
    write(find("engine-note"), "Loading …");
  }

  show(info: Detector["info"]): void {
    const where = `${info.name} on the ${info.device.toUpperCase()}, ${info.precision}, kernels ${info.kernels}.`;
    write(find("engine-note"), info.fallbackReason ? `${where} Not on the GPU: ${info.fallbackReason}.` : where);
  }

  #makeChoice(group: keyof Setup, value: string, label: string, isOff: boolean, choose: () => void): HTMLElement {
    const input = make("input", { type: "radio", name: group, value, disabled: isOff, checked: this.#setup[group] === value });
    input.addEventListener("change", choose);
    return make("label", isOff ? { title: "Not available here" } : {}, input, make("span", {}, label));
  }
}
