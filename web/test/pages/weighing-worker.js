// The package's own worker, which also says how large its module's memory is.
import { started } from "/weighing.js";
import "/grice/worker.js";

addEventListener("message", ({ data }) => {
  if (data.type === "weigh") postMessage({ type: "weight", bytes: started.memory.buffer.byteLength });
});
