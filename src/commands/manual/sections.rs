//! Sections of the manual pages that the definition of the command line does not have.
//!
//! In these texts a line that begins with `$ ` or `# ` is an example as it is typed or commented, one that begins with `= `
//! is a term that what follows explains, and a blank line begins a paragraph.

/// What a page has beside its options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PageSections {
    pub(super) examples: &'static str,
    pub(super) files: &'static str,
    /// Variables that are no setting.
    pub(super) environment: &'static str,
    pub(super) signals: &'static str,
    pub(super) exit_status: &'static str,
    /// Names of other pages, without the program's.
    pub(super) see_also: &'static [&'static str],
}

const FILES: &str = "\
= /etc/catalog-proxy/proxy.toml
Where packages have the configuration file, which --config names. Its keys are the flags of serve without their dashes.
= whitelist.toml
The whitelist of the shop at /, in the working directory unless --whitelist names another.
= NAME.toml in the directory of --shops
The whitelist of the shop at /NAME/.";

const PROXIES: &str = "\
= HTTPS_PROXY, https_proxy, ALL_PROXY, all_proxy
The proxy by which an https upstream is reached, http://USER:PASSWORD@HOST:PORT. The first that is set counts.
= NO_PROXY, no_proxy
Hosts that are reached without it, with commas or blanks between them: names with all that is below them, *.NAME for what \
is below alone, addresses, networks, each but a network with :PORT if it is for one port, or * for all.";

/// Variables of `serve`.
const SERVE_VARIABLES: &str = "\
= RUST_LOG
What to log, if --log-level does not say.
= TOKIO_WORKER_THREADS
Threads that serve, if not as many as there are processors.
= HTTPS_PROXY, https_proxy, ALL_PROXY, all_proxy
The proxy by which an https upstream and the URL of notifications are reached; see catalog-proxy-config(1).
= NO_PROXY, no_proxy
Hosts that are reached without it, as there.";

const EXIT_STATUS: &str = "\
= 0
Done.
= 1
Failed.
= 2
Wrong usage, configuration or whitelist.";

/// Returns the sections of a command, or of the program itself without a name.
pub(super) fn of(command: Option<&str>) -> PageSections {
    let base = PageSections { exit_status: EXIT_STATUS, ..PageSections::default() };
    let on_catalog =
        PageSections { files: FILES, environment: PROXIES, see_also: &["serve", "list"], ..base };
    match command {
        None => PageSections {
            examples: "\
# Something to look at, without a network
$ catalog-proxy demo
# A whitelist to start from, a check of all settings, and the proxy
$ catalog-proxy init > whitelist.toml
$ catalog-proxy check
$ catalog-proxy serve
# The lines for the Plesk servers
$ catalog-proxy panel-ini --url http://proxy:8080",
            files: FILES,
            environment: "\
Every flag of serve is a variable as well: CATALOG_PROXY_ and its name in capitals, with _ for -. A flag wins over its variable, \
the variable over the configuration file. An empty variable counts as not set, and line breaks at its end are dropped.
= NO_COLOR
No colors, if it is not empty.",
            ..base
        },
        Some("serve") => PageSections {
            examples: "\
# The shop at /, with copies that outlive restarts
$ catalog-proxy serve --whitelist /etc/catalog-proxy/whitelist.toml --cache-dir /var/cache/catalog-proxy
# All settings in a file, and HTTPS on another port
$ catalog-proxy serve --config /etc/catalog-proxy/proxy.toml --listen :8443 --tls-cert cert.pem --tls-key key.pem
# Several shops, and an admin page on which two people may edit
$ catalog-proxy serve --shops /etc/catalog-proxy/shops --admin-tokens /etc/catalog-proxy/tokens.toml",
            files: FILES,
            environment: SERVE_VARIABLES,
            signals: "\
= SIGHUP
Reads whitelists, certificate, tokens and roots again; shops whose file is gone are forgotten.
= SIGTERM, SIGINT
Ends: no new connections, running responses may finish. A second one ends at once.
= SIGUSR1, SIGUSR2
Ignored.",
            exit_status: "\
= 0
Ended by a signal.
= 1
Failed, such as by an address that another program listens on.
= 2
Wrong usage, configuration or whitelist. All mistakes are told at once.",
            see_also: &["check", "config", "healthcheck"],
        },
        Some("check") => PageSections {
            examples: "\
# Before the start: settings, whitelists, certificate, upstream, cache directory
$ catalog-proxy check --config /etc/catalog-proxy/proxy.toml
# After the start: does the proxy answer where Plesk servers ask, and with which shop?
$ catalog-proxy check --url http://proxy:8080
# In a pipeline, where only errors count
$ catalog-proxy check --lenient --format json",
            files: FILES,
            environment: PROXIES,
            exit_status: "\
= 0
Everything is in order, or with --lenient there are warnings only.
= 1
Something is wrong, or there is a warning.
= 2
Wrong usage.",
            see_also: &["serve", "config"],
            ..base
        },
        Some("config") => PageSections {
            examples: "\
# What is in force, and why
$ catalog-proxy config --config /etc/catalog-proxy/proxy.toml
# Settings from variables, as a file
$ catalog-proxy config > proxy.toml
# One value, for a script
$ catalog-proxy config --format json | jq -r '.settings[] | select(.key == \"listen\").value[]'",
            files: FILES,
            environment: PROXIES,
            see_also: &["serve", "check"],
            ..base
        },
        Some("healthcheck") => PageSections {
            examples: "\
# In a container with its settings in variables
$ catalog-proxy healthcheck
# With those of a file
$ catalog-proxy healthcheck --config /etc/catalog-proxy/proxy.toml",
            exit_status: "\
= 0
The proxy is ready.
= 1
It is not, or does not answer within 5 seconds.
= 2
Wrong usage or configuration.",
            see_also: &["serve", "check"],
            ..base
        },
        Some("demo") => PageSections { examples: "$ catalog-proxy demo --listen 127.0.0.1:9000", see_also: &["serve"], ..base },
        Some("filter") => PageSections {
            examples: "$ catalog-proxy filter --whitelist whitelist.toml < packages.json > filtered.json",
            files: FILES,
            see_also: &["serve", "list"],
            ..base
        },
        Some("init") => PageSections { examples: "$ catalog-proxy init > whitelist.toml", ..on_catalog },
        Some("list") => PageSections {
            examples: "\
# What Plesk sells and nobody has decided about
$ catalog-proxy list --undecided
# For a spreadsheet
$ catalog-proxy list --shown --format csv > shown.csv",
            see_also: &["explain", "shops"],
            ..on_catalog
        },
        Some("shops") => PageSections { examples: "$ catalog-proxy shops --shops /etc/catalog-proxy/shops", ..on_catalog },
        Some("explain") => PageSections { examples: "$ catalog-proxy explain wp-toolkit", ..on_catalog },
        Some("allow") => PageSections { examples: "$ catalog-proxy allow wp-toolkit kolab", see_also: EDITS, ..on_catalog },
        Some("retire") => PageSections { examples: "$ catalog-proxy retire xovi --shop gold", see_also: EDITS, ..on_catalog },
        Some("hide") => PageSections { examples: "$ catalog-proxy hide ruby --dry-run", see_also: EDITS, ..on_catalog },
        Some("forget") => PageSections { examples: "$ catalog-proxy forget xovi", see_also: EDITS, ..on_catalog },
        Some("diff") => PageSections { examples: "$ catalog-proxy diff edited.toml", ..on_catalog },
        Some("news") => PageSections {
            examples: "$ catalog-proxy news --cache-dir /var/cache/catalog-proxy --since 7d",
            see_also: &["edits", "serve"],
            ..base
        },
        Some("servers") => PageSections {
            examples: "\
# Those that have not the list in force yet
$ catalog-proxy servers --behind",
            environment: "= CATALOG_PROXY_ADMIN_TOKEN\nThe token for the admin port, if it wants one.",
            see_also: &["token", "serve"],
            ..base
        },
        Some("edits") => PageSections {
            examples: "$ catalog-proxy edits --cache-dir /var/cache/catalog-proxy",
            see_also: &["news", "serve"],
            ..base
        },
        Some("token") => PageSections {
            examples: "$ catalog-proxy token alice",
            files: "\
= tokens.toml
What --admin-tokens names: under [editors] and [viewers] a line NAME = \"sha256:HEX\" for each person.",
            see_also: &["serve", "servers"],
            ..base
        },
        Some("panel-ini") => PageSections {
            examples: "$ catalog-proxy panel-ini --url http://proxy:8080 --shop gold",
            files: "= /usr/local/psa/admin/conf/panel.ini\nWhere the lines belong on a Plesk server.",
            see_also: &["serve", "check"],
            ..base
        },
        Some("completions") => PageSections {
            examples: "$ catalog-proxy completions bash > /usr/share/bash-completion/completions/catalog-proxy",
            ..base
        },
        Some("man") => PageSections { examples: "$ catalog-proxy man /usr/share/man/man1", ..base },
        Some(_) => base,
    }
}

/// Pages about edits.
const EDITS: &[&str] = &["allow", "retire", "hide", "forget", "diff", "edits"];
