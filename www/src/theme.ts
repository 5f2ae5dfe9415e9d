// Runs before the first paint, so it is a separate file outside the module graph: a stored choice must not flash the other scheme.
const chosen = (() => {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // Storage may be forbidden; then use the system's scheme.
  }
})();
if (chosen === "light" || chosen === "dark") document.documentElement.dataset["theme"] = chosen;
