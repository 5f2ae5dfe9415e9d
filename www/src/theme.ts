// Runs before the first paint, hence a file of its own outside the module graph: a stored choice must not flash the other scheme.
const chosen = (() => {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // Storage may be forbidden; then the system decides.
  }
})();
if (chosen === "light" || chosen === "dark") document.documentElement.dataset["theme"] = chosen;
