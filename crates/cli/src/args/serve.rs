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
  grice serve --bundle detector=models/detector-mini --bundle writer=/models/gpt2-medium --precision int8
  GRICE_API_KEYS=first-key,second-key grice serve --tls-certificate cert.pem --tls-key key.pem

Every option can also be set as GRICE_… in the environment, and under its long name in section [serve] of grice.toml. After SIGTERM \
or SIGINT the server answers all accepted requests and exits; SIGHUP reloads the models. See docs/serving.md.";

/// Arguments of `serve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct Serve {
    /// TOML file with defaults for these options, in section [serve] [default: grice.toml if it exists]
    #[arg(long, value_name = "FILE", env = "GRICE_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Options that may also be in the file.
    #[command(flatten)]
    pub(crate) options: ServeOptions,
    /// Thresholds that replace the models', from 0 to 1: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
}
