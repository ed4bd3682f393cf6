//! Model of the upstream: what servers do to a path before they look it up. Each function is one habit of some servers;
//! they are applied one by one in any order.

use std::collections::HashSet;

type Habit = fn(&[u8]) -> Vec<u8>;

const HABITS: &[Habit] = &[
    percent_decoded,
    percent_u_decoded,
    without_overlong,
    slashes_turned,
    slashes_merged,
    dots_resolved,
    parameters_cut,
    |path| cut_at(path, b';'),
    |path| cut_at(path, b'?'),
    |path| cut_at(path, b'#'),
    |path| cut_at(path, b'\0'),
    ends_trimmed,
    |path| path.iter().copied().filter(|byte| !byte.is_ascii_control()).collect(),
    <[u8]>::to_ascii_lowercase,
];

/// How many habits a chain of servers has, and how many paths are looked at in all.
const MAX_CHAIN: usize = 5;
const MAX_PATHS: usize = 300;

/// May some chain of servers take a path for a feed's?
pub fn may_take_for_feed(path: &str) -> bool {
    let mut seen = HashSet::from([path.as_bytes().to_vec()]);
    let mut now = vec![path.as_bytes().to_vec()];
    for _ in 0..=MAX_CHAIN {
        if now.iter().any(|path| is_plain_feed(path)) {
            return true;
        }
        let next: Vec<_> = now.iter().flat_map(|path| HABITS.iter().map(|habit| habit(path))).collect();
        now = next.into_iter().filter(|path| seen.len() < MAX_PATHS && seen.insert(path.clone())).collect();
    }
    false
}

/// Is it a feed's path as it should be, under any mount?
pub fn is_plain_feed(path: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(path) else { return false };
    let Some(rest) = path.strip_suffix("/packages").or_else(|| path.strip_suffix("/categories")) else {
        return false;
    };
    let Some((mount, version)) = rest.rsplit_once("/v") else { return false };
    mount.ends_with("/api") && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

fn percent_decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < path.len() {
        match path.get(i + 1..i + 3).and_then(hex).filter(|_| path[i] == b'%') {
            Some(byte) => {
                out.push(byte as u8);
                i += 3;
            }
            None => {
                out.push(path[i]);
                i += 1;
            }
        }
    }
    out
}

/// IIS and old Java frameworks.
fn percent_u_decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < path.len() {
        let digits = path.get(i + 2..i + 6).filter(|_| path[i] == b'%' && matches!(path[i + 1], b'u' | b'U'));
        match digits.and_then(hex).and_then(char::from_u32) {
            Some(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                i += 6;
            }
            None => {
                out.push(path[i]);
                i += 1;
            }
        }
    }
    out
}

/// Two bytes of UTF-8 for what takes one.
fn without_overlong(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < path.len() {
        match path[i..] {
            [lead @ (0xc0 | 0xc1), next @ 0x80..=0xbf, ..] => {
                out.push((lead & 1) << 6 | next & 0x3f);
                i += 2;
            }
            _ => {
                out.push(path[i]);
                i += 1;
            }
        }
    }
    out
}

fn slashes_turned(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

fn slashes_merged(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|a, b| *a == b'/' && *b == b'/');
    if out.len() > 1 && out.ends_with(b"/") {
        out.pop();
    }
    out
}

/// RFC 3986 §5.2.4.
fn dots_resolved(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        match segment {
            b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    segments.iter().flat_map(|segment| [b"/", *segment].concat()).collect()
}

/// Servlets.
fn parameters_cut(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default())
        .collect();
    segments.join(&b'/')
}

fn cut_at(path: &[u8], byte: u8) -> Vec<u8> {
    path.split(|other| *other == byte).next().unwrap_or_default().to_vec()
}

/// Windows: blanks and dots at the end of a name.
fn ends_trimmed(path: &[u8]) -> Vec<u8> {
    let trimmed = |segment: &[u8]| {
        let end = segment.iter().rposition(|byte| !b" .".contains(byte)).map_or(0, |at| at + 1);
        if segment == b".." || segment == b"." { segment.to_vec() } else { segment[..end].to_vec() }
    };
    let segments: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').map(trimmed).collect();
    segments.join(&b'/')
}
