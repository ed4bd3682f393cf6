//! The packages feed: chunks in, segments of whole elements out, and the filter over them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::gather::Gather;
use super::package::{Package, Seller};
use super::problem::ALLOCATION;
use super::scan::{Event, MAX_ELEMENTS, Path, Problem, ScanError, Scanner};
use super::text;

const MEMBERS: &[&str] = &["code", "buy_url", "top_packages"];
const TOP_PACKAGES: usize = 2;

/// What an element of the vendor's takes, on average.
const USUAL_ELEMENT: usize = 6 << 10;

/// One element of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands, in bytes from the start of the feed.
    pub span: Range<usize>,
    /// What it says.
    pub package: Package,
}

/// A run of bytes of the feed that ends behind an element, or at the feed's end.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Where the bytes begin in the feed.
    pub offset: usize,
    /// The bytes as they came.
    pub bytes: Bytes,
    /// Where the opening bracket of the feed ends.
    pub head: usize,
    /// The elements in the bytes.
    pub entries: Vec<Entry>,
    /// Is this the end of a feed that is complete and well-formed?
    pub last: bool,
}

/// A complete packages feed: where each element stands and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Where the opening bracket ends.
    pub head: usize,
    /// All elements in order.
    pub entries: Vec<Entry>,
}

/// Indexes a feed while it arrives. Holds only what was not taken yet; its default knows no limit.
#[derive(Debug)]
pub struct Indexer {
    scanner: Scanner,
    /// Where the next chunk begins.
    base: usize,
    /// The bytes before it that are in no segment.
    begun: Vec<u8>,
    segments: VecDeque<Segment>,
    members: [Option<Range<usize>>; MEMBERS.len()],
    /// Where a category stands among the packages, if one does.
    category: Option<usize>,
}

impl Default for Indexer {
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

impl Indexer {
    /// Makes an indexer for a feed that is kept whole, so of at most [`MAX_ELEMENTS`] elements.
    pub fn bounded() -> Self {
        let indexer = Self::default();
        Self { scanner: indexer.scanner.limited(MAX_ELEMENTS), ..indexer }
    }

    /// Sets the path that its scanner takes, before the first byte.
    pub fn on(self, path: Path) -> Self {
        Self { scanner: self.scanner.on(path), ..self }
    }

    /// Takes the next bytes in. They are copied only where an element goes on behind them.
    ///
    /// # Errors
    /// If they cannot be part of a feed; see [`Scanner::push`]. If they hold a category: an upstream that
    /// sends the categories feed here would have its top packages passed on unfiltered.
    pub fn push(&mut self, chunk: &Bytes) -> Result<(), ScanError> {
        let Self { scanner, base, begun, members, category, .. } = self;
        let offset = *base - begun.len();
        let mut entries = Vec::new();
        scanner.push(chunk, |event| match event {
            Event::Member { name: TOP_PACKAGES, value } => {
                category.get_or_insert(value.start);
            }
            // A repeated member: the last one wins, as in PHP.
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
                entries.push(Entry { span, package });
            }
        })?;
        if let Some(offset) = *category {
            return Err(ScanError { offset, problem: Problem::Misplaced("category") });
        }
        self.cut(chunk, entries);
        self.base += chunk.len();
        Ok(())
    }

    /// Cuts what is complete into segments: the element that began before `chunk`, and those within.
    fn cut(&mut self, chunk: &Bytes, mut entries: Vec<Entry>) {
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
            // Mostly the rest of the element fits in as well.
            self.begun.reserve(chunk.len() - from + USUAL_ELEMENT);
        }
        self.begun.extend_from_slice(&chunk[from..]);
    }

    fn segment(&mut self, end: usize, bytes: Bytes, entries: Vec<Entry>) {
        let (offset, head) = (end - bytes.len(), self.scanner.head());
        self.segments.push_back(Segment { offset, bytes, head, entries, last: false });
    }

    /// Takes what is complete, in order: a run of bytes up to the end of an element.
    pub fn take(&mut self) -> Option<Segment> {
        self.segments.pop_front()
    }

    /// Ends the feed and returns what was not taken in one last segment, its closing bracket at least.
    ///
    /// # Errors
    /// If the feed is not complete.
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

impl Entry {
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
        let entries: usize = self.entries.iter().map(Entry::weight).sum();
        size_of::<Self>() + 2 * ALLOCATION + spare * size_of::<Entry>() + entries
    }
}

impl Index {
    /// Returns about how many bytes it takes in memory, beside those of the feed.
    pub fn weight(&self) -> usize {
        let spare = self.entries.capacity() - self.entries.len();
        spare * size_of::<Entry>() + self.entries.iter().map(Entry::weight).sum::<usize>()
    }

    /// Indexes a feed that is there as a whole, of at most [`MAX_ELEMENTS`] elements.
    ///
    /// # Errors
    /// If it is none; see [`Indexer::push`].
    pub fn of(body: &Bytes) -> Result<Self, ScanError> {
        let mut indexer = Indexer::bounded();
        indexer.push(body)?;
        let mut entries = Vec::new();
        while let Some(segment) = indexer.take() {
            entries.extend(segment.entries);
        }
        entries.shrink_to_fit();
        Ok(Self { head: indexer.finish()?.head, entries })
    }

    /// Puts the segments of a complete feed together: its body and its index.
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

    /// Copies together what leaves of `body`: everything but the packages that are not shown.
    pub fn filter(&self, body: &[u8], allowed: impl Fn(&str) -> bool) -> Vec<u8> {
        let mut gather = Gather::default();
        gather.open(self.head);
        for entry in &self.entries {
            gather.element(entry.span.clone(), entry.package.is_shown(&allowed));
        }
        gather.close(body.len());
        gather.join(body)
    }
}

/// Filters segment by segment, as they come.
#[derive(Debug, Default)]
pub struct Filter {
    gather: Gather,
    opened: bool,
}

impl Filter {
    /// Returns the parts of `segment` that leave, without copying them.
    ///
    /// Segments must come in the order of the feed, each once.
    pub fn segment<'a>(
        &'a mut self,
        segment: &'a Segment,
        allowed: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = Bytes> + 'a {
        if !self.opened {
            self.opened = true;
            self.gather.open(segment.head);
        }
        for entry in &segment.entries {
            self.gather.element(entry.span.clone(), entry.package.is_shown(&allowed));
        }
        if segment.last {
            self.gather.close(segment.offset + segment.bytes.len());
        }
        let relative = |range: Range<usize>| range.start - segment.offset..range.end - segment.offset;
        self.gather.take().map(move |range| segment.bytes.slice(relative(range)))
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

    /// Filters as a stream with a segment taken after every chunk, and as a whole; both must agree.
    fn filter(feed: &[u8], chunk: usize) -> Result<String, ScanError> {
        let mut indexer = Indexer::default();
        let mut filter = Filter::default();
        let mut segments = Vec::new();
        let mut streamed = Vec::new();
        for chunk in feed.chunks(chunk) {
            indexer.push(&Bytes::copy_from_slice(chunk))?;
            segments.extend(std::iter::from_fn(|| indexer.take()));
        }
        segments.push(indexer.finish()?);
        for segment in &segments {
            streamed.extend(filter.segment(segment, allowed));
        }
        let (body, index) = Index::assemble(&segments);
        assert_eq!(body, feed);
        let whole = index.filter(&body, allowed);
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
        let mut indexer = Indexer::default();
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
