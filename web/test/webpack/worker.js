import "grice/worker";
