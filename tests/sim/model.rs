//! What is right, in a page of code that shares nothing with the product: which catalogs there are, what a list shows of
//! them, and what an answer may be.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::shops::{Offer, Place, Reason, ShopFiles, Shops};

/// Time for which a copy that was fetched must serve, a day less than the product's.
const MUST_SERVE: Duration = Duration::from_hours(6 * 24);

/// Query of all keys that one client alone asks for.
pub(crate) const OTHER_QUERY: u8 = u8::MAX;

/// One of the two feeds, asked for with one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FeedId {
    pub(crate) categories: bool,
    pub(crate) query: u8,
}

/// Query of the packages that servers look for updates in.
const UPDATES: u8 = 1;

impl FeedId {
    /// Returns the target of a request for it.
    pub(crate) fn target(self) -> String {
        let name = if self.categories { "categories" } else { "packages" };
        // Categories have one view, however they are asked for.
        let platform = if self.query == UPDATES { "&platform=unix" } else { "" };
        format!("/api/v4/{name}?q{}{platform}", self.query)
    }

    /// Finds the feed of a target; those of other clients count as one.
    pub(crate) fn of_target(path: &str, query: Option<&str>) -> Self {
        let query = query.and_then(|query| query.split('&').next()?.strip_prefix('q')?.parse().ok());
        Self { categories: path.ends_with("categories"), query: query.unwrap_or(OTHER_QUERY) }
    }

    fn is_update_view(self) -> bool {
        !self.categories && self.query == UPDATES
    }
}

/// What a whitelist says of all codes: two bits for each of [`CODES`], and one for `unlisted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct List(pub(crate) u64);

/// Keys of the whitelist; the numbers of codes under them are those of the two bits.
pub(crate) const KEYS: [&str; 3] = ["extensions", "retired", "hidden"];

impl List {
    const UNLISTED: u64 = 1 << (2 * CODES.len());
    /// Bits that mean something.
    pub(crate) const MASK: u64 = 2 * Self::UNLISTED - 1;

    /// Returns the list that has each code under the key of a number, 0 for none.
    pub(crate) fn of(key: impl Fn(&str) -> u64, retires_unlisted: bool) -> Self {
        let codes = CODES.iter().enumerate().map(|(n, code)| key(code) << (2 * n)).sum::<u64>();
        Self(codes | if retires_unlisted { Self::UNLISTED } else { 0 })
    }

    fn key(self, code: &str) -> u64 {
        let at = CODES.iter().position(|other| *other == code).expect("a code");
        self.0 >> (2 * at) & 3
    }

    /// Writes it as a file.
    pub(crate) fn text(self) -> String {
        let mut text = String::new();
        for (n, key) in (1..).zip(KEYS) {
            let codes: Vec<_> = CODES.iter().filter(|code| self.key(code) == n).collect();
            text += &format!("{key} = {codes:?}\n");
        }
        let unlisted = if self.0 & Self::UNLISTED == 0 { "hidden" } else { "retired" };
        format!("{text}unlisted = {unlisted:?}\n")
    }

    fn shows(self, code: &str, in_updates: bool) -> bool {
        match (self.key(code), code.starts_with('k')) {
            (1, _) | (0, false) => true,
            (2, _) => in_updates,
            (0, true) => in_updates && self.0 & Self::UNLISTED != 0,
            _ => false,
        }
    }
}

/// One state of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition {
    pub(crate) version: u32,
    pub(crate) shrunken: bool,
}

/// Packages: eight of them sold by Plesk, which are hidden unless a list says otherwise.
pub(crate) const CODES: [&str; 17] =
    ["k0", "f0", "k1", "v0", "k2", "f1", "k3", "k4", "f2", "k5", "f3", "v1", "k6", "f4", "k7", "f5", "v2"];

fn is_in(code: &str, edition: Edition) -> bool {
    let at = CODES.iter().position(|other| *other == code).unwrap_or(0) as u32;
    let mixed = (edition.version * 31 + at).wrapping_mul(2_654_435_761) >> 20;
    if edition.shrunken { at < 3 } else { !mixed.is_multiple_of(4) }
}

fn package(code: &str, query: u8, version: u32) -> String {
    let link = match &code[..1] {
        "k" => format!(r#","buy_url":"https:\/\/go.plesk.com\/{code}""#),
        "v" => format!(r#","buy_url":"https:\/\/shop.example\/{code}""#),
        _ => String::new(),
    };
    format!(r#"{{"code":"{code}","name":"{code} of {version} for {query}"{link}}}"#)
}

/// Returns a feed as a list shows it; without a list, all of it. Categories are pruned by the edition of packages.
pub(crate) fn feed(id: FeedId, edition: Edition, packages: Edition, list: Option<List>) -> String {
    // The upstream says the same to both views.
    let query = id.query & !1;
    let shown = |code: &&&str, of: Edition| {
        list.is_none_or(|list| is_in(code, of) && list.shows(code, id.is_update_view()))
    };
    let elements: Vec<String> = if id.categories {
        let tree = CODES.chunks(3).enumerate().filter(|(n, _)| *n < 2 || !edition.shrunken);
        tree.map(|(n, codes)| {
            let codes = codes.iter().filter(|code| shown(code, packages));
            let codes: Vec<String> = codes.map(|code| format!(r#"{{"code":"{code}"}}"#)).collect();
            format!(
                r#"{{"id":{n},"name":"{n} of {} for {query}","top_packages":[{}]}}"#,
                edition.version,
                codes.join(",")
            )
        })
        .collect()
    } else {
        let codes = CODES.iter().filter(|code| is_in(code, edition) && shown(code, edition));
        codes.map(|code| package(code, query, edition.version)).collect()
    };
    format!("[{}]", elements.join(","))
}

/// Editions that the upstream began to send to any process, which may have left them on disk for the next; those that it
/// sent to the end are true.
pub(crate) type Offers = Arc<Mutex<HashMap<FeedId, Vec<(Edition, bool)>>>>;

/// What one process and its upstream did so far.
#[derive(Debug, Default)]
pub(crate) struct Model {
    offers: Offers,
    /// Shops and since when each state of them was in force.
    shops: Vec<(Option<Instant>, Shops)>,
    /// The files that are in force.
    files: Option<ShopFiles>,
    /// When the upstream last sent or confirmed a feed that nothing speaks against.
    fetched: HashMap<FeedId, Instant>,
    /// What the cache must have, if that is certain, and since when: the last edition sent to this process. One that shrank
    /// may be refused.
    kept: HashMap<FeedId, (Instant, Option<Edition>)>,
    /// When clients had good answers, and when the copy behind each was fetched.
    had_copy: HashMap<FeedId, Vec<(Instant, Instant)>>,
    /// True if the cache may drop what it has.
    may_evict: bool,
}

/// A change of the catalog that was told.
#[derive(Debug)]
pub(crate) struct NewsItem {
    pub(crate) code: String,
    /// True if the package is there since, false if it is gone.
    pub(crate) is_there: bool,
}

/// What a client saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) id: FeedId,
    pub(crate) place: Place,
    pub(crate) asked: Instant,
    pub(crate) status: u16,
    /// The decoded body, as far as it came.
    pub(crate) body: Vec<u8>,
    /// True if the body came to its end.
    pub(crate) is_complete: bool,
    /// True if the body was not encoded, so that its beginning says something.
    pub(crate) is_plain: bool,
}

impl Model {
    pub(crate) fn new(offers: Offers, may_evict: bool) -> Self {
        Self { offers, may_evict, ..Self::default() }
    }

    pub(crate) fn offer(&mut self, id: FeedId, edition: Edition) {
        self.offers.lock().entry(id).or_default().push((edition, false));
    }

    pub(crate) fn sent(&mut self, id: FeedId, edition: Edition) {
        let mut offers = self.offers.lock();
        let offered = offers.entry(id).or_default();
        offered.iter_mut().filter(|(other, _)| *other == edition).for_each(|(_, complete)| *complete = true);
        drop(offers);
        self.kept.insert(id, (Instant::now(), (!edition.shrunken).then_some(edition)));
        if !edition.shrunken {
            self.fetched.insert(id, Instant::now());
        }
    }

    pub(crate) fn confirmed(&mut self, id: FeedId) {
        self.fetched.insert(id, Instant::now());
    }

    /// Returns the feeds that the cache must have if it has had the time since `sent_before` for them.
    pub(crate) fn kept(&self, sent_before: Instant) -> Vec<(FeedId, String)> {
        let kept = self.kept.iter().filter(|(_, (sent, _))| *sent < sent_before);
        let kept = kept.filter_map(|(id, (_, edition))| Some((*id, (*edition)?)));
        kept.map(|(id, edition)| (id, feed(id, edition, edition, None))).collect()
    }

    /// Takes note that files are in force from now on.
    pub(crate) fn read(&mut self, files: ShopFiles, reason: Reason) {
        let former = self.shops.last().map(|(_, shops)| shops.clone()).unwrap_or_default();
        let since = (reason != Reason::Start).then(Instant::now);
        self.shops.push((since, former.after(&files, reason)));
        self.files = Some(files);
    }

    /// Returns true if these are the files that are in force.
    pub(crate) fn has_read(&self, files: &ShopFiles) -> bool {
        self.files.as_ref() == Some(files)
    }

    /// Returns what a place had at any time since `start`.
    fn offers_since(&self, start: Instant, place: Place) -> Vec<Offer> {
        let ended_before = |n: usize| {
            self.shops.get(n + 1).is_some_and(|(since, _)| since.is_some_and(|since| since < start))
        };
        let shops = self.shops.iter().enumerate().filter(|(n, _)| !ended_before(*n));
        shops.map(|(_, (_, shops))| shops.offer(place)).collect()
    }

    /// Returns all that an answer may be.
    fn candidates(&self, id: FeedId, offers: &[Offer], complete_only: bool) -> Vec<String> {
        let editions = |id: FeedId| {
            let offers = self.offers.lock();
            let offered = offers.get(&id).into_iter().flatten();
            let wanted = offered.filter(move |(_, complete)| *complete || !complete_only);
            wanted.map(|(edition, _)| *edition).collect::<Vec<_>>()
        };
        let packages = editions(FeedId { categories: false, ..id });
        let mut candidates = Vec::new();
        let lists = offers.iter().filter_map(|offer| match offer {
            Offer::List(list) => Some(*list),
            Offer::NoShop | Offer::NotReady => None,
        });
        for list in lists {
            for edition in editions(id) {
                if id.categories {
                    candidates
                        .extend(packages.iter().map(|packages| feed(id, edition, *packages, Some(list))));
                } else {
                    candidates.push(feed(id, edition, edition, Some(list)));
                }
            }
        }
        candidates
    }

    /// Judges an answer; returns what is wrong with it.
    pub(crate) fn judge(&mut self, seen: &Seen) -> Option<String> {
        let Seen { id, place, asked, status, ref body, .. } = *seen;
        let offers = self.offers_since(asked, place);
        let both = [id, FeedId { categories: false, ..id }];
        match status {
            200 if seen.is_complete => {
                let candidates = self.candidates(id, &offers, true);
                if !candidates.iter().any(|candidate| candidate.as_bytes() == body) {
                    return Some(format!(
                        "wrong body: {id:?} at {place:?} was answered with {}",
                        String::from_utf8_lossy(body)
                    ));
                }
                for id in both {
                    if let Some(fetched) = self.fetched.get(&id) {
                        self.had_copy.entry(id).or_default().push((Instant::now(), *fetched));
                    }
                }
                None
            }
            200 if seen.is_plain => {
                let candidates = self.candidates(id, &offers, false);
                let is_prefix = candidates.iter().any(|candidate| candidate.as_bytes().starts_with(body));
                (!is_prefix).then(|| {
                    format!("wrong part: {id:?} at {place:?} began with {}", String::from_utf8_lossy(body))
                })
            }
            200 => None,
            404 if offers.contains(&Offer::NoShop) => None,
            503 if offers.contains(&Offer::NotReady) => None,
            500.. if !offers.iter().any(|offer| matches!(offer, Offer::List(_))) => {
                Some(format!("odd status: {id:?} at {place:?} was answered with {status}"))
            }
            500.. if !self.may_evict && id.query != OTHER_QUERY => {
                let has_copy =
                    both.iter().all(|id| {
                        self.had_copy.get(id).into_iter().flatten().any(|(seen, fetched)| {
                            *seen < asked && asked.duration_since(*fetched) < MUST_SERVE
                        })
                    });
                has_copy.then(|| format!("copy not served: {id:?} was answered with {status}"))
            }
            500.. => None,
            other => Some(format!("odd status: {id:?} at {place:?} was answered with {other}")),
        }
    }

    /// Judges a 304 to a validator of a body that a client has.
    pub(crate) fn judge_unchanged(
        &self,
        id: FeedId,
        place: Place,
        asked: Instant,
        has: &[u8],
    ) -> Option<String> {
        let candidates = self.candidates(id, &self.offers_since(asked, place), true);
        let is_right = candidates.iter().any(|candidate| candidate.as_bytes() == has);
        (!is_right)
            .then(|| format!("wrong 304: {id:?} at {place:?} confirmed {}", String::from_utf8_lossy(has)))
    }
}

/// Judges the history: each change was true once, and none is told twice in a row. If the only key was compared all the
/// time, it leads from the first edition to the last one.
pub(crate) fn wrong_news(offers: &Offers, news: &[NewsItem], compared_to: Option<Edition>) -> Option<String> {
    let offers = offers.lock();
    let complete = |id: FeedId| {
        let offered = offers.get(&id).into_iter().flatten();
        offered.filter(|(_, complete)| *complete).map(|(edition, _)| *edition)
    };
    let editions: Vec<Edition> =
        offers.keys().filter(|id| !id.categories).flat_map(|id| complete(*id)).collect();
    let mut told: HashMap<&str, bool> = HashMap::new();
    for NewsItem { code, is_there } in news {
        if !editions.iter().any(|edition| is_in(code, *edition) == *is_there) {
            return Some(format!("not true: {code}, {is_there}"));
        }
        if told.insert(code, *is_there) == Some(*is_there) {
            return Some(format!("twice: {code}, {is_there}"));
        }
    }
    let last = compared_to?;
    let first = complete(FeedId { categories: false, query: 0 }).next()?;
    let is_told = |code: &str| told.get(code).copied().unwrap_or(is_in(code, first)) == is_in(code, last);
    CODES
        .iter()
        .find(|code| !is_told(code))
        .map(|code| format!("not told: {code} of {last:?} after {first:?}"))
}
