//! Variables of the environment: those that are settings, and those that look like one and are none.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::given::Source;
use crate::policy::suggestion::suggest;

/// What the names of all our variables begin with.
const PREFIX: &str = "CATALOG_PROXY_";
/// Variable with the token for the admin port. It has no flag, because arguments can be read by everybody.
pub const TOKEN: &str = "CATALOG_PROXY_ADMIN_TOKEN";

/// Settings that were typed, or stand in environment variables.
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeMap<String, ValueSource>);

impl Variables {
    /// Collects them from the parsed arguments of a command.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let given = |id: &str| {
            // A flag is the name of its field.
            let flag = format!("--{}", id.replace('_', "-"));
            match matches.value_source(id)? {
                // The text of a variable that had to be tidied.
                ValueSource::DefaultValue => {
                    tidy(&name(&flag)).is_some().then_some((flag, ValueSource::EnvVariable))
                }
                source => Some((flag, source)),
            }
        };
        Self(matches.ids().map(clap::Id::as_str).filter_map(given).collect())
    }

    /// Returns the source of a flag's value, if it was typed or stands in a variable.
    pub fn given(&self, flag: &'static str) -> Option<Source> {
        self.0.contains_key(flag).then(|| self.source(flag))
    }

    /// Returns the source of a flag's value: the command line or the environment.
    pub fn source(&self, flag: &'static str) -> Source {
        match self.0.get(flag) {
            Some(ValueSource::EnvVariable) => Source::Variable(name(flag)),
            _ => Source::Flag(flag),
        }
    }
}

/// Returns the name of a flag's environment variable.
pub(super) fn name(flag: &str) -> String {
    format!("{PREFIX}{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase())
}

/// Returns a variable's value without line breaks at its end, which a secret from a file often has. `None` if it is not
/// set, or empty: compose files pass variables on like that.
pub fn tidy(name: &str) -> Option<OsString> {
    tidied(&env::var_os(name)?)
}

fn tidied(value: &OsStr) -> Option<OsString> {
    let value = value.as_bytes();
    let len = value.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    (len > 0).then(|| OsString::from_vec(value[..len].to_vec()))
}

/// Makes a command read tidy values.
pub(super) fn with_tidy_variables(command: Command) -> Command {
    command.mut_subcommands(|command| {
        command.mut_args(|arg| {
            let Some(value) = arg.get_env().and_then(env::var_os) else { return arg };
            match tidied(&value) {
                Some(tidy) if tidy == value => arg,
                // It comes in by another way, because the value of a variable cannot be set.
                Some(tidy) => arg.env(None::<&str>).default_value(tidy).hide_default_value(true),
                None => arg.env(None::<&str>),
            }
        })
    })
}

/// A variable with a value that its setting does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongVariable {
    pub name: String,
    pub message: String,
}

/// Returns all variables of a command's flags that have wrong values.
pub(super) fn wrong_variables(command: &Command) -> Vec<WrongVariable> {
    let named = |arg: &Arg| Some((arg.get_id().clone(), arg.get_long()?.to_owned()));
    let flags: Vec<_> = command.get_arguments().filter_map(named).collect();
    let wrong = |(id, flag): &(clap::Id, String)| {
        let name = name(flag);
        let value = tidy(&name)?;
        // Asked for alone, so that no other value comes before it.
        let alone = command.clone().mut_args(|arg| match arg.get_id() == id {
            true => arg.required(false).env(None::<&str>).default_value(value.clone()),
            false => arg.required(false).env(None::<&str>).default_value(None::<&str>),
        });
        let error = alone.try_get_matches_from([command.get_name()]).err()?;
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        let value = value.to_string_lossy().into_owned();
        Some(WrongVariable { name, message: described(&error, &value, reason) })
    };
    flags.iter().filter_map(wrong).collect()
}

fn described(error: &clap::Error, value: &str, reason: Option<String>) -> String {
    use clap::error::{ContextKind, ContextValue};
    let expected = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            format!("expected one of {}", valid.join(", "))
        }
        _ => reason.unwrap_or_else(|| "is not UTF-8".to_owned()),
    };
    format!("{value:?}: {expected}")
}

/// A variable that looks like one of ours, and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVariable {
    pub name: String,
    /// The one that was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for UnknownVariable {
    /// What is wrong, without the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no setting has this variable, so it does nothing")?;
        self.suggestion.iter().try_for_each(|meant| write!(f, "; did you mean {meant}?"))
    }
}

/// Finds the variables of the process that are misspelt, by the flags that all commands have.
pub(super) fn unknown_variables(command: &Command) -> Vec<UnknownVariable> {
    let of_flags = command.get_subcommands().flat_map(Command::get_arguments).filter_map(Arg::get_env);
    let mut known: Vec<_> = of_flags.map(|name| name.to_string_lossy().into_owned()).collect();
    known.push(TOKEN.to_owned());
    // A name that is not UTF-8 is none of ours, but may look like one.
    let names: Vec<_> = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    unknown_among(&names, &known)
}

fn unknown_among(names: &[String], known: &[String]) -> Vec<UnknownVariable> {
    // In Kubernetes every container gets variables about the services of its namespace, and one may be called
    // `catalog-proxy`, or `catalog-proxy-admin`.
    let services: Vec<_> = names.iter().filter_map(|name| name.strip_suffix("_SERVICE_HOST")).collect();
    let is_of_service = |name: &str| {
        let rest = |service: &&str| name.strip_prefix(*service).unwrap_or_default().to_owned();
        let is_link = |rest: &str| {
            ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].contains(&rest)
                || rest.starts_with("_SERVICE_PORT_")
                || rest.starts_with("_PORT_")
        };
        services.iter().any(|service| is_link(&rest(service)))
    };
    let unknown = |name: &String| {
        let shouted = name.to_uppercase().replace('-', "_");
        let rest = ["CATALOG_PROXY", "CATALOGPROXY"].iter().find_map(|start| shouted.strip_prefix(start))?;
        if known.contains(name) || is_of_service(name) {
            return None;
        }
        // What all have in common would make any two alike.
        let known = known.iter().filter_map(|name| name.strip_prefix(PREFIX));
        let suggestion = suggest(rest.trim_start_matches('_'), known).map(|meant| format!("{PREFIX}{meant}"));
        Some(UnknownVariable { name: name.clone(), suggestion })
    };
    let mut unknown: Vec<_> = names.iter().filter_map(unknown).collect();
    unknown.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_at_the_end_are_no_part_of_a_value() {
        let check = |value: &str, expected: Option<&str>| {
            assert_eq!(tidied(OsStr::new(value)).as_deref(), expected.map(OsStr::new), "{value:?}");
        };
        check("a", Some("a"));
        check("a\n", Some("a"));
        check("a\r\n\n", Some("a"));
        check(" a b ", Some(" a b "));
        check("a\nb", Some("a\nb"));
        check("", None);
        check("\r\n", None);
        let odd = OsStr::from_bytes(b"\xff\n");
        assert_eq!(tidied(odd).as_deref(), Some(OsStr::from_bytes(b"\xff")));
    }

    #[test]
    fn misspelt_names_are_found_and_links_of_kubernetes_are_not() {
        let check = |names: &[&str], expected: &[(&str, Option<&str>)]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let known = ["LISTEN", "ADMIN_LISTEN", "ADMIN_HOST", "CACHE_DIR", "ADMIN_TOKEN"];
            let known: Vec<_> = known.iter().map(|name| format!("{PREFIX}{name}")).collect();
            let found = unknown_among(&names, &known);
            let found: Vec<_> =
                found.iter().map(|one| (one.name.as_str(), one.suggestion.as_deref())).collect();
            assert_eq!(found, expected, "{names:?}");
        };
        check(&["PATH", "CATALOG", "CATALOG_PROXY_LISTEN", "CATALOG_PROXY_ADMIN_TOKEN"], &[]);
        let listen = Some("CATALOG_PROXY_LISTEN");
        check(&["CATALOG_PROXY_LISTN"], &[("CATALOG_PROXY_LISTN", listen)]);
        check(&["catalog_proxy_listen"], &[("catalog_proxy_listen", listen)]);
        check(&["CATALOGPROXY_LISTEN"], &[("CATALOGPROXY_LISTEN", listen)]);
        check(&["CATALOG_PROXYLISTEN"], &[("CATALOG_PROXYLISTEN", listen)]);
        check(&["CATALOG-PROXY-LISTEN"], &[("CATALOG-PROXY-LISTEN", listen)]);
        check(&["CATALOG_PROXY_CACHEDIR"], &[("CATALOG_PROXY_CACHEDIR", Some("CATALOG_PROXY_CACHE_DIR"))]);
        check(&["CATALOG_PROXY_X\u{fffd}"], &[("CATALOG_PROXY_X\u{fffd}", None)]);
        check(&["CATALOG_PROXY"], &[("CATALOG_PROXY", None)]);
        let links = [
            "CATALOG_PROXY_SERVICE_HOST",
            "CATALOG_PROXY_SERVICE_PORT",
            "CATALOG_PROXY_SERVICE_PORT_HTTP",
            "CATALOG_PROXY_PORT",
            "CATALOG_PROXY_PORT_8080_TCP",
            "CATALOG_PROXY_PORT_8080_TCP_ADDR",
            "CATALOG_PROXY_PORT_8080_TCP_PORT",
            "CATALOG_PROXY_PORT_8080_TCP_PROTO",
            "CATALOG_PROXY_ADMIN_SERVICE_HOST",
            "CATALOG_PROXY_ADMIN_PORT_8081_TCP",
        ];
        check(&links, &[]);
        // Without a service, it is a mistake.
        check(&["CATALOG_PROXY_PORT"], &[("CATALOG_PROXY_PORT", None)]);
        let also_wrong = [&links[..], &["CATALOG_PROXY_LISTEN_PORT"]].concat();
        check(&also_wrong, &[("CATALOG_PROXY_LISTEN_PORT", listen)]);
    }

    #[test]
    fn no_setting_is_called_like_a_link_of_kubernetes() {
        for key in crate::cli::SettingKey::all() {
            let name = name(&key.name);
            let is_link = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| name.ends_with(end));
            assert!(!is_link && !name.starts_with("CATALOG_PROXY_PORT_"), "{name}");
        }
    }
}
