//! Writing a value out: a default changes nothing, and what `config` prints is read as the same settings.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::cli::SettingKey;
use crate::printable::escaped_json;

/// Returns the configuration without sources, for comparisons.
fn plain(config: &Config) -> String {
    let mut text = format!("{config:?}");
    for (start, end) in [("source: Flag(", ")"), ("source: Variable(", ")"), ("source: File {", "} }")] {
        while let Some(at) = text.find(start) {
            let len = text[at..].find(end).expect("an end") + end.len();
            text.replace_range(at..at + len, "source: Default");
        }
    }
    // Written out, a path is absolute.
    let here = std::env::current_dir().expect("a directory");
    text.replace(&format!("{}/", here.display()), "")
}

fn line(key: &str, value: &Value) -> String {
    format!("{key} = {}\n", escaped_json(&value.to_string()))
}

/// Returns a value as it is typed behind a flag.
fn typed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(typed).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn effective(arguments: &[&str]) -> (Config, Vec<EffectiveSetting>) {
    Config::load_effective(settings(arguments).expect("arguments")).expect("settings")
}

#[test]
fn a_default_written_out_changes_nothing() {
    for more in [&[][..], &["--shops", "/srv/shops"]] {
        let (config, all) = effective(more);
        let expected = plain(&config);
        let mut whole = String::new();
        for EffectiveSetting { key, value, .. } in &all {
            let Some(value) = value else { continue };
            whole += &line(key, value);
            let (_file, path) = file(line(key, value));
            let (written, _) = effective(&[&["--config", &path], more].concat());
            assert_eq!(plain(&written), expected, "{key} = {value} in a file");
            // An empty list cannot be typed, and nothing twice.
            if *value != json!([]) && !more.contains(&format!("--{key}").as_str()) {
                let flag = format!("--{key}={}", typed(value));
                let (written, _) = effective(&[&[flag.as_str()], more].concat());
                assert_eq!(plain(&written), expected, "{flag}");
            }
        }
        let (_file, path) = file(whole);
        assert_eq!(plain(&effective(&["--config", &path]).0), expected, "all together");
    }
}

#[test]
fn every_value_is_printed_as_it_is_read() {
    let samples = [
        ("listen", json!(["127.0.0.1:1", "[::1]:2"])),
        ("tls-cert", json!("/etc/cert.pem")),
        ("tls-key", json!("/etc/\"key\" \u{202e}\u{7f}.pem")),
        ("trusted-proxy", json!(["10.0.0.0/8", "::1/128"])),
        ("upstream", json!("http://127.0.0.1:9000")),
        ("upstream-ca", json!("/etc/ca.pem")),
        ("whitelist", json!("/etc/whitelist.toml")),
        ("shops", json!("/etc/shops")),
        ("cache-dir", json!("/var/cache/x")),
        ("cache-size", json!("1536MiB")),
        ("min-fresh-for", json!("1m 1s")),
        ("fresh-for", json!("1h 1m 1s 1ms")),
        ("stale-for", json!("2days")),
        ("client-max-age", json!("5s")),
        ("max-feed-size", json!("62500KiB")),
        ("max-connections", json!(100)),
        ("max-connections-per-address", json!(99)),
        ("max-request-body", json!("1B")),
        ("admin-listen", json!("off")),
        ("admin-tokens", json!("/etc/tokens.toml")),
        ("admin-tls", json!(true)),
        ("admin-host", json!(["proxy.example"])),
        ("admin-user-header", json!("x-user")),
        ("admin-trusted-proxy", json!(["127.0.0.1/32"])),
        ("notify-url", json!("http://127.0.0.1:9/")),
        ("notify-format", json!("teams")),
        ("log-format", json!("json")),
        ("access-log", json!("text")),
        ("log-level", json!("debug")),
    ];
    let keys: BTreeSet<_> = SettingKey::all().into_iter().map(|key| key.name).collect();
    let sampled = samples.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(keys, sampled, "each setting has a sample here, and is printed by `config`");

    let text: String = samples.iter().map(|(key, value)| line(key, value)).collect();
    let (_file, path) = file(text);
    let (config, read) = effective(&["--config", &path]);
    for (n, (key, value)) in samples.iter().enumerate() {
        let setting = read.iter().find(|setting| setting.key == *key).expect(key);
        assert_eq!(setting.value.as_ref(), Some(value), "{key}");
        let Source::File { place, .. } = &setting.source else { panic!("{key}: {}", setting.source) };
        assert_eq!((place.line, place.column), (n + 1, key.len() + 4), "{key}");
    }
    let (default, _) = effective(&[]);
    assert_ne!(plain(&config), plain(&default));

    // The same by flags, with their names.
    let flags: Vec<_> = samples.iter().map(|(key, value)| format!("--{key}={}", typed(value))).collect();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let (by_flags, read) = effective(&flags);
    assert_eq!(plain(&by_flags), plain(&config));
    for setting in read {
        assert_eq!(setting.source.to_string(), format!("--{}", setting.key));
    }
}

#[test]
fn what_is_masked_is_not_read_again() {
    let (_, all) = effective(&["--notify-url", "https://user:s3cret@hooks.example/s3cret"]);
    let hook = all.iter().find(|setting| setting.key == "notify-url").expect("a setting");
    assert_eq!((&hook.value, hook.is_masked), (&Some(json!("https://hooks.example/***")), true));
    let (_file, path) = file(line("notify-url", hook.value.as_ref().expect("a value")));
    let error = load(&["--config", &path]).expect_err("a mask");
    assert!(error.contains("in place of a secret"), "{error}");
}

#[test]
fn other_values_than_the_default_bound_and_require() {
    let (config, _) = effective(&["--fresh-for", "11m", "--admin-listen", "127.0.0.1:8082"]);
    assert_eq!(config.cache.max_fresh_for, Some(Duration::from_secs(660)));
    assert_eq!(*config.admin, Admin::Required("127.0.0.1:8082".parse().expect("an address")));
    let (config, _) = effective(&["--fresh-for", "600s", "--admin-listen", "localhost:8081"]);
    assert_eq!((config.cache.max_fresh_for, *config.admin), (None, Admin::IfFree(ADMIN_LISTEN)));
}
