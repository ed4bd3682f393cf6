//! The configuration file, and where its values stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::mistake::{ConfigError, ConfigMistake};
use super::syntax::{Flaw, MAX_FLAWS, repair};
use super::{OFF, secrets};
use crate::cli::{SettingKey, Settings, ValueKind};
use crate::given::Source;
use crate::place::{Excerpt, Place};
use crate::policy::suggestion::suggest;
use crate::printable::escaped;

/// The configuration file's text; empty without a file.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    path: PathBuf,
    text: String,
    /// The text without secrets, for messages.
    shown: String,
    /// Where the values stand, by their keys.
    values: BTreeMap<String, Range<usize>>,
    /// Keys whose values cannot be used.
    broken: BTreeSet<String>,
}

impl ConfigFile {
    /// Reads the file at `path`, if one is named.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path.map(Path::to_owned) else { return Ok(Self::default()) };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let text = decoded(bytes).map_err(|(before, message)| {
            let place = Place::of(&before, before.len());
            ConfigError::Wrong(vec![ConfigMistake::new(Source::File { path: path.clone(), place }, message)])
        })?;
        let shown = secrets::hidden(&text, &SettingKey::all());
        Ok(Self { path, text, shown, ..Self::default() })
    }

    /// Reads the settings that are right, and returns what is wrong with the others. Paths are relative to the file's
    /// directory.
    pub(super) fn settings(&mut self) -> (Settings, Vec<ConfigMistake>) {
        let keys = SettingKey::all();
        let (text, mut flaws) = repair(&self.text, &keys);
        let (table, _) = DeTable::parse_recoverable(&text);
        let mut right = DeTable::new();
        for (key, value) in table.into_inner() {
            let name = key.get_ref().as_ref();
            let Some(setting) = keys.iter().find(|setting| setting.name == name) else {
                flaws.push(unknown_key(&key, &value, &keys));
                continue;
            };
            let wrong = wrong_values(&key, &value, setting);
            if wrong.is_empty() {
                self.values.insert(name.to_owned(), value.span());
                right.insert(key, value);
            }
            flaws.extend(wrong);
        }
        flaws.sort_by_key(|flaw| flaw.span.start);
        flaws.truncate(MAX_FLAWS);
        self.broken = flaws.iter().map(|flaw| self.key_before(flaw.span.start)).collect();
        let mut mistakes: Vec<_> = flaws.into_iter().map(|flaw| self.mistake(flaw)).collect();
        let settings = Settings::deserialize(Deserializer::from(Spanned::new(0..text.len(), right)));
        let mut settings = settings.unwrap_or_else(|error| {
            // Each value was right for itself.
            let span = error.span().unwrap_or_default();
            mistakes.push(self.mistake(Flaw { span, message: escaped(error.message()) }));
            Settings::default()
        });
        self.resolve_paths(&mut settings);
        (settings, mistakes)
    }

    fn resolve_paths(&self, settings: &mut Settings) {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let paths = [
            &mut settings.whitelist,
            &mut settings.shops,
            &mut settings.upstream_ca,
            &mut settings.cache_dir,
            &mut settings.tls_cert,
            &mut settings.tls_key,
            &mut settings.admin_tokens,
        ];
        for relative in paths.into_iter().flatten().filter(|path| **path != Path::new(OFF)) {
            *relative = directory.join(&*relative);
        }
    }

    /// Returns the place of the value whose key is the name of `flag`, if the file has one.
    pub(super) fn source(&self, flag: &str) -> Option<Source> {
        self.values.get(flag.trim_start_matches('-')).map(|span| self.at(span.start))
    }

    /// Returns true if the file has the key, with a value that cannot be used. What lacks that value is no mistake of its own.
    pub(super) fn is_broken(&self, flag: &str) -> bool {
        self.broken.contains(flag.trim_start_matches('-'))
    }

    /// Returns what stands before `=` in the line of an offset.
    fn key_before(&self, offset: usize) -> String {
        let start = self.text[..self.text.floor_char_boundary(offset)].rfind('\n').map_or(0, |at| at + 1);
        self.text[start..].split(['=', ':', '\n']).next().unwrap_or_default().trim().to_owned()
    }

    /// Adds the line to a mistake that was found when the value was looked at.
    pub(super) fn show(&self, mistake: &mut ConfigMistake) {
        let Source::File { place, .. } = &mistake.at else { return };
        let mut spans = self.values.values();
        let span = spans.find(|span| Place::of(&self.text, span.start) == *place);
        if let (Some(span), None) = (span, &mistake.excerpt) {
            mistake.excerpt = Some(Excerpt::of(&self.shown, span.clone()));
        }
    }

    fn mistake(&self, flaw: Flaw) -> ConfigMistake {
        let excerpt = Some(Excerpt::of(&self.shown, flaw.span.clone()));
        // SECURITY: messages repeat keys, and what was taken for one.
        let message = secrets::without_secrets_in_urls(&flaw.message);
        ConfigMistake { at: self.at(flaw.span.start), message, excerpt }
    }

    fn at(&self, offset: usize) -> Source {
        Source::File { path: self.path.clone(), place: Place::of(&self.text, offset) }
    }
}

/// Decodes the file.
///
/// # Errors
/// If it is not UTF-8: the text before the first wrong byte, and what is wrong.
fn decoded(bytes: Vec<u8>) -> Result<String, (String, &'static str)> {
    // Editors of Windows write these; the first is harmless.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err((String::new(), "the file is UTF-16: save it as UTF-8"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            Err((before, "the file is not UTF-8 here"))
        }
    }
}

type SpannedKey<'a> = Spanned<toml::de::DeString<'a>>;

fn unknown_key(key: &SpannedKey<'_>, value: &Spanned<DeValue<'_>>, keys: &[SettingKey]) -> Flaw {
    let name = key.get_ref().as_ref();
    // `admin.listen` is a way to write `admin-listen` in other files.
    let dotted = match value.get_ref() {
        DeValue::Table(table) => table.keys().next().map(|inner| format!("{name}-{}", inner.get_ref())),
        _ => None,
    };
    let names = || keys.iter().map(|key| key.name.as_str());
    let meant = match name {
        "config" => "; a configuration file cannot name another".to_owned(),
        _ => match suggest(dotted.as_deref().unwrap_or(name), names()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => "; `catalog-proxy serve --help` has all".to_owned(),
        },
    };
    Flaw { span: key.span(), message: format!("unknown key `{}`{meant}", escaped(name)) }
}

/// Finds what is wrong with a value, or with each value of a list.
fn wrong_values<'a>(key: &SpannedKey<'a>, value: &Spanned<DeValue<'a>>, setting: &SettingKey) -> Vec<Flaw> {
    match value.get_ref() {
        DeValue::Array(values) if setting.is_list => {
            values.iter().filter_map(|value| wrong_value(key, value, setting)).collect()
        }
        _ => wrong_value(key, value, setting).into_iter().collect(),
    }
}

fn wrong_value<'a>(key: &SpannedKey<'a>, value: &Spanned<DeValue<'a>>, setting: &SettingKey) -> Option<Flaw> {
    let flaw = |message: String| Some(Flaw { span: value.span(), message });
    if let Some(message) = wrong_type(value.get_ref(), setting) {
        return flaw(message);
    }
    let table = DeTable::from_iter([(key.clone(), value.clone())]);
    let error = Settings::deserialize(Deserializer::from(Spanned::new(value.span(), table))).err()?;
    flaw(match setting.kind {
        ValueKind::Number => "expected a whole number, at least 1".to_owned(),
        _ => escaped(error.message()),
    })
}

/// Says in plain words what is wrong with a value of the wrong type.
fn wrong_type(value: &DeValue<'_>, setting: &SettingKey) -> Option<String> {
    use ValueKind as K;
    let number = match value {
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        _ => None,
    };
    let expected = match (setting.kind, value) {
        (K::Boolean, DeValue::Boolean(_)) => return None,
        (K::Boolean, _) => "expected true or false, without quotes".to_owned(),
        (K::Number, DeValue::Integer(_)) => return None,
        (K::Number, DeValue::String(text)) if text.trim().parse::<u64>().is_ok() => {
            format!("a number has no quotes: {} = {}", setting.name, text.trim())
        }
        (K::Number, _) => "expected a whole number, at least 1".to_owned(),
        (_, DeValue::String(text)) if text.trim().is_empty() => {
            "the value is empty: leave the key out to have the default".to_owned()
        }
        (_, DeValue::String(_)) => return None,
        (_, DeValue::Array(_)) if !setting.is_list => "expected one value, not a list".to_owned(),
        (_, DeValue::Array(_) | DeValue::Table(_)) => "expected text in quotes".to_owned(),
        (K::Duration, _) if let Some(number) = number => {
            format!("a duration needs a unit, such as \"{number}m\"")
        }
        (K::Size, _) if let Some(number) = number => format!("a size needs a unit, such as \"{number}MiB\""),
        (K::Address, DeValue::Integer(port)) => {
            format!("an address needs quotes, and more than a port: {} = \"0.0.0.0:{port}\"", setting.name)
        }
        _ => "expected text in quotes".to_owned(),
    };
    Some(expected)
}
