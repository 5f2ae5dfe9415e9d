// Creates and finds elements, without a framework.

type Child = Node | string | null;

/** An element of the page's markup. */
export function find<T extends Element = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as unknown as T;
}

/** A new element; sets properties if they exist, otherwise attributes. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Record<string, unknown> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) Reflect.set(element, name, value);
    else element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function makeSvg(tag: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/** One of the symbols in index.html; decorative, because there is always a word next to it. */
export function makeIcon(name: string): SVGElement {
  const icon = makeSvg("svg", { class: "icon", "aria-hidden": "true" });
  icon.append(makeSvg("use", { href: `#i-${name}` }));
  return icon;
}

/** Sets text only if it changes, because assistive technology announces changes. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
