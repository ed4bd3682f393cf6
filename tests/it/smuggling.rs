//! Ambiguous requests: refused, or passed on with one meaning only.

use crate::client::raw;
use crate::proxy::Proxy;
use crate::upstream::{Upstream, status};

/// Expected handling of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A response of this status, a closed connection, and no request to the upstream.
    Refused(u16),
    /// A single request for /x to the upstream, with this many bytes of body, and a closed connection.
    OneRequest(u64),
}
use Fate::{OneRequest, Refused};

/// Bytes that an attacker wants to be taken for a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn one_request_is_never_two() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start(&upstream).await;
    let check = async |head: &str, body: &str, fate: Fate| {
        let before = upstream.count();
        let request = format!("{head}{body}");
        let answer = raw(proxy.address, request.as_bytes()).await;
        let answer = answer.replacen("HTTP/1.0 ", "HTTP/1.1 ", 1);
        let seen = upstream.requests().split_off(before);
        let answers = answer.matches("HTTP/1.1 ").count();
        match fate {
            Refused(status) => {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
                assert!(answers == 1 && seen.is_empty(), "{request:?}: {answer} {seen:?}");
            }
            OneRequest(len) => {
                assert!(answers == 1 && answer.starts_with("HTTP/1.1 200 "), "{request:?}: {answer}");
                let seen: Vec<_> = seen.iter().map(|seen| (&*seen.target, seen.body_len)).collect();
                assert_eq!(seen, [("/x", len)], "{request:?}");
            }
        }
    };
    // The fields below the request line, of a POST to /x with a Host.
    let fields = async |fields: &str, body: &str, fate: Fate| {
        check(&format!("POST /x HTTP/1.1\r\nhost: x\r\n{fields}\r\n"), body, fate).await;
    };
    let smuggled_as_body = format!("0\r\n\r\n{SMUGGLED}");

    // Two lengths, and lengths that are none.
    fields("content-length: 0\r\ncontent-length: 5\r\n", SMUGGLED, Refused(400)).await;
    fields("content-length: 5\r\ncontent-length: 0\r\n", SMUGGLED, Refused(400)).await;
    for length in ["+1", "-1", "0x1", "1 1", "1,2", "1, 1", "1.0", "", "1_0", "18446744073709551616"] {
        fields(&format!("content-length: {length}\r\n"), SMUGGLED, Refused(400)).await;
    }
    // The same length twice says nothing else; `close` is there for the test to end.
    let twice = "content-length: 4\r\ncontent-length: 4\r\nconnection: close\r\n";
    fields(twice, "body", OneRequest(4)).await;
    // A length beside chunks: the chunks count, nobody is told of the length, and the connection ends
    // (RFC 9112 §6.3).
    for both in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 999\r\ntransfer-encoding: chunked\r\n",
    ] {
        fields(both, &smuggled_as_body, OneRequest(0)).await;
    }
    // Codings that are not chunked alone.
    for coding in [
        "identity",
        "gzip",
        "chunked, gzip",
        "xchunked",
        "\"chunked\"",
        "chunked\x0b",
        "chunked,",
        "",
        "chunked;q=1",
    ] {
        fields(&format!("transfer-encoding: {coding}\r\n"), &smuggled_as_body, Refused(400)).await;
    }
    fields("transfer-encoding: gzip, chunked\r\n", &smuggled_as_body, Refused(400)).await;
    fields("transfer-encoding: chunked, chunked\r\n", &smuggled_as_body, Refused(400)).await;
    fields("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", &smuggled_as_body, Refused(400))
        .await;
    fields("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", &smuggled_as_body, Refused(400))
        .await;
    let old = "POST /x HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    check(old, &smuggled_as_body, Refused(400)).await;

    // Lines that some take for one field and some for two, or for none.
    for line in [
        "x-a: 1\r\n folded\r\n",
        "x-a: 1\r\n\tfolded\r\n",
        " content-length: 5\r\n",
        "content-length : 5\r\n",
        "content-length\t: 5\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding\0: chunked\r\n",
        "x-a: 1\0\r\n",
        "x-a: 1\rx-b: 2\r\n",
        "x-a\n: 1\r\n",
        "x-a\r\n",
        ": 1\r\n",
        "x a: 1\r\n",
        "x-a: \x01\r\n",
        "x-(a): 1\r\n",
        "x-\u{e9}: 1\r\n",
    ] {
        fields(line, SMUGGLED, Refused(400)).await;
    }
    // A bare LF ends a line for us, and leaves as CRLF.
    check("POST /x HTTP/1.1\nhost: x\ncontent-length: 4\nconnection: close\n\n", "body", OneRequest(4)).await;

    // Hosts.
    check("GET /x HTTP/1.1\r\n\r\n", "", Refused(400)).await;
    check("GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "", Refused(400)).await;
    // An absolute target wins over Host (RFC 9112 §3.2.2).
    check("GET http://a/x HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", "", OneRequest(0)).await;
    check("GET http://a/x HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n", "", OneRequest(0)).await;
    check("GET http://a/x HTTP/1.0\r\nhost: b\r\n\r\n", "", OneRequest(0)).await;
    check("GET http://u@A:80/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "", OneRequest(0)).await;

    // Request lines.
    for line in [
        "GET /x",
        "GET  /x HTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET /x y HTTP/1.1",
        "GET /x HTTP/1.2",
        "GET /x HTTP/3.0",
        "GET /x http/1.1",
        "G\0T /x HTTP/1.1",
        "GET /x\0y HTTP/1.1",
        "GET /x\x7f HTTP/1.1",
        "GET\t/x HTTP/1.1",
        "GET x HTTP/1.1",
        " GET /x HTTP/1.1",
    ] {
        check(&format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n"), "", Refused(400)).await;
    }
}

#[tokio::test]
async fn chunks_are_taken_in_one_way() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start(&upstream).await;
    let head = "POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in [
        "-1\r\n",
        "0x4\r\nbody\r\n",
        "+4\r\nbody\r\n",
        "g\r\n",
        "\r\n",
        "4 4\r\nbody\r\n",
        "4\rbody\r\n",
        "4\r\nbodyXX0\r\n\r\n",
        "4\r\nbody0\r\n\r\n",
        "10000000000000000\r\n",
        "00000000000000004\r\nbody\r\n",
        "4;a\nb\r\nbody\r\n",
        "0\r\nx-a : 1\r\n\r\n",
        "0\r\n x: 1\r\n\r\n",
    ] {
        let answer = raw(proxy.address, format!("{head}{body}{SMUGGLED}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") || answer.is_empty(), "{body:?}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{body:?}: {answer}");
    }
    assert!(upstream.requests().is_empty(), "no request was ever whole: {:?}", upstream.requests());
    let good = "4;name=value\r\nbody\r\n0\r\n\r\n";
    let head = head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let answer = raw(proxy.address, format!("{head}{good}{SMUGGLED}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].body, b"body", "and no extension is passed on");
}

#[tokio::test]
async fn whatever_the_target_and_host_say_the_upstream_is_ours() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ours")).await;
    let other = Upstream::start(|_| status(200, "text/plain", b"leaked")).await;
    let proxy = Proxy::start(&upstream).await;
    let host = other.address;
    for (line, host) in [
        (format!("GET http://{host}/x HTTP/1.1"), host.to_string()),
        (format!("GET http://user@{host}/x HTTP/1.1"), host.to_string()),
        ("GET /x HTTP/1.1".to_owned(), host.to_string()),
        (format!("GET /@{host}/x HTTP/1.1"), "x".to_owned()),
        ("GET /x HTTP/1.1".to_owned(), String::new()),
        ("GET /x HTTP/1.1".to_owned(), "a b, c".to_owned()),
    ] {
        let before = upstream.count();
        let request = format!("{line}\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(proxy.address, request.as_bytes()).await;
        assert!(answer.ends_with("ours"), "{request}: {answer}");
        let seen = &upstream.requests()[before..];
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("host"), Some(upstream.address.to_string().as_str()), "{request}");
        assert!(seen[0].target.starts_with('/'), "{seen:?}");
    }
    assert_eq!(other.count(), 0);
}
