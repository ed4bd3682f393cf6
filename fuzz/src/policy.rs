//! Policy: the file is read as untyped TOML says, or is an error whose place is in the file; verdicts are what a model
//! of the rules says.

use catalog_proxy::policy::document::host_name;
use catalog_proxy::policy::{Day, HostsKey, Policy, Verdict, Window};
use catalog_proxy::seller::Seller;
use toml::{Table, Value};

/// What a file says.
struct Model {
    entries: Vec<Entry>,
    unlisted: Verdict,
    hosts: usize,
}

struct Entry {
    pattern: String,
    verdict: Verdict,
    window: Window,
}

/// Checks one file.
pub fn check(data: &[u8]) {
    let expected = Model::of(data);
    match Policy::parse(data, HostsKey::Allowed) {
        Ok((policy, warnings)) => {
            let model = expected.expect("a file that says anything else was taken");
            assert_eq!(policy.entries().len(), model.entries.len());
            assert_eq!(policy.hosts().len(), model.hosts);
            assert!(policy.hosts().iter().all(|host| host_name(host).as_ref() == Some(host)));
            warnings.iter().for_each(|warning| is_inside(data, warning.place.line, warning.place.column));
            let again =
                Policy::parse(model.text().as_bytes(), HostsKey::Refused).expect("what was read, written").0;
            for day in model.days() {
                agrees(&policy, &again, &model, day);
            }
            let refused = Policy::parse(data, HostsKey::Refused);
            assert_eq!(refused.is_err(), model.hosts > 0);
        }
        Err(error) => {
            assert!(expected.is_none(), "a good file was refused: {error}");
            is_inside(data, error.place.line, error.place.column);
        }
    }
}

/// Compares the verdicts of a day with those of the model, and with those of the same lists written otherwise.
fn agrees(policy: &Policy, again: &Policy, model: &Model, day: Day) {
    let rules = policy.on(day);
    assert!(rules.hold_on(day));
    assert!(rules.next_change().is_none_or(|next| day < next));
    assert_eq!(rules.digest, again.on(day).digest);
    assert_eq!(rules.changes(&again.on(day)), Default::default());
    for code in model.codes() {
        for seller in [Seller::Free, Seller::Vendor, Seller::Plesk] {
            let verdict = rules.verdict(code.as_deref(), seller);
            assert_eq!(verdict, model.verdict(code.as_deref(), seller, day), "{code:?} on {day}");
        }
    }
}

impl Model {
    /// Reads the file as untyped TOML.
    fn of(data: &[u8]) -> Option<Self> {
        let table: Table = std::str::from_utf8(data).ok()?.parse().ok()?;
        let mut model = Self { entries: Vec::new(), unlisted: Verdict::Hidden, hosts: 0 };
        table.get("extensions")?;
        for (key, value) in table {
            match (Verdict::ALL.into_iter().find(|verdict| verdict.key() == key), key.as_str(), value) {
                (Some(verdict), _, Value::Array(values)) => {
                    for value in values {
                        model.entries.push(Entry::of(verdict, value)?);
                    }
                }
                (None, "unlisted", Value::String(value)) if value == "hidden" => {}
                (None, "unlisted", Value::String(value)) if value == "retired" => {
                    model.unlisted = Verdict::Retired
                }
                (None, "hosts", Value::Array(hosts)) => {
                    model.hosts = hosts.len();
                    let is_host = |host: &Value| host.as_str().and_then(host_name).is_some();
                    hosts.iter().all(is_host).then_some(())?;
                }
                _ => return None,
            }
        }
        let contradict = |one: &Entry, other: &Entry| {
            let begins = one.window.from.max(other.window.from);
            let ends = [one.window.until, other.window.until].into_iter().flatten().min();
            let overlap = begins.is_none_or(|begins| ends.is_none_or(|ends| begins <= ends));
            one.pattern == other.pattern && one.verdict != other.verdict && overlap
        };
        let pairs = |one| model.entries.iter().any(|other| contradict(one, other));
        (!model.entries.iter().any(pairs)).then_some(model)
    }

    /// Writes the lists in another way.
    fn text(&self) -> String {
        let mut text = format!("unlisted = \"{}\"\n", self.unlisted.name());
        for verdict in Verdict::ALL.into_iter().rev() {
            let entries = self.entries.iter().rev().filter(|entry| entry.verdict == verdict);
            let entries: Vec<_> = entries.map(Entry::text).collect();
            text += &format!("{} = [{}]\n", verdict.key(), entries.join(","));
        }
        text
    }

    /// The days around each boundary.
    fn days(&self) -> Vec<Day> {
        let bounds = self.entries.iter().flat_map(|entry| [entry.window.from, entry.window.until]).flatten();
        let before = |day: Day| Day::of(day.begin() - std::time::Duration::from_secs(1));
        let around = bounds.take(8).flat_map(|day| [before(day), day, day.next()]);
        around.chain(Day::parse("2026-11-29")).collect()
    }

    /// The codes that the file has, some that are like them, and none.
    fn codes(&self) -> Vec<Option<String>> {
        let like = |entry: &Entry| {
            let code = entry.pattern.trim_end_matches('*').to_owned();
            let mut shorter = code.clone();
            shorter.pop();
            [shorter, format!("{code}x"), code]
        };
        self.entries
            .iter()
            .take(32)
            .flat_map(like)
            .map(Some)
            .chain([None, Some("docker".to_owned())])
            .collect()
    }

    /// Of the entries that count, the longest that matches decides, an exact one before all stars.
    fn verdict(&self, code: Option<&str>, seller: Seller, day: Day) -> Verdict {
        let matches = |entry: &&Entry| match (entry.pattern.strip_suffix('*'), code) {
            (Some(prefix), Some(code)) => code.starts_with(prefix),
            (None, Some(code)) => code == entry.pattern,
            (_, None) => false,
        };
        let matching = self.entries.iter().filter(|entry| entry.counts_on(day)).filter(matches);
        match matching.max_by_key(|entry| (!entry.pattern.ends_with('*'), entry.pattern.len())) {
            Some(entry) => entry.verdict,
            None if seller != Seller::Plesk => Verdict::Shown,
            None if code.is_some() => self.unlisted,
            None => Verdict::Hidden,
        }
    }
}

impl Entry {
    fn of(verdict: Verdict, value: Value) -> Option<Self> {
        let table = match value {
            Value::String(pattern) => Table::from_iter([("code".to_owned(), Value::String(pattern))]),
            Value::Table(table) => table,
            _ => return None,
        };
        let mut entry = Self { pattern: String::new(), verdict, window: Window::default() };
        table.get("code")?;
        for (key, value) in table {
            match (key.as_str(), value) {
                ("code", Value::String(code)) => entry.pattern = code,
                ("note", Value::String(_)) => {}
                ("from", value) => entry.window.from = Some(day(&value)?),
                ("until", value) => entry.window.until = Some(day(&value)?),
                _ => return None,
            }
        }
        let stars = entry.pattern.matches('*').count();
        let is_pattern = stars == 0 || stars == 1 && entry.pattern.ends_with('*');
        let ends_first =
            entry.window.until.is_some_and(|until| entry.window.from.is_some_and(|from| from > until));
        (is_pattern && !ends_first).then_some(entry)
    }

    fn text(&self) -> String {
        let escaped: String = self.pattern.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
        let mut text = format!("{{ code = \"{escaped}\"");
        for (name, day) in [("from", self.window.from), ("until", self.window.until)] {
            if let Some(day) = day {
                text += &format!(", {name} = {day}");
            }
        }
        text + " }"
    }

    fn counts_on(&self, day: Day) -> bool {
        self.window.from.is_none_or(|from| from <= day) && self.window.until.is_none_or(|until| day <= until)
    }
}

/// Reads a local date (TOML 1.1) that is not before 1970.
fn day(value: &Value) -> Option<Day> {
    Day::parse(&value.as_datetime()?.to_string())
}

fn is_inside(data: &[u8], line: usize, column: usize) {
    let text = String::from_utf8_lossy(data);
    let there = text.split('\n').nth(line.checked_sub(1).expect("from 1")).expect("a line of the file");
    assert!((1..=there.chars().count() + 1).contains(&column), "{line}:{column}");
}
