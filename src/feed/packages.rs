//! Packages feed: its index, which is made while the feed arrives, and its filter.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::kept_ranges::KeptRanges;
use super::package::Package;
use super::problem::ALLOCATION;
use super::scan::{Event, MAX_ELEMENTS, Problem, ScanError, ScanPath, Scanner};
use super::text;
use crate::seller::Seller;

const MEMBERS: &[&str] = &["code", "buy_url", "top_packages"];
const TOP_PACKAGES: usize = 2;

/// Average size of an element in the real catalog, in bytes.
const USUAL_ELEMENT_BYTES: usize = 6 << 10;

/// Element of the feed with what the filter decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPackage {
    /// Span of the element, in bytes from the start of the feed.
    pub span: Range<usize>,
    /// Code and seller.
    pub package: Package,
}

/// Run of bytes of the feed that ends with an element, or with the feed.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Offset of the bytes in the feed.
    pub offset: usize,
    /// Bytes as the upstream sent them.
    pub bytes: Bytes,
    /// End of the feed's opening bracket.
    pub head: usize,
    /// Elements that end in these bytes.
    pub entries: Vec<IndexedPackage>,
    /// True if the feed ends here and is complete and well-formed.
    pub last: bool,
}

/// Index of a complete packages feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagesIndex {
    /// End of the feed's opening bracket.
    pub head: usize,
    /// Elements in the order of the feed.
    pub entries: Vec<IndexedPackage>,
}

/// Indexes a feed while it arrives. Holds only what was not taken yet.
///
/// The default has no limit on the number of elements.
#[derive(Debug)]
pub struct PackagesIndexer {
    scanner: Scanner,
    /// Offset of the next chunk.
    base: usize,
    /// Bytes before the next chunk that belong to no segment yet.
    begun: Vec<u8>,
    segments: VecDeque<Segment>,
    members: [Option<Range<usize>>; MEMBERS.len()],
    /// Offset of a category among the packages, if there is one.
    category: Option<usize>,
}

impl Default for PackagesIndexer {
    fn default() -> Self {
        Self {
            scanner: Scanner::new(MEMBERS),
            base: 0,
            begun: Vec::new(),
            segments: VecDeque::new(),
            members: [const { None }; MEMBERS.len()],
            category: None,
        }
    }
}

impl PackagesIndexer {
    /// Makes an indexer that accepts at most [`MAX_ELEMENTS`] elements, for a feed that is kept in memory.
    pub fn bounded() -> Self {
        let indexer = Self::default();
        Self { scanner: indexer.scanner.limited(MAX_ELEMENTS), ..indexer }
    }

    /// Replaces the scanner's path, before the first byte; for tests and benchmarks.
    pub fn on(self, path: ScanPath) -> Self {
        Self { scanner: self.scanner.on(path), ..self }
    }

    /// Indexes the next bytes. Only those of an incomplete element are copied.
    ///
    /// # Errors
    /// If the feed is not well-formed (see [`Scanner::push`]), or if it holds a category: the top packages of a
    /// categories feed sent in the place of a packages feed would pass unfiltered.
    pub fn push(&mut self, chunk: &Bytes) -> Result<(), ScanError> {
        let Self { scanner, base, begun, members, category, .. } = self;
        let offset = *base - begun.len();
        let mut entries = Vec::new();
        scanner.push(chunk, |event| match event {
            Event::Member { name: TOP_PACKAGES, value } => {
                category.get_or_insert(value.start);
            }
            // The last of repeated members wins, as in PHP.
            Event::Member { name, value } => members[name] = Some(value),
            Event::Element(span) => {
                let (bytes, offset) = if entries.is_empty() && !begun.is_empty() {
                    begun.extend_from_slice(&chunk[..span.end - *base]);
                    (begun.as_slice(), offset)
                } else {
                    (chunk.as_ref(), *base)
                };
                let [code, buy_url, _] = members.each_mut().map(|member| {
                    let value = member.take()?;
                    text::decode(&bytes[value.start - offset..value.end - offset])
                });
                let package = Package { code: code.map(Cow::into), seller: Seller::of(buy_url.as_deref()) };
                entries.push(IndexedPackage { span, package });
            }
        })?;
        if let Some(offset) = *category {
            return Err(ScanError { offset, problem: Problem::Misplaced("category") });
        }
        self.cut(chunk, entries);
        self.base += chunk.len();
        Ok(())
    }

    /// Makes segments of the complete elements: one of the element that began before `chunk`, one of the
    /// others.
    fn cut(&mut self, chunk: &Bytes, mut entries: Vec<IndexedPackage>) {
        let mut from = 0;
        if !self.begun.is_empty() && !entries.is_empty() {
            let rest = entries.split_off(1);
            from = entries[0].span.end - self.base;
            let bytes = std::mem::take(&mut self.begun).into();
            self.segment(self.base + from, bytes, std::mem::replace(&mut entries, rest));
        }
        if let Some(last) = entries.last() {
            let end = last.span.end - self.base;
            self.segment(self.base + end, chunk.slice(from..end), entries);
            from = end;
        }
        if self.begun.is_empty() {
            // Room for the rest of the element as well, in most cases.
            self.begun.reserve(chunk.len() - from + USUAL_ELEMENT_BYTES);
        }
        self.begun.extend_from_slice(&chunk[from..]);
    }

    fn segment(&mut self, end: usize, bytes: Bytes, entries: Vec<IndexedPackage>) {
        let (offset, head) = (end - bytes.len(), self.scanner.head());
        self.segments.push_back(Segment { offset, bytes, head, entries, last: false });
    }

    /// Removes and returns the next segment, if one is complete.
    pub fn take(&mut self) -> Option<Segment> {
        self.segments.pop_front()
    }

    /// Ends the feed, and returns everything that was not taken as its last segment.
    ///
    /// # Errors
    /// If the feed is incomplete.
    pub fn finish(mut self) -> Result<Segment, ScanError> {
        self.scanner.finish()?;
        let rest = std::mem::take(&mut self.begun).into();
        self.segment(self.base, rest, Vec::new());
        let (mut parts, mut entries) = (Vec::new(), Vec::new());
        let offset = self.segments.front().map_or(self.base, |segment| segment.offset);
        for segment in self.segments {
            parts.push(segment.bytes);
            entries.extend(segment.entries);
        }
        Ok(Segment { offset, bytes: parts.concat().into(), head: self.scanner.head(), entries, last: true })
    }
}

impl IndexedPackage {
    /// Returns about how many bytes it takes in memory, beside those of the feed.
    fn weight(&self) -> usize {
        let code = self.package.code.as_ref().map_or(0, |code| code.len() + ALLOCATION);
        size_of::<Self>() + code
    }
}

impl Segment {
    /// Returns about how many bytes it takes in memory, beside those of the feed.
    pub fn weight(&self) -> usize {
        let spare = self.entries.capacity() - self.entries.len();
        let entries: usize = self.entries.iter().map(IndexedPackage::weight).sum();
        size_of::<Self>() + 2 * ALLOCATION + spare * size_of::<IndexedPackage>() + entries
    }
}

impl PackagesIndex {
    /// Returns about how many bytes it takes in memory, beside those of the feed.
    pub fn weight(&self) -> usize {
        let spare = self.entries.capacity() - self.entries.len();
        spare * size_of::<IndexedPackage>() + self.entries.iter().map(IndexedPackage::weight).sum::<usize>()
    }

    /// Indexes a whole feed of at most [`MAX_ELEMENTS`] elements.
    ///
    /// # Errors
    /// As [`PackagesIndexer::push`] and [`PackagesIndexer::finish`].
    pub fn of(body: &Bytes) -> Result<Self, ScanError> {
        let mut indexer = PackagesIndexer::bounded();
        indexer.push(body)?;
        let mut entries = Vec::new();
        while let Some(segment) = indexer.take() {
            entries.extend(segment.entries);
        }
        entries.shrink_to_fit();
        Ok(Self { head: indexer.finish()?.head, entries })
    }

    /// Joins the segments of a complete feed into its body and its index.
    pub fn assemble(segments: &[Segment]) -> (Bytes, Self) {
        let mut body = Vec::with_capacity(segments.iter().map(|segment| segment.bytes.len()).sum());
        let mut entries = Vec::with_capacity(segments.iter().map(|segment| segment.entries.len()).sum());
        for segment in segments {
            body.extend_from_slice(&segment.bytes);
            entries.extend_from_slice(&segment.entries);
        }
        let head = segments.first().map_or(0, |segment| segment.head);
        (body.into(), Self { head, entries })
    }

    /// Returns a copy of `body` with the packages that are shown only.
    pub fn filter(&self, body: &[u8], is_shown: impl Fn(&Package) -> bool) -> Vec<u8> {
        let mut kept = KeptRanges::default();
        kept.open(self.head);
        for entry in &self.entries {
            kept.element(entry.span.clone(), is_shown(&entry.package));
        }
        kept.close(body.len());
        kept.join(body)
    }
}

/// Filters a feed segment by segment.
#[derive(Debug, Default)]
pub struct PackagesFilter {
    kept: KeptRanges,
    opened: bool,
}

impl PackagesFilter {
    /// Returns the parts of `segment` that are shown, without copying them.
    ///
    /// Must be called once for each segment, in the order of the feed.
    pub fn segment<'a>(
        &'a mut self,
        segment: &'a Segment,
        is_shown: impl Fn(&Package) -> bool,
    ) -> impl Iterator<Item = Bytes> + 'a {
        if !self.opened {
            self.opened = true;
            self.kept.open(segment.head);
        }
        for entry in &segment.entries {
            self.kept.element(entry.span.clone(), is_shown(&entry.package));
        }
        if segment.last {
            self.kept.close(segment.offset + segment.bytes.len());
        }
        let relative = |range: Range<usize>| range.start - segment.offset..range.end - segment.offset;
        self.kept.take().map(move |range| segment.bytes.slice(relative(range)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const ALLOWED: &[&str] = &["wp-toolkit", "docker"];

    fn allowed(code: &str) -> bool {
        ALLOWED.contains(&code)
    }

    fn is_shown(package: &Package) -> bool {
        package.seller != Seller::Plesk || package.code.as_deref().is_some_and(allowed)
    }

    /// Filters as a stream, taking segments after every chunk, and as a whole; both must agree.
    fn filter(feed: &[u8], chunk: usize) -> Result<String, ScanError> {
        let mut indexer = PackagesIndexer::default();
        let mut filter = PackagesFilter::default();
        let mut segments = Vec::new();
        let mut streamed = Vec::new();
        for chunk in feed.chunks(chunk) {
            indexer.push(&Bytes::copy_from_slice(chunk))?;
            segments.extend(std::iter::from_fn(|| indexer.take()));
        }
        segments.push(indexer.finish()?);
        for segment in &segments {
            streamed.extend(filter.segment(segment, is_shown));
        }
        let (body, index) = PackagesIndex::assemble(&segments);
        assert_eq!(body, feed);
        let whole = index.filter(&body, is_shown);
        assert_eq!(streamed.concat(), whole);
        Ok(String::from_utf8(whole).expect("UTF-8"))
    }

    #[test]
    fn drops_hidden_packages_and_nothing_else() {
        let check = |feed: &str, expected: &str| {
            for chunk in (1..=feed.len().min(90)).chain([10_000]) {
                assert_eq!(
                    filter(feed.as_bytes(), chunk).as_deref(),
                    Ok(expected),
                    "{feed} in chunks of {chunk}"
                );
            }
        };
        let plesk = |code: &str| format!(r#"{{"code":"{code}","buy_url":"https:\/\/go.plesk.com\/{code}"}}"#);
        let (a, b, x) = (plesk("wp-toolkit"), plesk("docker"), plesk("imunify360"));
        check("[]", "[]");
        check(" [ ] \n", " [ ] \n");
        check(&format!("[{a}]"), &format!("[{a}]"));
        check(&format!("[{x}]"), "[]");
        check(&format!("[{x},{a},{x},{b},{x}]"), &format!("[{a},{b}]"));
        check(&format!(" [ {a} , {x} , {b} ] "), &format!(" [ {a} , {b} ] "));
        let shown = |element: &str| check(&format!("[{x},{element},{x}]"), &format!("[{element}]"));
        let hidden = |element: &str| check(&format!("[{a},{element}]"), &format!("[{a}]"));
        shown("{}");
        shown("null");
        shown("12");
        shown(r#""go.plesk.com""#);
        shown(r#"["https://go.plesk.com/"]"#);
        shown(r#"{"code":"x"}"#);
        shown(r#"{"code":"x","buy_url":null}"#);
        shown(r#"{"code":"x","buy_url":""}"#);
        shown(r#"{"code":"x","buy_url":12}"#);
        shown(r#"{"code":"x","buy_url":{"buy_url":"https://go.plesk.com/"}}"#);
        shown(r#"{"code":"x","buy_url":["https://go.plesk.com/"]}"#);
        shown(r#"{"code":"x","latest_release":{"buy_url":"https://go.plesk.com/"}}"#);
        shown(r#"{"code":"x","buy_url":"https:\/\/shop.example\/"}"#);
        shown(r#"{"code":"x","buy_url":"https://go.plesk.com/","buy_url":""}"#);
        shown(r#"{"code":"x","code":"docker","buy_url":"https://go.plesk.com/"}"#);
        shown(r#"{"buy_url":"https://go.plesk.com/","code":"d\u006fcker"}"#);
        hidden(r#"{"code":"x","buy_url":"","buy_url":"https://go.plesk.com/"}"#);
        hidden(r#"{"code":"docker","buy_url":"https://go.plesk.com/","code":"x"}"#);
        hidden(r#"{"code":"docker","code":null,"buy_url":"https://go.plesk.com/"}"#);
        hidden(r#"{"code":"Docker","buy_url":"https://go.plesk.com/"}"#);
        hidden(r#"{"code":"docker ","buy_url":"https://go.plesk.com/"}"#);
        hidden(r#"{"buy_url":"https://go.plesk.com/"}"#);
        hidden(r#"{"code":12,"buy_url":"https://go.plesk.com/"}"#);
        hidden(r#"{"code":["docker"],"buy_url":"https://go.plesk.com/"}"#);
        hidden(r#"{"nested":{"code":"docker"},"code":"x","buy_url":"https://go.plesk.com/"}"#);
        hidden(r#"{"code":"x","buy\u005furl":"\u0068ttps:\/\/go\u002eplesk.com\/"}"#);
        hidden(r#"{"code":"x","buy_url":"https://go.plesk.com/\ud800"}"#);
    }

    #[test]
    fn refuses_categories() {
        for feed in
            [r#"[{"code":"a"},{"code":"b","top_packages":[{"code":"x"}]}]"#, r#"[{"top_packages":null}]"#]
        {
            for chunk in [1, 7, 1000] {
                let error = filter(feed.as_bytes(), chunk).expect_err("a category");
                assert_eq!(error.problem, Problem::Misplaced("category"));
            }
        }
    }

    #[test]
    fn takes_whole_elements_as_they_come() {
        let mut indexer = PackagesIndexer::default();
        indexer.push(&Bytes::from_static(b" [ {\"code\":\"a\"}")).expect("an element");
        let segment = indexer.take().expect("a segment");
        assert_eq!((segment.offset, segment.head, segment.bytes.len()), (0, 2, 15));
        assert!(indexer.take().is_none());
        indexer.push(&Bytes::from_static(b",{\"co")).expect("half an element");
        assert!(indexer.take().is_none());
        assert!(indexer.finish().is_err());
    }

    proptest! {
        #[test]
        fn equals_the_tree(
            packages in prop::collection::vec((0..6usize, 0..6usize, any::<u16>()), 0..20),
            chunk in 1usize..200,
            pretty in any::<bool>(),
        ) {
            let links = [
                Value::Null, json!(""), json!("https://go.plesk.com/x"), json!("//GO.plesk.com"),
                json!("https://shop.example/?go.plesk.com"), json!([1]),
            ];
            let codes = [json!("wp-toolkit"), json!("docker"), json!("x"), json!("é\"/"), json!(7), Value::Null];
            let feed: Vec<Value> = packages.iter()
                .map(|(link, code, n)| json!({"n": n, "buy_url": links[*link], "code": codes[*code], "o": {"code": "x"}}))
                .collect();
            let text = if pretty { serde_json::to_string_pretty(&feed) } else { serde_json::to_string(&feed) };
            let out = filter(text.expect("JSON").as_bytes(), chunk).expect("a feed");
            let expected: Vec<&Value> = feed.iter().zip(&packages)
                .filter(|(_, (link, code, _))| !matches!(link, 2 | 3) || *code < 2)
                .map(|(value, _)| value)
                .collect();
            prop_assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON"), json!(expected));
        }
    }
}
