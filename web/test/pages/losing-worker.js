// The package's own worker with the GPU engine, and a way to make its GPU go away.
import { lost } from "/losing.js";
import "/grice/worker-webgpu.js";

addEventListener("message", ({ data }) => {
  if (data.type === "lose") lost.lose();
});
