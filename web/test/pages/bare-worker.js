// The package's own worker in a browser that lacks what only recent ones have.
import "/bare.js";
import "/grice/worker.js";
