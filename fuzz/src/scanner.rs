//! Packages feed: the scanner accepts exactly what serde_json accepts, however the input is cut, and the
//! filter agrees with a model on parsed values.

use bytes::Bytes;
use catalog_proxy::feed::package::Package;
use catalog_proxy::feed::packages::{PackagesFilter, PackagesIndex, PackagesIndexer, Segment};
use catalog_proxy::feed::scan::{Event, Problem, ScanError, ScanPath, Scanner};
use catalog_proxy::seller::Seller;

use crate::input::Input;
use crate::json;

const NAMES: &[&str] = &["code", "buy_url", "top_packages"];
const ALLOWED: &[&str] = &["wp-toolkit", "docker"];

type Scanned = Result<Vec<Event>, ScanError>;

/// Checks one input.
pub fn check(data: &[u8]) {
    let input = Input::of(data);
    let (text, chunks) = (&*input.text, input.chunks());
    let elements = json::feed(text);
    let expected = elements.as_ref().map(|elements| events(text, elements));
    let portable = ScanPath::all().next().expect("the portable path");
    let whole = scan(portable, &[text], usize::MAX);
    assert_eq!(whole.as_ref().ok(), expected.as_ref(), "{whole:?}");
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    let limit = usize::from(data.first().copied().unwrap_or_default() % 8);
    let limited = scan(portable, &[text], limit);
    // Every path agrees, at any cuts, and wherever the text lies in the blocks that the scanner looks at.
    let shift = usize::from(data.last().copied().unwrap_or_default() % 64);
    let moved = [&b" ".repeat(shift), text].concat();
    for path in ScanPath::all() {
        for chunks in [&[text][..], &chunks, &bytes] {
            assert_eq!(scan(path, chunks, usize::MAX), whole);
            assert_eq!(scan(path, chunks, limit), limited);
        }
        assert_eq!(scan(path, &[&moved], usize::MAX).is_ok(), whole.is_ok());
    }
    if let Some(elements) = &elements {
        match elements.len() <= limit {
            true => assert_eq!(limited, whole),
            false => assert_eq!(limited.expect_err("too many").problem, Problem::TooMany),
        }
    }
    filters(text, &chunks, elements.as_deref());
}

fn scan(path: ScanPath, chunks: &[&[u8]], limit: usize) -> Scanned {
    let mut scanner = Scanner::new(NAMES).limited(limit).on(path);
    let mut events = Vec::new();
    for chunk in chunks {
        if let Err(error) = scanner.push(chunk, |event| events.push(event)) {
            assert_eq!(scanner.push(b"1", |_| ()), Err(error.clone()), "an error is final");
            assert_eq!(scanner.finish(), Err(error.clone()));
            return Err(error);
        }
    }
    scanner.finish().map(|()| events)
}

/// Returns the events that the scanner must report for a well-formed feed.
fn events(text: &[u8], elements: &[&str]) -> Vec<Event> {
    let mut events = Vec::new();
    for element in elements {
        for (name, value) in json::members(element).unwrap_or_default() {
            let name = json::unescape(name);
            if let Some(name) = NAMES.iter().position(|known| name.as_deref() == Some(known)) {
                events.push(Event::Member { name, value: json::span(text, value) });
            }
        }
        events.push(Event::Element(json::span(text, element)));
    }
    events
}

/// Checks the output of the filter, streamed and whole, also for a feed that turns out malformed midway.
fn filters(text: &[u8], chunks: &[&[u8]], elements: Option<&[&str]>) {
    let is_category = |element: &&str| !json::named(element, "top_packages").is_empty();
    let expected = elements.filter(|elements| !elements.iter().any(is_category));
    let mut streamed = Vec::new();
    let Some((body, index)) = stream(chunks, &mut streamed) else {
        assert!(expected.is_none(), "a good feed was refused");
        if !streamed.is_empty() {
            streamed.push(b']');
        }
        let left = std::str::from_utf8(&streamed).expect("whole characters");
        let sent = if left.is_empty() { Vec::new() } else { json::array(left).expect("whole elements") };
        assert!(sent.iter().all(|element| is_shown(element)), "sent before it broke: {left}");
        return;
    };
    let elements = expected.expect("a bad feed was taken");
    assert_eq!(body, text);
    assert_eq!(index.filter(&body, is_package_shown), streamed);
    let shown: Vec<&str> = elements.iter().copied().filter(|element| is_shown(element)).collect();
    let left = json::array(std::str::from_utf8(&streamed).expect("UTF-8")).expect("an array");
    assert_eq!(left, shown);
    if shown.len() == elements.len() {
        assert_eq!(streamed, text);
    }
}

/// Indexes and filters a feed chunk by chunk.
fn stream(chunks: &[&[u8]], sent: &mut Vec<u8>) -> Option<(Vec<u8>, PackagesIndex)> {
    let mut indexer = PackagesIndexer::bounded();
    let mut filter = PackagesFilter::default();
    let mut segments = Vec::new();
    for chunk in chunks {
        indexer.push(&Bytes::copy_from_slice(chunk)).ok()?;
        segments.extend(
            std::iter::from_fn(|| indexer.take()).inspect(|segment| send(&mut filter, segment, sent)),
        );
    }
    let last = indexer.finish().ok()?;
    send(&mut filter, &last, sent);
    segments.push(last);
    let (body, index) = PackagesIndex::assemble(&segments);
    Some((body.to_vec(), index))
}

fn send(filter: &mut PackagesFilter, segment: &Segment, sent: &mut Vec<u8>) {
    for part in filter.segment(segment, is_package_shown) {
        sent.extend_from_slice(&part);
    }
}

/// Returns true if the element must be shown: the model of the filter.
fn is_package_shown(package: &Package) -> bool {
    package.seller != Seller::Plesk || package.code.as_deref().is_some_and(|code| ALLOWED.contains(&code))
}

fn is_shown(element: &str) -> bool {
    match json::seller(json::text_of(element, "buy_url").as_deref()) {
        Seller::Free | Seller::Vendor => true,
        Seller::Plesk => json::text_of(element, "code").is_some_and(|code| ALLOWED.contains(&&*code)),
    }
}
