//! Who may edit and who may read, and how failures are held.

use std::time::Instant;

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};

use super::*;
use crate::hex::hex;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// A gate with the editor alice (token `e`), and viewers as given (token `v`); `bob` edits and `carl` reads by header.
fn gate(has_viewers: bool) -> (Gate, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tokens.toml");
    let line = |token: &str| format!("\"sha256:{}\"", hex(digest(&SHA256, token.as_bytes()).as_ref()));
    let mut text = format!("[editors]\nalice = {}\nbob = \"header\"\n", line("e"));
    if has_viewers {
        text += &format!("[viewers]\nann = {}\ncarl = \"header\"\n", line("v"));
    }
    std::fs::write(&path, text).expect("a file");
    let tokens = WatchedTokens::load(path).expect("tokens");
    let user_header = UserHeader {
        name: HeaderName::from_static("x-user"),
        trusted: vec!["127.0.0.1".parse::<IpAddr>().expect("an address").into()],
    };
    let access = AdminAccess { user_header: Some(user_header), ..AdminAccess::default() };
    (Gate::new(&access, Some(tokens)), directory)
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

const BEARER: (&str, &str) = ("authorization", "Bearer e");
/// `alice:e`, `ann:v`, `ann:e`.
const BASIC: [&str; 3] = ["Basic YWxpY2U6ZQ==", "Basic YW5uOnY=", "Basic YW5uOmU="];

#[tokio::test(start_paused = true)]
async fn who_may_edit() {
    let (gate, _directory) = gate(true);
    let check = async |peer: IpAddr, fields: &[(&'static str, &str)], expected: Result<&str, u16>| {
        let answer = gate.admit_editor(peer, &headers(fields)).await;
        let answer = answer.map(|person| person.name).map_err(|problem| problem.status.as_u16());
        assert_eq!(answer.as_deref().map_err(|status| *status), expected, "{peer} {fields:?}");
    };
    check(OTHER, &[], Err(401)).await;
    check(OTHER, &[BEARER], Ok("alice")).await;
    check(OTHER, &[("authorization", "bearer e")], Ok("alice")).await;
    check(OTHER, &[("authorization", "Bearer v")], Err(403)).await;
    check(OTHER, &[("authorization", BASIC[0])], Ok("alice")).await;
    check(OTHER, &[("authorization", BASIC[1])], Err(403)).await;
    check(OTHER, &[("authorization", BASIC[2])], Err(401)).await;
    for wrong in
        ["Bearer x", "Bearer", "Bearer ", "Basic x", "Basic", "e", "", "Token e", "Bearer e, Bearer e"]
    {
        check(OTHER, &[("authorization", wrong)], Err(401)).await;
    }
    check(OTHER, &[BEARER, BEARER], Err(401)).await;
    // A proxy in front vouches, and nobody else.
    check(PEER, &[("x-user", "bob")], Ok("bob")).await;
    check(OTHER, &[("x-user", "bob")], Err(401)).await;
    check(PEER, &[("x-user", "bob"), ("x-user", "bob")], Err(401)).await;
    check(PEER, &[("x-user", "")], Err(401)).await;
    for other in ["carl", "alice", "Bob", "mallory", "bob,bob"] {
        check(PEER, &[("x-user", other)], Err(403)).await;
    }
    check(PEER, &[("x-user", "mallory"), BEARER], Ok("alice")).await;
    check(PEER, &[("x-user", "bob"), ("authorization", "Basic eDp5")], Ok("bob")).await;
}

#[tokio::test(start_paused = true)]
async fn who_may_read() {
    let (open, _one) = gate(false);
    let (restricted, _two) = gate(true);
    let check = async |gate: &Gate, needs, fields: &[(&'static str, &str)], expected: u16| {
        let answer = gate.admit_reader(needs, PEER, &headers(fields)).await;
        let status = answer.map_or_else(|problem| problem.status, |()| StatusCode::OK).as_u16();
        assert_eq!(status, expected, "{needs:?} {fields:?}");
    };
    let wrong = ("authorization", "Bearer x");
    check(&open, Needs::Reading, &[], 200).await;
    check(&open, Needs::Reading, &[wrong], 200).await;
    check(&open, Needs::Token, &[], 401).await;
    check(&open, Needs::Token, &[BEARER], 200).await;
    check(&restricted, Needs::Reading, &[], 401).await;
    check(&restricted, Needs::Reading, &[wrong], 401).await;
    check(&restricted, Needs::Reading, &[("x-user", "carl")], 200).await;
    check(&restricted, Needs::Reading, &[("x-user", "mallory")], 403).await;
    for needs in [Needs::Reading, Needs::Token] {
        check(&restricted, needs, &[("authorization", "Bearer v")], 200).await;
        check(&restricted, needs, &[BEARER], 200).await;
    }
    let none = Gate::new(&AdminAccess::default(), None);
    check(&none, Needs::Token, &[], 200).await;
    assert_eq!(none.admit_editor(PEER, &headers(&[BEARER])).await.expect_err("a problem").status, 403);
}

#[tokio::test(start_paused = true)]
async fn failures_are_slow_and_bounded_and_lock_nobody_out() {
    let (gate, _directory) = gate(false);
    let wrong = headers(&[("authorization", "Bearer x")]);
    let start = tokio::time::Instant::now();
    assert_eq!(gate.admit_editor(OTHER, &wrong).await.expect_err("a problem").status, 401);
    assert_eq!(start.elapsed(), FAILURE_PAUSE);

    let mut held: Vec<_> =
        (0..MAX_HELD_FAILURES).map(|_| Box::pin(gate.admit_editor(OTHER, &wrong))).collect();
    for failure in &mut held {
        assert!(failure.as_mut().now_or_never().is_none());
    }
    assert_eq!(gate.admit_editor(OTHER, &wrong).await.expect_err("a problem").status, 429);
    let real = Instant::now();
    assert!(gate.admit_editor(OTHER, &headers(&[BEARER])).await.is_ok(), "{:?}", real.elapsed());
    // Whoever hangs up gives the place back.
    held.pop();
    assert_eq!(gate.admit_editor(OTHER, &wrong).await.expect_err("a problem").status, 401);
}
