//! Every setting that can stand in the file is held against the one in force.

use clap::CommandFactory;

use super::*;
use crate::cli::Cli;

/// A value for each setting that is neither its default nor another one's.
const FILE: &str = r#"
listen = "127.0.0.1:1"
admin-listen = "127.0.0.1:2"
upstream = "https://other.example"
upstream-ca = "ca.pem"
whitelist = "other.toml"
shops = "shops"
cache-dir = "cache"
cache-size = "1GiB"
min-fresh-for = "31s"
fresh-for = "11m"
stale-for = "8d"
max-feed-size = "65MiB"
client-max-age = "5m"
max-connections = 5000
max-connections-per-address = 99
max-request-body = "1MiB"
tls-cert = "cert.pem"
tls-key = "key.pem"
trusted-proxy = "10.0.0.0/8"
admin-tokens = "tokens.toml"
admin-tls = true
admin-host = "proxy.example"
admin-user-header = "x-user"
admin-trusted-proxy = "10.0.0.1"
notify-url = "https://hooks.example/x"
notify-format = "teams"
log-format = "json"
access-log = "json"
log-level = "debug"
"#;

fn file(text: &str) -> (tempfile::TempDir, Settings) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("proxy.toml");
    fs::write(&path, text).expect("room");
    (directory, Settings { config: Some(path), ..Settings::default() })
}

fn write(settings: &Settings, text: &str) {
    fs::write(settings.config.as_ref().expect("a file"), text).expect("room");
}

fn check_of(settings: &Settings) -> RestartCheck {
    RestartCheck::new(settings.clone(), Config::load(settings.clone()).expect("a configuration"))
}

#[test]
fn every_setting_is_compared() {
    let (_directory, settings) = file("");
    let check = check_of(&settings);
    assert!(check.changed().is_none());
    write(&settings, FILE);
    let told = check.changed().expect("a change").settings.expect("a configuration");
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("a command");
    let flags = serve.get_arguments().filter_map(|argument| argument.get_long());
    let flags = flags.filter(|flag| !["config", "help"].contains(flag)).map(|flag| format!("--{flag}"));
    for flag in flags {
        assert!(told.contains(&&*flag), "{flag} is not compared, or not in the file of this test: {told:?}");
    }
}

#[test]
fn only_what_differs_is_told() {
    let (_directory, settings) = file("stale-for = \"7d\"\n");
    let typed = Settings { upstream: Some("http://typed.example".into()), ..settings.clone() };
    let check = check_of(&typed);
    let told = |text: &str| {
        write(&settings, text);
        check.changed().map(|changed| changed.settings.map_err(|error| error.to_string()))
    };
    assert_eq!(told("# a comment\nstale-for = \"168h\"\n"), None);
    assert_eq!(told(""), None);
    assert_eq!(told("upstream = \"http://other.example\"\n"), None, "the flag wins");
    assert_eq!(
        told("stale-for = \"1d\"\nlog-format = \"json\"\n"),
        Some(Ok(vec!["--stale-for", "--log-format"]))
    );
    let broken = told("stale-for = 1\n").expect("a change").expect_err("no configuration");
    assert!(broken.contains("proxy.toml:1:"), "{broken}");
    fs::remove_file(settings.config.as_ref().expect("a file")).expect("a file");
    let gone = check.changed().expect("a change").settings.expect_err("no file").to_string();
    assert!(gone.contains("cannot read configuration"), "{gone}");
}
