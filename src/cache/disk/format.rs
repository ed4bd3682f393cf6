//! File format of a cached feed: encoding and decoding, without I/O.
//!
//! Every version's first line begins with the same two words and its number, so that no version takes another's file
//! for damage.
//!
//! ```text
//! catalog-proxy copy 1 <SHA-256 of all that follows, in hex>\n
//! {"key": …, "kind": …, "stored": …, "lifetime": …, "age": …, "held": …, "etag": …, …}\n
//! <the feed as it came>
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Version};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cache::Key;
use crate::cache::cached_feed::{CachedFeed, Feed, FeedIndex, Meta};
use crate::cache::changes::{KeyChanges, Rename};
use crate::cache::freshness::Freshness;
use crate::feed::scan::ScanError;
use crate::feed::{FeedKind, categories, packages};
use crate::hex::hex;
use crate::news::Change;

/// Beginning of the first line, in every version.
const MAGIC: &str = "catalog-proxy copy ";
/// Version of the format, as it follows [`MAGIC`].
const VERSION: &str = "1 ";
/// Most digits of another version's number.
const MAX_VERSION_DIGITS: usize = 9;
/// Length of the beginning of a file that identifies its version.
pub(super) const VERSION_LEN: usize = MAGIC.len() + MAX_VERSION_DIGITS + 1;

/// HTTP versions other than 1.1, as a file has them.
const RECEIVED: [(Version, &str); 2] = [(Version::HTTP_10, "1.0"), (Version::HTTP_2, "2")];

/// Second line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    key: String,
    kind: String,
    /// Milliseconds since 1970.
    stored: u64,
    /// Seconds of freshness lifetime and of age on arrival.
    lifetime: u64,
    age: u64,
    /// Seconds it had been here when stored.
    held: u64,
    etag: Option<String>,
    last_modified: Option<String>,
    content_type: Option<String>,
    /// HTTP version of the response, as `Via` has it, unless it is 1.1. Ignored by versions that do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    received: Option<String>,
    /// Optional, and ignored by versions that do not know it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unconfirmed: Vec<Change>,
    /// Optional, and ignored by versions that do not know it. INVARIANT: `unconfirmed` has what they know of the same
    /// changes, and no kind of change that they do not know. They take a header that they cannot read for one of
    /// another version, whose file they never write again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unconfirmed_renames: Vec<Rename>,
}

/// Reason why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("of another version of the format")]
    OtherVersion,
    #[error("not a file of this cache")]
    Format,
    #[error("the checksum does not match")]
    Checksum,
    #[error("of another key")]
    Key,
    #[error("its feed is not valid: {0}")]
    Feed(#[from] ScanError),
}

impl Unusable {
    /// Returns true if it proves that the file will never be of use to any version.
    ///
    /// INVARIANT: only then may the file be removed.
    pub(super) fn proves_bad(&self) -> bool {
        match self {
            Self::Io(_) | Self::OtherVersion => false,
            Self::Format | Self::Checksum | Self::Key | Self::Feed(_) => true,
        }
    }
}

/// Returns true if a file that begins so was written in another version of the format.
pub(super) fn is_other_version(start: &[u8]) -> bool {
    let Some(rest) = start.strip_prefix(MAGIC.as_bytes()) else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = (1..=MAX_VERSION_DIGITS).contains(&digits) && rest.get(digits) == Some(&b' ');
    number && !rest.starts_with(VERSION.as_bytes())
}

/// Encodes everything in a file before the feed.
///
/// # Errors
/// If the header cannot be written as JSON.
pub fn head(key: &Key, copy: &CachedFeed, now: SystemTime) -> serde_json::Result<Vec<u8>> {
    let freshness = copy.meta.freshness;
    let text = |value: &Option<HeaderValue>| value.as_ref()?.to_str().ok().map(str::to_owned);
    let header = Header {
        key: key.as_str().to_owned(),
        kind: key.kind().name().to_owned(),
        stored: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        lifetime: freshness.lifetime.as_secs(),
        age: freshness.age.as_secs(),

        held: copy.resident(Instant::now()).as_secs(),
        etag: text(&copy.meta.etag),
        last_modified: text(&copy.meta.last_modified),
        content_type: text(&copy.meta.content_type),
        received: RECEIVED
            .iter()
            .find(|(version, _)| *version == copy.meta.version)
            .map(|(_, name)| (*name).into()),
        unconfirmed: copy.meta.unconfirmed.by_code.clone(),
        unconfirmed_renames: copy.meta.unconfirmed.renames.clone(),
    };
    let mut line = serde_json::to_vec(&header)?;
    line.push(b'\n');
    let first = format!("{MAGIC}{VERSION}{}\n", checksum([&line, &copy.feed.body]));
    Ok([first.as_bytes(), &line].concat())
}

/// Decodes a file after checking that it is a valid copy for `key`. `confirmed` is the time of its last confirmation.
///
/// # Errors
/// If anything about it is wrong.
pub fn decode(
    file: &Bytes,
    key: &Key,
    confirmed: SystemTime,
    now: SystemTime,
) -> Result<CachedFeed, Unusable> {
    let (header, feed) = parse(file)?;
    if header.key != key.as_str() || header.kind != key.kind().name() {
        return Err(Unusable::Key);
    }
    let (body, index) = index(key.kind(), &feed)?;
    let stored = (UNIX_EPOCH + Duration::from_millis(header.stored)).max(confirmed.min(now));
    // As strict as writing: other values are none that a file of ours has.
    let value =
        |text: Option<String>| HeaderValue::from_str(&text?).ok().filter(|value| value.to_str().is_ok());
    Ok(CachedFeed {
        feed: Arc::new(Feed::new(body, index)),
        meta: Meta {
            etag: value(header.etag),
            last_modified: value(header.last_modified),
            content_type: value(header.content_type),
            freshness: Freshness { lifetime: seconds(header.lifetime), age: seconds(header.age) },
            version: RECEIVED
                .iter()
                .find(|(_, name)| header.received.as_deref() == Some(name))
                .map_or(Version::HTTP_11, |(version, _)| *version),
            // A clock that went back makes it look new, which is no harm: it was good.
            held: seconds(header.held) + now.duration_since(stored).unwrap_or_default(),
            arrived: Instant::now(),
            refresh_after: Duration::ZERO,
            unconfirmed: Arc::new(KeyChanges {
                by_code: header.unconfirmed,
                renames: header.unconfirmed_renames,
            }),
        },
    })
}

/// A packages feed in a file, whatever its query.
#[derive(Debug)]
pub struct PackagesCopy {
    /// Path and query that it was fetched with.
    pub key: String,
    pub body: Bytes,
    pub index: packages::PackagesIndex,
}

/// Reads a file if it is a packages feed.
///
/// # Errors
/// If anything about it is wrong.
pub fn packages(file: &Bytes) -> Result<PackagesCopy, Unusable> {
    let (header, body) = parse(file)?;
    if header.kind != FeedKind::Packages.name() {
        return Err(Unusable::Key);
    }
    let index = packages::PackagesIndex::of(&body)?;
    Ok(PackagesCopy { key: header.key, body, index })
}

/// Reads the key of a file's feed.
///
/// # Errors
/// If anything about the file is wrong, or the key is none of a feed.
pub fn key(file: &Bytes) -> Result<Key, Unusable> {
    let (header, _) = parse(file)?;
    let kind = [FeedKind::Packages, FeedKind::Categories].into_iter().find(|kind| kind.name() == header.kind);
    let key = kind.and_then(|kind| Key::stored(kind, &header.key));
    key.ok_or(Unusable::Key)
}

/// Converts seconds to a duration, bounded so that sums do not overflow whatever a file says.
fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(u64::MAX / 8))
}

/// Checks a file and returns its header and its feed.
fn parse(file: &Bytes) -> Result<(Header, Bytes), Unusable> {
    if is_other_version(file) {
        return Err(Unusable::OtherVersion);
    }
    let line_end = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').ok_or(Unusable::Format);
    let end = line_end(file)?;
    let expected = file[..end].strip_prefix(MAGIC.as_bytes()).ok_or(Unusable::Format)?;
    let expected = expected.strip_prefix(VERSION.as_bytes()).ok_or(Unusable::Format)?;
    let content = file.slice(end + 1..);
    if checksum([&content]).as_bytes() != expected {
        return Err(Unusable::Checksum);
    }
    let end = line_end(&content)?;
    // It is intact, so somebody wrote it so: a development version, perhaps.
    let header = serde_json::from_slice(&content[..end]).map_err(|_| Unusable::OtherVersion)?;
    Ok((header, content.slice(end + 1..)))
}

/// Indexes a feed of either kind.
pub(super) fn index(kind: FeedKind, body: &Bytes) -> Result<(Bytes, FeedIndex), ScanError> {
    match kind {
        FeedKind::Packages => Ok((body.clone(), FeedIndex::Packages(packages::PackagesIndex::of(body)?))),
        FeedKind::Categories => {
            let mut indexer = categories::CategoriesIndexer::default();
            indexer.push(body)?;
            let (body, index) = indexer.finish()?;
            Ok((body.into(), FeedIndex::Categories(index)))
        }
    }
}

/// Returns the SHA-256 of some bytes in parts, in hex.
pub fn checksum<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    parts.iter().for_each(|part| hash.update(part));
    hex(hash.finish().as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;
    use crate::news::SellerName;

    #[test]
    fn tells_another_version_from_damage() {
        let check = |start: &str, expected: bool| {
            assert_eq!(is_other_version(start.as_bytes()), expected, "{start:?}");
        };
        check("catalog-proxy copy 1 0123", false);
        check("catalog-proxy copy 2 0123", true);
        check("catalog-proxy copy 0 ", true);
        check("catalog-proxy copy 10 sha512:", true);
        check("catalog-proxy copy 999999999 x", true);
        check("catalog-proxy copy 9999999999 x", false);
        check("catalog-proxy copy 2", false);
        check("catalog-proxy copy  ", false);
        check("catalog-proxy copy x ", false);
        check("catalog-proxy Copy 2 ", false);
        check("hello\n", false);
        check("", false);
    }

    #[test]
    fn a_copy_is_as_old_as_its_storing_or_its_last_confirmation() {
        let key = Key::new(FeedKind::Packages, &PathAndQuery::from_static("/api/v4/packages"));
        let copy = crate::cache::tests::packages("[]");
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let check = |confirmed: u64, held: u64| {
            let file = [&*head(&key, &copy, at(1000)).expect("a header"), &copy.feed.body].concat();
            let copy = decode(&file.into(), &key, at(confirmed), at(1100)).expect("a copy");
            assert_eq!(copy.meta.held.as_secs(), held, "confirmed at {confirmed}");
        };
        check(0, 100);
        check(1030, 70);
        check(1200, 0);
    }

    #[test]
    fn no_header_of_a_file_is_too_much() {
        let key = Key::new(FeedKind::Packages, &PathAndQuery::from_static("/api/v4/packages"));
        let copy = |etag: &str, seconds: u64| {
            let times =
                format!(r#""stored":{seconds},"lifetime":{seconds},"age":{seconds},"held":{seconds}"#);
            let name = r#""key":"/api/v4/packages","kind":"packages""#;
            let content = format!("{{{name},{times},\"etag\":{etag}}}\n[]");
            let file = format!("{MAGIC}{VERSION}{}\n{content}", checksum([content.as_bytes()]));
            decode(&file.into(), &key, UNIX_EPOCH, SystemTime::now()).expect("a copy")
        };
        let endless = copy("null", u64::MAX);
        assert!(endless.age(Instant::now()) > Duration::from_secs(u64::MAX / 8));
        assert_eq!(copy(r#""\"v1\"""#, 0).meta.etag, Some(HeaderValue::from_static("\"v1\"")));
        assert_eq!(copy(r#""\u00b9""#, 0).meta.etag, None);
        assert_eq!(copy(r#""a\nb""#, 0).meta.etag, None);

        // What was read is what is written.
        let again = |copy: &CachedFeed| {
            let head = head(&key, copy, UNIX_EPOCH).expect("a header");
            let file = [&head, &*copy.feed.body].concat();
            decode(&file.into(), &key, UNIX_EPOCH, SystemTime::now()).expect("a copy").meta
        };
        let mut copy = copy(r#""\"v1\"""#, 7);
        let meta = again(&copy);
        assert_eq!((meta.etag, meta.freshness), (copy.meta.etag.clone(), copy.meta.freshness));
        assert!(meta.unconfirmed.is_empty());
        let change =
            Change::between("a", Some("A".to_owned()), Some(SellerName::Free), Some(SellerName::Plesk));
        let rename = Rename {
            uuid: "00d002a7-3252-4996-8a08-aa1c89cf29f7".to_owned(),
            from: "a".to_owned(),
            seller_before: SellerName::Free,
            to: "b".to_owned(),
            seller: SellerName::Plesk,
            name: None,
        };
        let unconfirmed = KeyChanges { by_code: change.into_iter().collect(), renames: vec![rename] };
        copy.meta.unconfirmed = Arc::new(unconfirmed);
        let unconfirmed = again(&copy).unconfirmed;
        assert_eq!((unconfirmed.len(), &unconfirmed), (2, &copy.meta.unconfirmed));
        assert!(unconfirmed.weight() > 2 * size_of::<Change>());
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            copy.meta.version = version;
            assert_eq!(again(&copy).version, version);
        }
    }
}
