//! Which layer wins, what is refused, and where a message says that it stands.

mod defaults;
mod mistakes;
mod objections;

use std::fs;
use std::path::Path;

use super::*;
use crate::cli::{Action, Cli};
use crate::place::Place;

/// Parses the arguments of `serve`.
fn settings(arguments: &[&str]) -> Result<Settings, String> {
    let cli = Cli::read_from(["catalog-proxy", "serve"].iter().chain(arguments));
    match cli.map_err(|error| error.to_string())?.command {
        Action::Serve(settings) => Ok(settings),
        other => panic!("{other:?}"),
    }
}

fn load(arguments: &[&str]) -> Result<Config, String> {
    Config::load(settings(arguments)?).map_err(|error| error.to_string())
}

/// Writes a configuration file, and returns it with its path.
fn file(text: impl AsRef<[u8]>) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("a write");
    let path = file.path().to_str().expect("a path").to_owned();
    (file, path)
}

#[test]
fn has_the_documented_defaults() {
    let config = load(&[]).expect("defaults");
    assert_eq!(*config.listen, ["0.0.0.0:8080".parse().expect("an address")]);
    assert_eq!(*config.admin, Admin::IfFree("127.0.0.1:8081".parse().expect("an address")));
    assert_eq!(*config.upstream, "https://ext.plesk.com".parse().expect("an origin"));
    assert_eq!(*config.whitelist.expect("a default"), Path::new("whitelist.toml"));
    assert_eq!(*config.cache.size, 256 << 20);
    assert_eq!(*config.cache.fresh_for, Duration::from_mins(10));
    assert_eq!(*config.cache.min_fresh_for, Duration::from_secs(30));
    assert_eq!(config.cache.max_fresh_for, None);
    assert_eq!(*config.cache.stale_for, Duration::from_hours(7 * 24));
    assert_eq!(*config.cache.max_feed_size, 64 << 20);
    let Limits { connections, connections_per_address, request_body } = config.limits;
    assert_eq!((*connections, *connections_per_address, *request_body), (4096, 1024, 256 << 20));
}

#[test]
fn flags_win_over_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("proxy.toml");
    let text = "listen = [\"127.0.0.1:1\", \"[::1]:2\"]\nadmin-listen = \"off\"\nupstream = \"http://a\"\n\
                whitelist = \"lists/a.toml\"\nmin-fresh-for = \"5s\"\nfresh-for = \"1m\"\ncache-size = \"1MiB\"\nlog-format = \"json\"\n\
                max-connections = 10\nmax-request-body = \"1MiB\"\n\
                tls-cert = \"cert.pem\"\ntls-key = \"/key.pem\"\ntrusted-proxy = [\"10.0.0.0/8\", \"::1\"]";
    fs::write(&path, text).expect("a file");
    let path = path.to_str().expect("a path");
    let config = load(&["--config", path, "--upstream", "http://b/", "--fresh-for", "2h"]).expect("settings");
    assert_eq!(config.listen.len(), 2);
    assert_eq!(*config.admin, Admin::Off);
    assert_eq!(config.upstream.authority, "b");
    let whitelist = config.whitelist.as_ref().expect("a file");
    assert_eq!(**whitelist, directory.path().join("lists/a.toml"));
    assert_eq!(config.cache.max_fresh_for, Some(Duration::from_hours(2)));
    assert_eq!(*config.cache.min_fresh_for, Duration::from_secs(5));
    assert_eq!(*config.cache.size, 1 << 20);
    assert_eq!(*config.log_format, LogFormat::Json);
    let Limits { connections, connections_per_address, request_body } = config.limits;
    assert_eq!((*connections, *connections_per_address, *request_body), (10, 3, 1 << 20));
    let Tls { cert, key } = config.tls.expect("both files");
    assert_eq!((&*cert, &*key), (&directory.path().join("cert.pem"), &PathBuf::from("/key.pem")));
    let place = |line, column| Source::File { path: path.into(), place: Place { line, column } };
    assert_eq!((cert.source, key.source), (place(11, 12), place(12, 11)));
    let sources = [&whitelist.source, &config.upstream.source, &config.cache.stale_for.source];
    assert_eq!(sources, [&place(4, 13), &Source::Flag("--upstream"), &Source::Default]);
    let trusted = config.trusted.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(trusted, ["10.0.0.0/8", "::1/128"]);
}

#[test]
fn addresses_are_read_as_in_other_servers_settings() {
    let check = |text: &str, expected: &str| {
        let config = load(&["--listen", text, "--admin-listen", text]).expect(text);
        assert_eq!(*config.listen, [expected.parse().expect("an address")]);
        assert_eq!(*config.admin, Admin::Required(config.listen[0]));
    };
    check("127.0.0.1:1", "127.0.0.1:1");
    check("[::]:8080", "[::]:8080");
    check(":8080", "0.0.0.0:8080");
    check("*:8080", "0.0.0.0:8080");
    check("localhost:8080", "127.0.0.1:8080");
    for text in [":", ":x", ":65536", "::8080", "8080", "localhost", "proxy:8080", "[::]8080"] {
        load(&["--listen", text]).expect_err(text);
    }
}

#[test]
fn names_what_is_wrong() {
    let check = |arguments: &[&str], part: &str| {
        let error = load(arguments).expect_err("wrong settings");
        assert!(error.contains(part), "{error}");
    };
    check(&["--listen", "x"], "--listen");
    check(&["--fresh-for", "10"], "a duration needs a unit, such as \"10m\"");
    check(&["--stale-for", "a week"], "expected a duration such as \"10m\"");
    check(&["--listen", "8080"], "an address like 0.0.0.0:8080");
    check(&["--listen", "::1"], "::1 has no port: expected an address like [::1]:8080");
    check(&["--listen", "proxy:8080"], "names other than localhost are not looked up");
    check(&["--cache-size", "lots"], "--cache-size");
    check(&["--cache-size", "256"], "needs a unit");
    check(&["--max-feed-size", "0"], "--max-feed-size: must be more than 0");
    check(&["--tls-cert", "a.pem"], "--tls-cert: --tls-cert and --tls-key belong together");
    check(&["--tls-key", "a.pem"], "--tls-key: ");
    check(&["--trusted-proxy", "10.0.0.0/33"], "expected a network like 10.0.0.0/8");
    check(&["--max-connections", "0"], "expected a whole number, at least 1");
    check(&["--upstream", "ext.plesk.com"], "--upstream: \"ext.plesk.com\" has no scheme or host");
    check(&["--upstream", "ftp://ext.plesk.com"], "neither http nor https");
    check(&["--upstream", "https://a:b@ext.plesk.com"], "must be a plain host");
    check(&["--upstream", "https://ext.plesk.com:99999"], "has a bad port");
    check(&["--upstream", "http://[::1]:0"], "has a bad port");
    check(&["--upstream", "https://ext.plesk.com/api"], "must have no path");
    check(&["--admin-listen", "on"], "--admin-listen");
    check(&["--notify-url", "hooks.example/x"], "--notify-url: not an http or https URL");
    check(&["--admin-tls"], "--admin-tls: needs --tls-cert and --tls-key");
    check(&["--admin-user-header", "X-User"], "--admin-user-header: needs --admin-trusted-proxy");
    check(&["--admin-user-header", "X User"], "--admin-user-header: \"X User\" is no name of a header field");
    check(&["--admin-trusted-proxy", "::1"], "--admin-trusted-proxy: needs --admin-user-header");
    check(&["--admin-host", "proxy.example:8081"], "expected a host name like proxy.example");
    check(&["--frsh-for", "1m"], "--fresh-for");
    check(&["--config", "/no/such.toml"], "cannot read configuration /no/such.toml");
}
