// The colour scheme: light, dark, or the system's.

import { find, write } from "./dom.js";

const ORDER = ["system", "light", "dark"] as const;
type Scheme = (typeof ORDER)[number];

/** The button in the masthead cycles through the three; the choice is stored if the browser allows it. */
export function wireTheme(): void {
  let scheme = (document.documentElement.dataset["theme"] ?? "system") as Scheme;
  const show = () => write(find("theme-name"), `Theme: ${scheme}`);
  find("theme").addEventListener("click", () => {
    scheme = ORDER[(ORDER.indexOf(scheme) + 1) % ORDER.length] ?? "system";
    if (scheme === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = scheme;
    try {
      if (scheme === "system") localStorage.removeItem("theme");
      else localStorage.setItem("theme", scheme);
    } catch {
      // Storage is forbidden: the choice lasts until the page is closed.
    }
    show();
  });
  show();
}
