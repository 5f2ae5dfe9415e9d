// The worker of the entry `grice`.

import { listen } from "./listen.js";
import { startCpu } from "./runtime.js";

listen(startCpu);
