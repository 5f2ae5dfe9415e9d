// The package's own worker, and a way to make its module trap.
import "/trapping.js";
import "/grice/worker.js";
