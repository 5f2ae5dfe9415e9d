// The worker of the entry `grice/webgpu`.

import { listen } from "./listen.js";
import { startWebGpu } from "./runtime-webgpu.js";

listen(startWebGpu);
