//! `config`: prints the settings in force, and where each came from.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::CommandError;
use super::terminal::{print, print_json};
use crate::cli::{Cli, ConfigArguments, ConfigFormat, SettingKey, tidy};
use crate::config::{Config, EffectiveSetting};
use crate::given::Source;
use crate::logging;
use crate::printable::{escaped_json, printable};
use crate::stderr;
use crate::upstream::outbound::Outbound;
use crate::version::VERSION;

/// Column in which the comments begin, if the values before them are not longer.
const COMMENT_COLUMN: usize = 44;

/// A setting in JSON.
#[derive(Debug, Serialize)]
struct SettingRow<'a> {
    key: &'a str,
    value: &'a Option<Value>,
    source: SourceKind,
    /// The flag, the variable or the file.
    name: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    /// True if a part of the value is not shown.
    masked: bool,
}

/// Kind of a source in JSON.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum SourceKind {
    Default,
    Flag,
    Variable,
    File,
}

/// Prints the settings in force.
///
/// # Errors
/// If they are wrong.
pub(crate) fn config(arguments: ConfigArguments) -> Result<(), CommandError> {
    let (config, mut settings) = Config::load_effective(arguments.settings)?;
    logging::levels(config.log_level.as_ref())?;
    if let Some(level) =
        settings.iter_mut().find(|setting| setting.key == "log-level" && setting.value.is_none())
    {
        match tidy(logging::VARIABLE) {
            // In this variable a level is that of the libraries as well, so it is no value of the setting.
            Some(_) => level.source = Source::Variable(logging::VARIABLE.to_owned()),
            None => level.value = Some(logging::DEFAULT_LEVEL.into()),
        }
    }
    for unknown in Cli::unknown_variables() {
        stderr::message(format_args!("warning: {}: {unknown}", printable(&unknown.name)));
    }
    match arguments.format {
        ConfigFormat::Json => {
            print_json("settings", &settings.iter().map(SettingRow::of).collect::<Vec<_>>())
        }
        ConfigFormat::Toml => {
            let outbound = Outbound::new(&config.upstream, &config.outbound)?;
            print(&toml(&settings, &outbound))
        }
    }
}

impl<'a> SettingRow<'a> {
    fn of(setting: &'a EffectiveSetting) -> Self {
        let EffectiveSetting { key, value, source, is_masked } = setting;
        let (kind, name, place) = match source {
            Source::Default => (SourceKind::Default, None, None),
            Source::Flag(flag) => (SourceKind::Flag, Some((*flag).to_owned()), None),
            Source::Variable(name) => (SourceKind::Variable, Some(name.clone()), None),
            Source::File { path, place } => (SourceKind::File, Some(path.display().to_string()), Some(place)),
        };
        let (line, column) = (place.map(|place| place.line), place.map(|place| place.column));
        Self { key, value, source: kind, name, line, column, masked: *is_masked }
    }
}

/// Writes a configuration file in the groups of the help.
fn toml(settings: &[EffectiveSetting], outbound: &Outbound) -> String {
    let keys = SettingKey::all();
    let group = |key: &str| keys.iter().find(|known| known.name == key).and_then(|key| key.group.as_deref());
    let mut text = format!("# The settings in force of catalog-proxy {VERSION}, and where each came from.\n");
    let mut last = None;
    for setting in settings {
        let heading = group(setting.key);
        if heading != last {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n# {}\n", heading.unwrap_or_default());
            last = heading;
        }
        let _ = writeln!(text, "{}", line(setting));
        if setting.key == "upstream" && outbound.to_string() != Outbound::direct().to_string() {
            let _ = writeln!(text, "# It is reached through the proxy {outbound}, by the environment.");
        }
    }
    text
}

fn line(setting: &EffectiveSetting) -> String {
    let EffectiveSetting { key, value, source, is_masked } = setting;
    let source = printable(&source.to_string()).into_owned();
    let Some(value) = value else {
        let why = match source.as_str() {
            "default" => "not set",
            _ => "cannot be written here",
        };
        let source = if source == "default" { String::new() } else { format!(": {source}") };
        return format!("{:COMMENT_COLUMN$}# {why}{source}", format!("# {key} ="));
    };
    // TOML reads what JSON writes of texts, numbers, booleans and lists of them.
    let value = escaped_json(&value.to_string()).replace("\",\"", "\", \"");
    let masked = if *is_masked { "; not all of it is shown, and this is refused" } else { "" };
    format!("{:COMMENT_COLUMN$}# {source}{masked}", format!("{key} = {value} "))
}
