//! Texts at the end of the help.

use clap::{Arg, Command};

/// Settings that `healthcheck` looks at.
const HEALTHCHECK_SETTINGS: [&str; 4] = ["config", "listen", "tls_cert", "tls_key"];

pub(super) const SERVE: &str = "\
More settings: catalog-proxy serve --help

Example:
  catalog-proxy serve --whitelist whitelist.toml --cache-dir /var/cache/catalog-proxy";

pub(super) const SERVE_LONG: &str = "\
Each flag is a variable as well and a key of the configuration file: --cache-dir is
CATALOG_PROXY_CACHE_DIR and cache-dir. A flag wins over a variable over the file; an empty variable
counts as not set. `catalog-proxy config` prints the settings in force and where each came from,
`catalog-proxy check` says what is wrong with them.

Examples:
  # The shop at http://proxy:8080/, with copies that outlive restarts
  catalog-proxy serve --whitelist whitelist.toml --cache-dir /var/cache/catalog-proxy

  # All settings in a file, and HTTPS on another port
  catalog-proxy serve --config proxy.toml --listen :8443 --tls-cert cert.pem --tls-key key.pem";

pub(super) const HEALTHCHECK: &str = "\
Exits with 0 if the proxy is ready, else with 1.

Example for a container with its settings in variables:
  HEALTHCHECK CMD [\"catalog-proxy\", \"healthcheck\"]";

/// Makes the help of a command short: each variable is called as its flag.
pub(super) fn short(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env(true))
}

/// Hides the settings that `healthcheck` takes and does not look at.
pub(super) fn only_for_healthcheck(arg: Arg) -> Arg {
    match HEALTHCHECK_SETTINGS.contains(&arg.get_id().as_str()) {
        true => arg,
        false => arg.hide(true),
    }
}
