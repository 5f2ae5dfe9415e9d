//! `serve`.

use super::values::Threshold;
use crate::serve::options::ServeOptions;
use clap::Args as ClapArgs;
use std::path::PathBuf;

const SERVE_EXAMPLES: &str = "\
Examples:
  grice serve
  grice serve --listen 0.0.0.0:8080 --replicas 2 --access-log
  grice serve --bundle mini=models/detector-mini --bundle full=/models/detector --device cpu,cpu
  GRICE_API_KEYS=first-key,second-key grice serve --tls-certificate cert.pem --tls-key key.pem

Every option may be set as GRICE_… in the environment, and as its long name in the section [serve] of grice.toml. SIGTERM and \
SIGINT end the server once every accepted request is answered; SIGHUP reads the models anew. docs/serving.md has the rest.";

/// Arguments of `serve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct Serve {
    /// A file of defaults for these options, in its section [serve] [default: grice.toml if there is one]
    #[arg(long, value_name = "FILE", env = "GRICE_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Options that may also stand in the file.
    #[command(flatten)]
    pub(crate) options: ServeOptions,
    /// Thresholds in place of the models' own: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
}
