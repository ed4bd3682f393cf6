//! Categories feed: removes the packages from each `top_packages` that the packages feed does not show.

use std::borrow::Cow;
use std::ops::Range;

use super::kept_ranges::KeptRanges;
use super::problem::ALLOCATION;
use super::scan::{Event, MAX_ELEMENTS, Problem, ScanError, Scanner};
use super::text;
use crate::seller::Seller;

/// Index of a complete categories feed: where its top packages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoriesIndex {
    lists: Vec<TopPackages>,
    /// Number of categories.
    pub categories: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TopPackages {
    /// End of the list's opening bracket.
    head: usize,
    entries: Vec<(Range<usize>, Option<Box<str>>)>,
}

/// What may still be indexed of a feed: categories, lists and the elements of all lists count alike, for each takes
/// about as much memory, and it does not matter how a feed spreads them.
#[derive(Debug, Clone, Copy)]
struct ElementBudget(usize);

impl ElementBudget {
    /// Takes some elements.
    ///
    /// # Errors
    /// If there are not as many left; `offset` is where that was seen.
    fn take(&mut self, elements: usize, offset: usize) -> Result<(), ScanError> {
        self.0 = self.0.checked_sub(elements).ok_or(ScanError { offset, problem: Problem::TooMany })?;
        Ok(())
    }
}

/// Checks a feed while it arrives, and keeps its bytes.
#[derive(Debug)]
pub struct CategoriesIndexer {
    scanner: Scanner,
    body: Vec<u8>,
    lists: Vec<Range<usize>>,
    categories: usize,
    budget: ElementBudget,
    /// Offset of a package sold by Plesk among the categories, if there is one.
    package: Option<usize>,
}

const MEMBERS: &[&str] = &["top_packages", "buy_url"];
const TOP_PACKAGES: usize = 0;

impl Default for CategoriesIndexer {
    fn default() -> Self {
        Self {
            scanner: Scanner::new(MEMBERS).limited(MAX_ELEMENTS),
            body: Vec::new(),
            lists: Vec::new(),
            categories: 0,
            budget: ElementBudget(MAX_ELEMENTS),
            package: None,
        }
    }
}

impl CategoriesIndexer {
    /// Checks and keeps the next bytes.
    ///
    /// # Errors
    /// If the feed is not well-formed (see [`Scanner::push`]), or if it holds a package sold by Plesk: a packages
    /// feed sent in the place of a categories feed would pass unfiltered.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ScanError> {
        self.body.extend_from_slice(chunk);
        let Self { scanner, body, lists, categories, budget, package } = self;
        let seen = lists.len() + *categories;
        scanner.push(chunk, |event| match event {
            // SECURITY: prune every list of a repeated member, since parsers differ in which one wins.
            Event::Member { name: TOP_PACKAGES, value } => lists.push(value),
            Event::Member { value, .. } => {
                if Seller::of(text::decode(&body[value.clone()]).as_deref()) == Seller::Plesk {
                    package.get_or_insert(value.start);
                }
            }
            Event::Element(_) => *categories += 1,
        })?;
        // After the scan of a chunk, whose length bounds how much it can have brought.
        budget.take(lists.len() + *categories - seen, body.len())?;
        match package {
            Some(offset) => Err(ScanError { offset: *offset, problem: Problem::Misplaced("package") }),
            None => Ok(()),
        }
    }

    /// Ends the feed, and returns its body and its index.
    ///
    /// # Errors
    /// If the feed is incomplete, or if a `top_packages` is an object with members, whose packages would not be
    /// found.
    pub fn finish(mut self) -> Result<(Vec<u8>, CategoriesIndex), ScanError> {
        self.scanner.finish()?;
        let mut lists = Vec::with_capacity(self.lists.len());
        for span in self.lists {
            match self.body[span.clone()] {
                [b'[', ..] => lists.push(TopPackages::read(&self.body, span, &mut self.budget)?),
                [b'{', ref inside @ .., b'}'] if !inside.trim_ascii().is_empty() => {
                    let problem = Problem::Expected("an array in `top_packages`");
                    return Err(ScanError { offset: span.start, problem });
                }
                _ => {}
            }
        }
        lists.shrink_to_fit();
        self.body.shrink_to_fit();
        Ok((self.body, CategoriesIndex { lists, categories: self.categories }))
    }
}

impl CategoriesIndex {
    /// Returns about how many bytes it takes in memory, beside those of the feed.
    pub fn weight(&self) -> usize {
        let list = |list: &TopPackages| {
            let codes = list.entries.iter().filter_map(|(_, code)| code.as_ref());
            let codes: usize = codes.map(|code| code.len() + ALLOCATION).sum();
            size_of::<TopPackages>() + ALLOCATION + size_of_val(list.entries.as_slice()) + codes
        };
        self.lists.iter().map(list).sum()
    }

    /// Returns a copy of `body` without the top packages that are not shown.
    ///
    /// A top package without a string `code` cannot be shown by the packages feed, so it is removed.
    pub fn filter(&self, body: &[u8], shown: impl Fn(&str) -> bool) -> Vec<u8> {
        let mut kept = KeptRanges::default();
        for list in &self.lists {
            kept.open(list.head);
            for (span, code) in &list.entries {
                kept.element(span.clone(), code.as_deref().is_some_and(&shown));
            }
        }
        kept.close(body.len());
        kept.join(body)
    }
}

impl TopPackages {
    fn read(body: &[u8], span: Range<usize>, budget: &mut ElementBudget) -> Result<Self, ScanError> {
        let list = &body[span.clone()];
        let mut code = None;
        let mut entries = Vec::new();
        let scanned = Scanner::new(&["code"]).limited(budget.0).push(list, |event| match event {
            Event::Member { value, .. } => code = text::decode(&list[value]).map(Cow::into),
            Event::Element(element) => {
                entries.push((span.start + element.start..span.start + element.end, code.take()));
            }
        });
        // The scanner counts from the start of the list.
        scanned.map_err(|error| ScanError { offset: span.start + error.offset, ..error })?;
        budget.take(entries.len(), span.end)?;
        entries.shrink_to_fit();
        Ok(Self { head: span.start + 1, entries })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn filter(feed: &[u8], shown: &[&str], chunk: usize) -> Result<String, ScanError> {
        let mut indexer = CategoriesIndexer::default();
        for chunk in feed.chunks(chunk) {
            indexer.push(chunk)?;
        }
        let (body, index) = indexer.finish()?;
        assert_eq!(body, feed);
        let out = index.filter(&body, |code| shown.contains(&code));
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn prunes_top_packages_and_nothing_else() {
        let check = |feed: &str, expected: &str| {
            for chunk in [1, 2, 3, 7, 1000] {
                assert_eq!(filter(feed.as_bytes(), &["a", "b"], chunk).as_deref(), Ok(expected), "{feed}");
            }
        };
        check("[]", "[]");
        check("[ ]", "[ ]");
        check(r#"[{"top_packages":[]}]"#, r#"[{"top_packages":[]}]"#);
        check(r#"[{"top_packages":[ ] }]"#, r#"[{"top_packages":[ ] }]"#);
        check(r#"[{"top_packages":[{"code":"a"}]}]"#, r#"[{"top_packages":[{"code":"a"}]}]"#);
        check(r#"[{"top_packages":[{"code":"x"}]}]"#, r#"[{"top_packages":[]}]"#);
        check(
            r#"[{"code":"x","top_packages":[{"code":"x"}, {"code":"a"} ,{"code":"y"}],"n":1} , {"code":"c","top_packages":[{"n":2,"code":"b"},{"code":"x"}]}]"#,
            r#"[{"code":"x","top_packages":[{"code":"a"}],"n":1} , {"code":"c","top_packages":[{"n":2,"code":"b"}]}]"#,
        );
        check(
            r#"[{"top_packages":null},{"top_packages":"x"},{"top_packages":{ }}]"#,
            r#"[{"top_packages":null},{"top_packages":"x"},{"top_packages":{ }}]"#,
        );
        check(r#"[{"top_packages":[1,"a",null,["a"],{"code":1},{}]}]"#, r#"[{"top_packages":[]}]"#);
        check(
            r#"[{"top_packages":[{"code":"a","code":"x"},{"code":"x","code":"a"}]}]"#,
            r#"[{"top_packages":[{"code":"x","code":"a"}]}]"#,
        );
        check(
            r#"[{"top_packages":[{"code":"x"}],"top_packages":[{"code":"a"},{"code":"x"}]}]"#,
            r#"[{"top_packages":[],"top_packages":[{"code":"a"}]}]"#,
        );
        check(
            r#"[{"top\u005fpackages":[{"c\u006fde":"\u0061"},{"code":"x"}]}]"#,
            r#"[{"top\u005fpackages":[{"c\u006fde":"\u0061"}]}]"#,
        );
        check(
            r#"[{"nested":{"top_packages":[{"code":"x"}]}}]"#,
            r#"[{"nested":{"top_packages":[{"code":"x"}]}}]"#,
        );
        check(
            r#"[[{"top_packages":[{"code":"x"}]}],1,"top_packages"]"#,
            r#"[[{"top_packages":[{"code":"x"}]}],1,"top_packages"]"#,
        );
    }

    #[test]
    fn refuses_what_it_cannot_prune() {
        let error = filter(br#"[{"top_packages":{"0":{"code":"x"}}}]"#, &[], 5).expect_err("an object");
        assert_eq!(error.to_string(), "expected an array in `top_packages` at byte 17");
        let package = br#"[{"code":"a"},{"code":"x","buy_url":"https:\/\/go.plesk.com\/x"}]"#;
        for chunk in [1, 7, 1000] {
            let error = filter(package, &["a", "b", "x"], chunk).expect_err("a package");
            assert_eq!(error.to_string(), "a package where it does not belong at byte 36");
        }
        assert!(filter(b"{}", &[], 1).is_err());
        assert!(filter(b"[{}", &[], 1).is_err());
    }

    #[test]
    fn all_lists_share_one_budget() {
        let list = |elements: usize| vec!["1"; elements].join(",");
        let feed = |lists: usize, elements: usize| {
            let category = format!(r#"{{"top_packages":[{}]}}"#, list(elements));
            format!("[{}]", vec![category; lists].join(","))
        };
        let problem = |feed: &str| filter(feed.as_bytes(), &[], 16 << 10).err().map(|error| error.problem);
        // A category, a list and its elements, each of them.
        assert_eq!(problem(&feed(10, MAX_ELEMENTS / 10 - 2)), None);
        assert_eq!(problem(&feed(10, MAX_ELEMENTS / 10 - 1)), Some(Problem::TooMany));
        assert_eq!(problem(&feed(40, 99_000)), Some(Problem::TooMany));
        assert_eq!(problem(&feed(MAX_ELEMENTS / 2 + 1, 0)), Some(Problem::TooMany));
        // Lists without elements cost as well, also within one category.
        let repeated = vec![r#""top_packages":[]"#; MAX_ELEMENTS + 1].join(",");
        assert_eq!(problem(&format!("[{{{repeated}}}]")), Some(Problem::TooMany));
    }

    #[test]
    fn an_index_weighs_what_it_takes() {
        let weigh = |feed: &str| {
            let mut indexer = CategoriesIndexer::default();
            indexer.push(feed.as_bytes()).expect("a feed");
            indexer.finish().expect("a feed").1.weight()
        };
        let numbers = format!(r#"[{{"top_packages":[{}1]}}]"#, "1,".repeat(999));
        let span = size_of::<(Range<usize>, Option<Box<str>>)>();
        assert!(weigh(&numbers) >= 1000 * span);
        let code = format!(r#"[{{"top_packages":[{{"code":"{}"}}]}}]"#, "x".repeat(10_000));
        assert!(weigh(&code) >= 10_000);
    }

    proptest! {
        #[test]
        fn equals_the_tree(
            lists in prop::collection::vec(prop::option::of(prop::collection::vec("[a-d]", 0..6)), 0..6),
            chunk in 1usize..50,
            pretty in any::<bool>(),
        ) {
            let feed = Value::Array(lists.iter().enumerate().map(|(n, codes)| match codes {
                Some(codes) => json!({"code": "x", "n": n, "top_packages": codes.iter().map(|c| json!({"code": c})).collect::<Vec<_>>()}),
                None => json!({"code": "a", "n": n}),
            }).collect());
            let text = if pretty { serde_json::to_string_pretty(&feed) } else { serde_json::to_string(&feed) };
            let out = filter(text.expect("JSON").as_bytes(), &["a", "b"], chunk).expect("a feed");
            let mut expected = feed;
            for category in expected.as_array_mut().expect("an array") {
                if let Some(list) = category.get_mut("top_packages").and_then(Value::as_array_mut) {
                    list.retain(|package| package["code"] == "a" || package["code"] == "b");
                }
            }
            prop_assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON"), expected);
        }
    }
}
