//! Settings that make no sense are named, with where they were given, and others are not.

use super::*;

#[test]
fn what_can_hardly_be_meant_is_named() {
    let check = |line: &str, expected: &[(&str, &str)]| {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let found = load(&arguments).expect(line).objections();
        assert_eq!(found.len(), expected.len(), "{line}: {found:?}");
        for (Objection { at, message }, (flag, part)) in found.iter().zip(expected) {
            assert!(at.to_string() == *flag && message.contains(part), "{line}: {at}: {message}");
        }
    };
    check("", &[]);
    check("--cache-size 64MiB", &[("--cache-size", "cannot hold one feed of --max-feed-size")]);
    check("--cache-size 64MiB --max-feed-size 32MiB", &[]);
    check("--max-feed-size 1MiB", &[("--max-feed-size", "may be too little")]);
    check("--stale-for 0s", &[("--stale-for", "0s: when the upstream fails, clients get errors")]);
    check("--stale-for 1m", &[]);
    check("--fresh-for 0s --min-fresh-for 0s", &[("--fresh-for", "asked again after each answer")]);
    check("--fresh-for 2days", &[("--fresh-for", "later by as much")]);
    check("--min-fresh-for 2m --fresh-for 1m", &[("--min-fresh-for", "2m is longer than --fresh-for (1m)")]);
    check("--min-fresh-for 1h", &[("--min-fresh-for", "1h is longer than --fresh-for (10m)")]);
    check("--client-max-age 1day", &[]);
    check("--client-max-age 25h", &[("--client-max-age", "reaches clients later")]);
    check("--max-connections 1", &[("--max-connections", "keeps all others out")]);
    check("--max-connections 16", &[]);
    check(
        "--max-connections 100 --max-connections-per-address 101",
        &[("--max-connections-per-address", "is more than --max-connections (100)")],
    );
    check("--trusted-proxy 0.0.0.0/0", &[("--trusted-proxy", "0.0.0.0/0 is everybody")]);
    check("--trusted-proxy ::/0,10.0.0.0/8", &[("--trusted-proxy", "::/0 is everybody")]);
    check(
        "--admin-user-header X-User --admin-trusted-proxy 0.0.0.0/0",
        &[("--admin-trusted-proxy", "anybody can say who they are")],
    );
    check("--listen :8081", &[("--listen", "the same port")]);
    check("--listen 127.0.0.1:9 --admin-listen 127.0.0.1:9", &[("--admin-listen", "the same port")]);
    check("--listen [::]:9 --admin-listen 127.0.0.1:9", &[("--admin-listen", "the same port")]);
    check("--listen 127.0.0.2:9 --admin-listen 127.0.0.1:9", &[]);
    check("--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", &[]);
    check("--listen :9 --listen :9", &[("--listen", "0.0.0.0:9 is there twice")]);
    check("--admin-listen off --admin-tokens t.toml", &[("--admin-listen", "there is no admin port")]);
    check(
        "--upstream http://127.0.0.1:8080",
        &[("--upstream", "leads back to this proxy (--listen 0.0.0.0:8080)")],
    );
    check("--upstream http://localhost --listen [::1]:80", &[("--upstream", "leads back")]);
    check("--upstream https://[::1] --listen [::]:443", &[("--upstream", "leads back")]);
    check("--upstream http://10.0.0.1:8080 --listen 10.0.0.1:8080", &[("--upstream", "leads back")]);
    check("--upstream http://127.0.0.1:8081", &[]);
    check("--upstream http://127.0.0.1:8080 --listen 10.0.0.1:8080", &[]);
    check(
        "--cache-dir /c --whitelist /c/whitelist.toml --shops /d",
        &[("--whitelist", "/c/whitelist.toml is in the cache directory")],
    );
    check("--cache-dir /c --whitelist /cc/whitelist.toml", &[]);
}

#[test]
fn tokens_in_the_clear_are_named() {
    let check = |line: &str, expected: bool| {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let found = load(&arguments).expect(line).exposure();
        assert_eq!(found.is_some_and(|found| found.at.to_string() == "--admin-listen"), expected, "{line}");
    };
    check("--admin-listen 0.0.0.0:8081 --admin-tokens t", true);
    check("--admin-listen 0.0.0.0:8081", false);
    check("--admin-listen 127.0.0.1:9 --admin-tokens t", false);
    check("--admin-listen off --admin-tokens t", false);
    check("--admin-listen :9 --admin-tokens t --admin-tls --tls-cert c --tls-key k", false);
}

#[test]
fn what_may_be_meant_is_remarked() {
    let check = |line: &str, parts: &[&str]| {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let found = load(&arguments).expect(line).remarks();
        assert_eq!(found.len(), parts.len(), "{line}: {found:?}");
        assert!(found.iter().zip(parts).all(|(one, part)| one.message.contains(part)), "{line}: {found:?}");
    };
    check("", &["after a restart there is nothing to serve"]);
    check("--cache-dir /c", &[]);
    check("--cache-dir /c --upstream http://proxy:8080", &["proxy:8080 is asked without encryption"]);
    check("--cache-dir /c --upstream http://127.0.0.1:9", &[]);
}
