//! A server that takes anything for a feed that any server might: it decodes and cuts what it is asked for in
//! every way and every order that is known of nginx, PHP, IIS, Tomcat and their frameworks. It compares without
//! case, but folds no letters beyond ASCII: no server of this kind does.

use std::collections::HashSet;
use std::io::Write;

use crate::upstream::{Request, Script, Step, Upstream, head_of, status};

/// Names of fields that some server or framework takes a path from, as CGI spells them.
const OVERRIDES: [&str; 12] = [
    "X_ORIGINAL_URL",
    "X_ORIGINAL_URI",
    "X_REWRITE_URL",
    "X_REWRITE_URI",
    "X_FORWARDED_URI",
    "X_FORWARDED_PATH",
    "X_REQUEST_URI",
    "X_PROXY_URL",
    "X_WAWS_UNENCODED_URL",
    "X_ENVOY_ORIGINAL_PATH",
    "DESTINATION",
    "REFERER",
];

/// Starts one that answers with `feed` whenever it can.
pub async fn start(feed: String) -> Upstream {
    Upstream::start(move |request| match is_feed(request) {
        true => answer(request, feed.as_bytes()),
        false => status(404, "text/html", b"<h1>not here</h1>"),
    })
    .await
}

/// Returns true if a lenient server might take a request for one for a feed.
pub fn is_feed(request: &Request) -> bool {
    let field = |wanted: &[&str]| {
        let names = |name: &str| wanted.contains(&name.replace('-', "_").to_ascii_uppercase().as_str());
        let found: Vec<_> = request.headers.iter().filter(|(name, _)| names(name)).collect();
        found.into_iter().map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let prefixes = field(&["X_FORWARDED_PREFIX", "X_SCRIPT_NAME"]);
    let prefixed = prefixes.iter().map(|prefix| format!("{prefix}{}", request.target));
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let values = query.split('&').map(|part| part.split_once('=').map_or(part, |(_, value)| value));
    let mut targets = vec![request.target.clone(), request.target.replacen('?', "/", 1)];
    targets.extend(values.map(|value| format!("/{value}")));
    targets.extend(prefixed);
    targets.extend(field(&OVERRIDES));
    targets.iter().any(|target| might_be_feed(target.as_bytes()))
}

/// Returns true if a target may lead to a feed, after any number of steps in any order.
pub fn might_be_feed(target: &[u8]) -> bool {
    /// More than any of the tests' targets has.
    const MOST: usize = 5_000;
    let mut seen = HashSet::from([target.to_vec()]);
    let mut open = vec![target.to_vec()];
    while let Some(target) = open.pop() {
        if is_plain_feed(&target) {
            return true;
        }
        assert!(seen.len() < MOST, "{:?}", String::from_utf8_lossy(&target));
        for step in STEPS {
            let next = step(&target);
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    false
}

fn is_plain_feed(target: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(target) else { return false };
    let segments: Vec<_> = path.split('/').collect();
    let [.., "api", version, "packages" | "categories"] = segments[..] else { return false };
    version.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Something that a server does to a target.
type TargetStep = fn(&[u8]) -> Vec<u8>;

const STEPS: [TargetStep; 14] = [
    decode_percent,
    decode_wide,
    decode_utf8_laxly,
    |target| target.to_ascii_lowercase(),
    backslashes,
    merge_slashes,
    resolve_dots,
    |target| cut_at(target, b"?#"),
    |target| cut_at(target, b"\0"),
    cut_parameters,
    trim_names,
    drop_controls,
    cut_extension,
    cut_index,
];

fn text(target: &[u8]) -> String {
    String::from_utf8_lossy(target).into_owned()
}

fn map_names(target: &[u8], change: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
    target.split(|byte| *byte == b'/').map(change).collect::<Vec<_>>().join(&b'/')
}

fn cut_at(target: &[u8], ends: &[u8]) -> Vec<u8> {
    target.split(|byte| ends.contains(byte)).next().unwrap_or(target).to_vec()
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits?).ok()?, 16).ok()
}

fn decode_percent(target: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < target.len() {
        match (target[at], hex(target.get(at + 1..at + 3))) {
            (b'%', Some(byte)) => {
                out.push(byte as u8);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// `%uXXXX`, as IIS and old scripts decode it.
fn decode_wide(target: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < target.len() {
        let wide = target[at..].starts_with(b"%u") || target[at..].starts_with(b"%U");
        match hex(target.get(at + 2..at + 6)).and_then(char::from_u32).filter(|_| wide) {
            Some(c) => {
                out.extend(c.to_string().bytes());
                at += 6;
            }
            None => {
                out.push(target[at]);
                at += 1;
            }
        }
    }
    out
}

/// Takes overlong encodings, and whatever byte comes where a continuation should be.
fn decode_utf8_laxly(target: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < target.len() {
        let (first, more) = match target[at] {
            lead @ 0xc0..=0xdf => (u32::from(lead & 0x1f), 1),
            lead @ 0xe0..=0xef => (u32::from(lead & 0x0f), 2),
            lead @ 0xf0..=0xf7 => (u32::from(lead & 0x07), 3),
            byte => (u32::from(byte), 0),
        };
        let Some(rest) = target.get(at + 1..at + 1 + more) else { break };
        let code = rest.iter().fold(first, |code, byte| code << 6 | u32::from(byte & 0x3f));
        match code {
            0..=0x7f => out.push(code as u8),
            _ => out.extend_from_slice(&target[at..=at + more]),
        }
        at += more + 1;
    }
    out
}

fn backslashes(target: &[u8]) -> Vec<u8> {
    text(target).replace('\\', "/").into_bytes()
}

fn merge_slashes(target: &[u8]) -> Vec<u8> {
    text(target)
        .split('/')
        .filter(|name| !name.is_empty())
        .fold(String::new(), |path, name| path + "/" + name)
        .into()
}

/// As RFC 3986 has it: a name may be empty.
fn resolve_dots(target: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"." => {}
            b".." if names.len() > 1 => drop(names.pop()),
            b".." => {}
            name => names.push(name),
        }
    }
    names.join(&b'/')
}

fn cut_parameters(target: &[u8]) -> Vec<u8> {
    map_names(target, |name| name.split(|byte| b";:&,".contains(byte)).next().unwrap_or(name))
}

/// Windows ignores dots and blanks at the end of a name, scripts trim them.
fn trim_names(target: &[u8]) -> Vec<u8> {
    map_names(target, |name| match name {
        b"." | b".." => name,
        name => {
            let end = name.iter().rposition(|byte| !b" .".contains(byte)).map_or(0, |at| at + 1);
            name[..end].trim_ascii_start()
        }
    })
}

fn drop_controls(target: &[u8]) -> Vec<u8> {
    target.iter().copied().filter(|byte| !byte.is_ascii_control()).collect()
}

fn cut_extension(target: &[u8]) -> Vec<u8> {
    let text = text(target);
    let cut = ["packages.", "categories."].iter().find_map(|name| Some(text.find(name)? + name.len() - 1));
    cut.map_or(target.to_vec(), |end| text[..end].into())
}

fn cut_index(target: &[u8]) -> Vec<u8> {
    let text = text(target);
    let (path, last) = text.trim_end_matches('/').rsplit_once('/').unwrap_or((&text, ""));
    let index = last.starts_with("index.") || last.is_empty();
    if index { path.into() } else { text.trim_end_matches('/').into() }
}

/// Answers in the best coding that the client takes.
fn answer(request: &Request, feed: &[u8]) -> Script {
    let accepted = request.header("accept-encoding").unwrap_or_default();
    let (coding, body) = match accepted {
        accepted if accepted.contains("zstd") => ("zstd", zstd::encode_all(feed, 3).unwrap()),
        accepted if accepted.contains("br") => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            encoder.write_all(feed).unwrap();
            ("br", encoder.into_inner())
        }
        accepted if accepted.contains("gzip") => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(feed).unwrap();
            ("gzip", encoder.finish().unwrap())
        }
        _ => ("identity", feed.to_vec()),
    };
    let fields = format!(
        "content-type: application/json\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n",
        body.len()
    );
    match request.method.as_str() {
        "HEAD" => vec![head_of(200, &fields)],
        _ => vec![head_of(200, &fields), Step::Send(body)],
    }
}
