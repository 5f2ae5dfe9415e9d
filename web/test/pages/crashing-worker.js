// The package's own worker, and a way to make it fail.
import "/grice/worker.js";

addEventListener("message", ({ data }) => {
  if (data.type === "fail") throw new Error("on purpose");
});
