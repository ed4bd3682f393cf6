//! Which settings there are: their keys in the configuration file, their variables, and what each takes.

use clap::{Arg, ArgAction, Args, Command};

use super::Settings;

/// The flag that names the configuration file, and is no key in it.
const CONFIG: &str = "config";

/// A setting by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingKey {
    /// Its key in the configuration file: the flag without its dashes.
    pub name: String,
    /// What it takes.
    pub kind: ValueKind,
    /// True if it takes several values.
    pub is_list: bool,
    /// Heading of its group in the help.
    pub group: Option<String>,
}

/// What a setting takes, in words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// An address with a port.
    Address,
    /// A time with its unit.
    Duration,
    /// A number of bytes with its unit.
    Size,
    /// A whole number.
    Number,
    /// True or false.
    Boolean,
    /// Any other text.
    Text,
}

impl SettingKey {
    /// Returns all settings of the configuration file, in the order of the help.
    pub fn all() -> Vec<Self> {
        let command = Settings::augment_args(Command::new("serve"));
        command.get_arguments().filter_map(Self::of).filter(|key| key.name != CONFIG).collect()
    }

    fn of(arg: &Arg) -> Option<Self> {
        let name = arg.get_long()?.to_owned();
        let kind = match arg.get_value_names().and_then(|names| names.first()).map(AsRef::as_ref) {
            Some("ADDR") => ValueKind::Address,
            Some("DURATION") => ValueKind::Duration,
            Some("SIZE") => ValueKind::Size,
            Some("N") => ValueKind::Number,
            Some("BOOL") => ValueKind::Boolean,
            _ => ValueKind::Text,
        };
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let group = arg.get_help_heading().map(str::to_owned);
        Some(Self { name, kind, is_list, group })
    }

    /// Returns true if the value may hold a secret, so that it must not be shown.
    pub fn is_secret(&self) -> bool {
        self.name == "notify-url"
    }
}
