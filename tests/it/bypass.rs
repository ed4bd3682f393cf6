//! No way around the filter: whatever a client sends, no hidden package is in any answer.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::PATIENCE;
use crate::lenient;
use crate::proxy::{Proxy, array, free, plesk};
use crate::support::Random;
use crate::upstream::Upstream;

/// The code of a package that is hidden.
const SECRET: &str = "xovi";
/// The code of a package that is retired: only servers that look for updates may see it.
const RETIRED: &str = "kolab";

async fn start() -> (Upstream, Proxy) {
    let packages: Vec<_> = (0..20).map(|n| free(&format!("extension-{n}"))).collect();
    let upstream =
        lenient::start(array(&[packages, vec![plesk("wp-toolkit"), plesk(SECRET), plesk(RETIRED)]].concat()))
            .await;
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        let text = format!("extensions = [\"wp-toolkit\"]\nretired = [{RETIRED:?}]\n");
        fs::write(config.whitelist.as_deref().unwrap(), text).unwrap();
    })
    .await;
    (upstream, proxy)
}

/// Sends bytes and returns everything received until the peer closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses early may close before it has read all.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end in time");
    answer
}

/// Fails if a response has a hidden package in it, plain or encoded.
fn assert_secret_is_kept(what: &str, answer: &[u8]) {
    let has = |bytes: &[u8], code: &str| bytes.windows(code.len()).any(|window| window == code.as_bytes());
    let shows = |bytes: &[u8]| has(bytes, SECRET) || has(bytes, RETIRED);
    assert!(!shows(answer), "{what}: {:?}", String::from_utf8_lossy(answer));
    let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return };
    let (head, body) = (String::from_utf8_lossy(&answer[..at]).to_lowercase(), &answer[at + 4..]);
    let mut decoded = Vec::new();
    // What was decoded before an error counts as well.
    let _ = match head.split("content-encoding: ").nth(1).map(|rest| &rest[..2]) {
        Some("gz") => flate2::read::MultiGzDecoder::new(body).read_to_end(&mut decoded),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_end(&mut decoded),
        Some("zs") => zstd::Decoder::new(body).unwrap().read_to_end(&mut decoded),
        _ => return,
    };
    assert!(!shows(&decoded), "{what}: {head}");
}

async fn check(proxy: &Proxy, request: &[u8]) {
    assert_secret_is_kept(&String::from_utf8_lossy(request), &exchange(proxy.address, request).await);
}

/// Targets that some server takes for a feed.
const SPELLINGS: &[&str] = &[
    "/api/v4/packages",
    "/api/v4/packages?platform=unix&with-hidden&locale=en-US",
    // Percent-encoding, once and more.
    "/api/v4/%70ackages",
    "/%61%70%69/%76%34/%70%61%63%6b%61%67%65%73",
    "/api/v4/%2570ackages",
    "/api/v4/%252570ackages",
    "/api/v4/%25252570ackages",
    "/api%2fv4%2Fpackages",
    "/api%252fv4%252fpackages",
    "/api/v4/pack%61ges%2f",
    "/api/v4/%u0070ackages",
    "/api%u2215/../api/v4/packages",
    "/api/v4/%25u0070ackages",
    // Slashes and dots.
    "//api/v4/packages",
    "///api///v4///packages///",
    "/api/v4/packages/",
    "/api/v4/packages/.",
    "/api/v4/packages/x/..",
    "/./api/./v4/./packages",
    "/../../api/v4/packages",
    "/x/%2e%2e/api/v4/packages",
    "/x/%252e%252e/api/v4/packages",
    "/api/v4//../packages",
    "/api/v4//%2e%2e/packages",
    "/api/v4/x//../../packages",
    "/api/v4/x%2f..%2fpackages",
    "/api/.../v4/packages",
    "/api/v4/..;/v4/packages",
    "/x/..;a=b/api/v4/packages",
    "/api\\v4\\packages",
    "/api%5cv4%5cpackages",
    "/api/v4/x\\..\\packages",
    "/api/v4/x%5c..%5cpackages",
    "/x%00/../api/v4/packages",
    // Parameters, ends, extensions.
    "/api/v4/packages;",
    "/api/v4/packages;jsessionid=1",
    "/api;x/v4;y=z/packages;w",
    "/api/v4/packages%3bx",
    "/api/v4/packages%3fx",
    "/api/v4/packages%3f/../../x",
    "/api/v4/packages%23x",
    "/api/v4/packages#x",
    "/api/v4/packages%00",
    "/api/v4/packages%00.html",
    "/api/v4/packages%2500",
    "/api/v4/packages%20",
    "/api/v4/packages.",
    "/api/v4/packages.%20.",
    "/api/v4/packages%0a",
    "/api/v4/pack%09ages",
    "/api/v4/pack%7fages",
    "/api/v4/packages::$DATA",
    "/api/v4/packages:x",
    "/api/v4/packages&x",
    "/api/v4/packages.json",
    "/api/v4/packages.php",
    "/api/v4/packages.php/x",
    "/api/v4/packages.json/x/y",
    "/api/v4/PACKAGES.JSON",
    "/api/v4/packages/index.php",
    "/api/v4/packages/index.html/",
    "/api/v4/packages%3fx/y",
    "/api/v4/packages/%3fx/y",
    "/api/v4/packages/;x",
    "/api/v4/packages/...",
    "/api/;x/v4/packages",
    "/api/v4/%20/packages",
    "/api/v4/%20packages",
    "/api/v4/packages%e2%80",
    "/index.php/api/v4/packages",
    "/public/index.php/api/v4/packages",
    // Letters.
    "/API/V4/PACKAGES",
    "/api/v4/Packages",
    "/api/v4/%50ackages",
    // Overlong.
    "/api/v4/%c1%b0ackages",
    "/api/v4/%c1pcategories/../packages",
    "/api/v4/%e0%81%b0ackages",
    "/api/v4/%f0%80%81%b0ackages",
    "/api%c0%afv4%c0%afpackages",
    "/api%c1%9cv4%c1%9cpackages",
    "/x/%c0%ae%c0%ae/api/v4/packages",
    "/api/v4/%25c1%25b0ackages",
    // Other forms, and the query.
    "http://elsewhere.example/api/v4/packages",
    "https://ext.plesk.com:443//api/v4/packages",
    "http://user@x/api/v4/packages/",
    "//ext.plesk.com/api/v4/packages",
    "/https://ext.plesk.com/api/v4/packages",
    "/x?/../api/v4/packages",
    "/?/api/v4/packages",
    "/index.php?r=api/v4/packages",
    "/index.php?a=b&route=%2fapi%2fv4%2fpackages",
    "/index.php?route=/api/v4/packages/",
    "/index.php?route=/api/v4/packages%26x=1",
    "/index.php?/api/v4/packages&x=1",
    "/index.php?r=/api;a/v4;b/packages",
    "/api?v4/packages",
    "/api/v4?packages&x=1",
];

#[tokio::test]
async fn no_spelling_leads_to_the_whole_feed() {
    let (_upstream, proxy) = start().await;
    for target in SPELLINGS {
        let asked = crate::upstream::Request {
            method: "GET".to_owned(),
            target: (*target).to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            body_len: 0,
            trailers: Vec::new(),
            nth: 0,
        };
        assert!(lenient::is_feed(&asked), "{target} leads nowhere");
        for target in [(*target).to_owned(), target.replace("packages", "categories")] {
            for accept in ["identity", "gzip", "br", "zstd, gzip;q=0.5"] {
                let fields = format!("host: x\r\nconnection: close\r\naccept-encoding: {accept}\r\n");
                check(&proxy, format!("GET {target} HTTP/1.1\r\n{fields}\r\n").as_bytes()).await;
            }
        }
        check(&proxy, format!("GET {target}\r\n\r\n").as_bytes()).await;
        check(&proxy, format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).await;
    }
}

/// Rewrites a path in a way that some server undoes.
fn disguise(path: &str, random: &mut Random) -> String {
    let at = (0..path.len()).map(|_| random.below(path.len())).find(|at| path.is_char_boundary(*at));
    let (before, after) = path.split_at(at.unwrap_or(0));
    let mut rest = after.chars();
    let c = rest.next().unwrap_or('/');
    let rest = rest.as_str();
    let instead = match random.below(16) {
        0..=3 => c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect(),
        4 if c.is_ascii() => format!("%u{:04x}", u32::from(c)),
        5 if c.is_ascii() => format!("%{:02x}%{:02x}", 0xc0 | c as u32 >> 6, 0x80 | c as u32 & 0x3f),
        6 if c == '/' => "/%20".to_owned(),
        7 => c.to_ascii_uppercase().to_string(),
        8 if c == '/' => "\\".to_owned(),
        9 if c == '/' => "//".to_owned(),
        10 if c == '/' => "/./".to_owned(),
        11 if c == '/' => "/x/../".to_owned(),
        12 if c == '/' => "//../x/".to_owned(),
        13 if c == '/' => ";x=y/".to_owned(),
        14 if c == '/' => "/;/".to_owned(),
        15 => format!("%0d{c}"),
        _ => c.to_string(),
    };
    format!("{before}{instead}{rest}")
}

#[tokio::test]
async fn no_mixture_of_disguises_leads_to_the_whole_feed() {
    let (_upstream, proxy) = start().await;
    let mut random = Random::new(7);
    let mut taken = 0;
    for _ in 0..1500 {
        let mut path = "/api/v4/packages".to_owned();
        for _ in 0..=random.below(5) {
            path = disguise(&path, &mut random);
        }
        // A target begins with a slash of its own.
        let target = if path.starts_with('/') { path } else { format!("/{path}") };
        taken += usize::from(lenient::might_be_feed(target.as_bytes()));
        check(&proxy, format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await;
    }
    assert!(taken > 1000, "only {taken} might be a feed");
}

#[tokio::test]
async fn no_method_leads_to_the_whole_feed() {
    let (_upstream, proxy) = start().await;
    let methods = [
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "PURGE",
        "PROPFIND",
        "SEARCH",
        "QUERY",
        "REPORT",
        "COPY",
        "get",
        "Get",
        "gET",
        "G",
        "GETT",
        "PRI",
        "X-GET",
        "!#$%&'*+-.^_`|~",
    ];
    for method in methods {
        for target in ["/api/v4/packages", "//api/v4/packages/", "/api/v4/%70ackages", "*", "x:443"] {
            for body in ["", "_method=GET", "{\"_method\":\"GET\"}"] {
                let fields = format!(
                    "host: x\r\nconnection: close\r\nx-http-method-override: GET\r\nx-http-method: GET\r\n\
                     x-method-override: GET\r\ncontent-type: application/x-www-form-urlencoded\r\n\
                     content-length: {}\r\n",
                    body.len()
                );
                check(&proxy, format!("{method} {target} HTTP/1.1\r\n{fields}\r\n{body}").as_bytes()).await;
                let overridden = format!("{method} {target}?_method=GET HTTP/1.1\r\n{fields}\r\n{body}");
                check(&proxy, overridden.as_bytes()).await;
            }
        }
    }
}

#[tokio::test]
async fn no_field_leads_to_the_whole_feed() {
    let (upstream, proxy) = start().await;
    let fields = [
        "x-original-url: /api/v4/packages",
        "x-original-uri: /api/v4/packages",
        "x_original_url: /api/v4/packages",
        "X-Original_URL: //api/v4/%70ackages",
        "x-rewrite-url: /api/v4/packages",
        "x-rewrite-uri: /api/v4/packages",
        "x-forwarded-uri: /api/v4/packages",
        "x-forwarded-path: /api/v4/packages?x",
        "x-request-uri: /api/v4/packages",
        "x-proxy-url: http://x/api/v4/packages",
        "x-waws-unencoded-url: /api/v4/packages",
        "x-envoy-original-path: /api/v4/packages",
        "destination: http://x/api/v4/packages",
        "referer: http://x/api/v4/packages",
        "x-forwarded-prefix: /api/v4",
        "x_forwarded_prefix: /api/v4",
        "x-script-name: /api",
        "connection: x-original-url\r\nx-original-url: /api/v4/packages",
        "connection: close, host\r\nx-rewrite-url: /api/v4/packages",
        "connection: via, x-forwarded-for, te\r\nte: trailers",
        "connection: content-length\r\ncontent-length: 3",
        "range: bytes=0-",
        "range: bytes=-500",
        "range: bytes=0-10,20-9999",
        "range: bytes=0-\r\nif-range: \"x\"",
        "accept: application/json",
        "accept: application/vnd.plesk.v4+json, text/html;q=0",
        "accept: image/*",
        "accept-encoding: identity;q=0",
        "accept-encoding: *;q=0",
        "accept-encoding: br, gzip, zstd",
        "if-none-match: *",
        "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
        "if-match: \"x\"",
        "cache-control: no-cache, no-store",
        "cache-control: only-if-cached",
        "expect: 100-continue",
        "expect: x",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
        "connection: upgrade\r\nupgrade: websocket",
        "host: ext.plesk.com",
        "x-forwarded-host: ext.plesk.com",
        "forwarded: for=1.2.3.4;host=ext.plesk.com",
        "transfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 0\r\ncontent-length: 5",
    ];
    for field in fields {
        for target in ["/", "/x", "/packages", "/v4/packages", "/api/v4/packages", "//api/v4/packages/?q"] {
            for method in ["GET", "POST", "HEAD"] {
                let request =
                    format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{field}\r\nconnection: close\r\n\r\n");
                // Where it is to be chunked, this ends it.
                check(&proxy, format!("{request}0\r\n\r\n").as_bytes()).await;
            }
        }
    }
    // A trailer can say the same.
    let head = "POST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntrailer: x-original-url\r\ntransfer-encoding: chunked";
    let request = format!("{head}\r\n\r\n1\r\nx\r\n0\r\nx-original-url: /api/v4/packages\r\n\r\n");
    check(&proxy, request.as_bytes()).await;
    let passed = upstream.requests().into_iter().rfind(|request| request.method == "POST").unwrap();
    assert_eq!((passed.body.as_slice(), passed.trailers.as_slice()), (b"x".as_slice(), [].as_slice()));
}

/// An upstream that does not read bodies, and so takes them for the next request.
async fn deaf_to_bodies(feed: String) -> SocketAddr {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let feed = feed.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut target, mut line) = (None, String::new());
                while let Ok(1..) = stream.read_line(&mut line).await {
                    match line.trim_end() {
                        "" => {
                            let found =
                                target.take().is_some_and(|t: String| lenient::might_be_feed(t.as_bytes()));
                            if found {
                                // Late enough to be taken for the answer to whatever is asked next.
                                tokio::time::sleep(Duration::from_millis(30)).await;
                            }
                            let body = if found { feed.as_str() } else { "nothing" };
                            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                            let _ = stream.get_mut().write_all(format!("{head}{body}").as_bytes()).await;
                        }
                        text => target = target.or_else(|| text.split(' ').nth(1).map(str::to_owned)),
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn no_body_is_taken_for_the_next_request() {
    let address = deaf_to_bodies(array(&[plesk(SECRET)])).await;
    let proxy = Proxy::start_with(&format!("http://{address}"), |_| ()).await;
    let smuggled = "\r\nGET /api/v4/packages HTTP/1.1\r\nhost: x\r\n\r\n";
    for method in ["GET", "POST", "DELETE", "BREW"] {
        for _ in 0..30 {
            let head = format!("{method} /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
            let sized = format!("{head}content-length: {}\r\n\r\n{smuggled}", smuggled.len());
            let chunked = format!(
                "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n",
                smuggled.len()
            );
            let plain = b"GET /y HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            for request in [sized.as_bytes(), plain, chunked.as_bytes(), plain] {
                check(&proxy, request).await;
            }
        }
    }
}

/// Sends one HTTP/2 request with the given fields; returns the frames received.
async fn http_2(address: SocketAddr, fields: &[(&str, &str)]) -> Vec<u8> {
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that is not indexed, not compressed (RFC 7541 §6.2.2).
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend(frame(4, 0, 0, b""));
    request.extend(frame(1, 5, 1, &block));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let mut head = [0; 9];
        if timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("a frame in time").is_err() {
            return answer;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return answer;
        }
        answer.extend(&payload);
        let (kind, ended, of_stream) = (head[3], head[4] & 1 == 1, head[8] == 1);
        // The end of the answer, a reset, or the end of all.
        if of_stream && (matches!(kind, 0 | 1) && ended || kind == 3) || kind == 7 {
            return answer;
        }
    }
}

#[tokio::test]
async fn no_pseudo_header_leads_to_the_whole_feed() {
    let (_upstream, proxy) = start().await;
    let shown = http_2(
        proxy.address,
        &[(":method", "GET"), (":scheme", "http"), (":path", "/api/v4/packages"), (":authority", "x")],
    )
    .await;
    assert!(shown.windows(10).any(|window| window == b"wp-toolkit"), "the feed itself is served");
    let paths = [
        "//api/v4/packages/",
        "/api/v4/%70ackages",
        "api/v4/packages",
        "*",
        "",
        "http://x/api/v4/packages",
        "?/api/v4/packages",
        "/x#/../api/v4/packages",
        "/x HTTP/1.1\r\nx-original-url: /api/v4/packages",
        "/api/v4/\u{ff50}ackages",
        "\\api\\v4\\packages",
        "/api/v4/packages\t",
    ];
    for path in paths {
        for (method, authority, scheme) in [
            ("GET", "x", "http"),
            ("get", "x", "https"),
            ("GET", "ext.plesk.com/api/v4/packages?", "http"),
            ("GET /api/v4/packages HTTP/1.1\r\nx: ", "x", "http"),
            ("CONNECT", "x:443", "http"),
            ("GET", "x", "http://ext.plesk.com/api/v4/packages?"),
        ] {
            let mut fields =
                vec![(":method", method), (":path", path), (":scheme", scheme), (":authority", authority)];
            for extra in [
                None,
                Some((":protocol", "websocket")),
                Some((":path", "/api/v4/packages")),
                Some(("host", "ext.plesk.com")),
                Some(("x-original-url", "/api/v4/packages")),
            ] {
                fields.truncate(4);
                fields.extend(extra);
                let answer = http_2(proxy.address, &fields).await;
                assert_secret_is_kept(&format!("{fields:?}"), &answer);
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_for_the_client() {
    use crate::upstream::{head_of, ok};
    let feed = array(&[plesk(SECRET), free("git")]);
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/icons/a.svg" => vec![head_of(302, "location: /api/v4/packages\r\ncontent-length: 0\r\n")],
        "/icons/b.svg" => vec![head_of(301, "location: //x/../api/v4/packages\r\ncontent-length: 0\r\n")],
        "/icons/c.svg" => vec![head_of(
            200,
            "x-accel-redirect: /api/v4/packages\r\nx-sendfile: /api/v4/packages\r\n\
                                             refresh: 0; url=/api/v4/packages\r\ncontent-length: 0\r\n",
        )],
        _ => ok(feed.as_bytes()),
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    for name in ["a", "b", "c"] {
        let answer = proxy.get(&format!("/icons/{name}.svg")).await;
        assert!(answer.body.is_empty(), "{answer:?}");
        // Whoever follows it ends at the filter.
        let location = answer.header("location").replace("//x/..", "");
        if !location.is_empty() {
            assert_eq!(proxy.get(&location).await.text(), array(&[free("git")]));
        }
    }
}
