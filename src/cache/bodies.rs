//! Room for bodies: feeds first, and what they leave over for views and encoded forms.
//!
//! A form is made again from its feed in milliseconds, but a feed has to be fetched. So a flood of forms, as many shops
//! and many keys make it, drives out forms only.

use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;

use super::cached_feed::Feed;
use super::encode::Encoding;
use super::view::{View, ViewKey};
use crate::digest::Digest;

/// What an entry takes beside its bytes, about.
const OVERHEAD: usize = 300;

/// Feeds, views and encoded forms within one bound. Of either kind the least recently used go first.
#[derive(Debug)]
pub(super) struct Bodies {
    feeds: LruCache<Digest, KeptFeed>,
    forms: LruCache<FormKey, KeptForm>,
    feed_bytes: u64,
    form_bytes: u64,
    room: u64,
}

#[derive(Debug)]
struct KeptFeed {
    feed: Arc<Feed>,
    /// Number of keys that have it. With the last one it goes, or former feeds would take the room of forms.
    keys: usize,
}

/// What a form is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FormKey {
    View(ViewKey),
    /// By the digest of its view.
    Encoded(Digest, Encoding),
}

/// What is made of a feed.
#[derive(Debug, Clone)]
pub(super) enum KeptForm {
    View(Arc<View>),
    Encoded(Bytes),
}

/// Bodies that were dropped for want of room. Freeing megabytes takes a while, so whoever holds a lock keeps them until
/// it has given that back.
#[derive(Debug, Default)]
pub(super) struct Evicted {
    feeds: Vec<Arc<Feed>>,
    forms: Vec<KeptForm>,
}

impl Evicted {
    pub(super) fn len(&self) -> usize {
        self.feeds.len() + self.forms.len()
    }
}

impl KeptForm {
    fn weight(&self) -> u64 {
        let bytes = match self {
            Self::View(view) => view.weight(),
            Self::Encoded(bytes) => bytes.len(),
        };
        (bytes + OVERHEAD) as u64
    }
}

fn weight(feed: &Feed) -> u64 {
    (feed.weight() + OVERHEAD) as u64
}

impl Bodies {
    pub(super) fn new(room: u64) -> Self {
        let (feeds, forms) = (LruCache::unbounded(), LruCache::unbounded());
        Self { feeds, forms, feed_bytes: 0, form_bytes: 0, room }
    }

    /// Returns how many bytes there are.
    pub(super) fn used(&self) -> u64 {
        self.feed_bytes + self.form_bytes
    }

    /// Returns how many bytes the feeds leave to forms.
    pub(super) fn room_for_forms(&self) -> u64 {
        self.room - self.feed_bytes
    }

    /// Keeps a feed for one more key, and returns the one that equal ones share; `None` if it has no room at all.
    pub(super) fn claim(&mut self, feed: &Arc<Feed>, evicted: &mut Evicted) -> Option<Arc<Feed>> {
        if let Some(kept) = self.feeds.get_mut(&feed.digest) {
            kept.keys += 1;
            return Some(Arc::clone(&kept.feed));
        }
        let weight = weight(feed);
        if weight > self.room {
            return None;
        }
        while self.feed_bytes + weight > self.room
            && let Some((_, last)) = self.feeds.pop_lru()
        {
            self.feed_bytes -= self::weight(&last.feed);
            evicted.feeds.push(last.feed);
        }
        self.feeds.put(feed.digest, KeptFeed { feed: Arc::clone(feed), keys: 1 });
        self.feed_bytes += weight;
        self.trim_forms(self.room_for_forms(), evicted);
        Some(Arc::clone(feed))
    }

    /// Takes note that a key has another feed now, or is gone. Returns the feed if that was its last one.
    pub(super) fn release(&mut self, feed: &Arc<Feed>) -> Option<Arc<Feed>> {
        let kept = self.feeds.peek_mut(&feed.digest)?;
        // It may have been evicted, and an equal one been fetched since, for other keys.
        if !Arc::ptr_eq(&kept.feed, feed) {
            return None;
        }
        kept.keys -= 1;
        if kept.keys > 0 {
            return None;
        }
        self.feed_bytes -= weight(feed);
        Some(self.feeds.pop(&feed.digest)?.feed)
    }

    /// Takes note that a feed is in use; returns false if it is not there.
    pub(super) fn touch(&mut self, feed: Digest) -> bool {
        self.feeds.get(&feed).is_some()
    }

    /// Returns true if a feed is there, without touching it.
    pub(super) fn has(&self, feed: Digest) -> bool {
        self.feeds.contains(&feed)
    }

    /// Returns a form.
    pub(super) fn form(&mut self, key: &FormKey) -> Option<&KeptForm> {
        self.forms.get(key)
    }

    /// Keeps a form if it has room beside the feeds.
    pub(super) fn insert_form(&mut self, key: FormKey, form: KeptForm, evicted: &mut Evicted) {
        let (weight, room) = (form.weight(), self.room_for_forms());
        if weight > room {
            return;
        }
        if let Some(former) = self.forms.pop(&key) {
            self.form_bytes -= former.weight();
        }
        self.trim_forms(room - weight, evicted);
        self.forms.put(key, form);
        self.form_bytes += weight;
    }

    fn trim_forms(&mut self, room: u64, evicted: &mut Evicted) {
        while self.form_bytes > room
            && let Some((_, form)) = self.forms.pop_lru()
        {
            self.form_bytes -= form.weight();
            evicted.forms.push(form);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::cache::cached_feed::FeedIndex;
    use crate::feed::packages::PackagesIndex;

    /// Room for a few feeds of the sizes below.
    const ROOM: u64 = 100_000;

    fn feed(number: u8) -> Arc<Feed> {
        let body = Bytes::from(format!("[{number},{:?}]", "x".repeat(usize::from(number) * 4000)));
        let index = FeedIndex::Packages(PackagesIndex::of(&body).expect("a feed"));
        Arc::new(Feed::new(body, index))
    }

    fn form(number: u8) -> (FormKey, KeptForm) {
        let key = FormKey::Encoded(Digest::of(&[number]), Encoding::Gzip);
        (key, KeptForm::Encoded(vec![0; usize::from(number) * 2000].into()))
    }

    #[derive(Debug, Clone)]
    enum Step {
        Claim(u8),
        Release(u8),
        Touch(u8),
        Insert(u8),
        Get(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..16u8).prop_map(Step::Claim),
            (0..16u8).prop_map(Step::Release),
            (0..16u8).prop_map(Step::Touch),
            (0..32u8).prop_map(Step::Insert),
            (0..32u8).prop_map(Step::Get),
        ]
    }

    /// The rule in lists, the least recently used first: numbers and weights, and for feeds how many keys have them.
    #[derive(Default)]
    struct Model {
        feeds: Vec<(u8, u64, usize)>,
        forms: Vec<(u8, u64)>,
        evicted: usize,
    }

    impl Model {
        fn feed_bytes(&self) -> u64 {
            self.feeds.iter().map(|(_, weight, _)| weight).sum()
        }

        fn trim(&mut self) {
            while self.feed_bytes() > ROOM {
                self.feeds.remove(0);
                self.evicted += 1;
            }
            while self.feed_bytes() + self.forms.iter().map(|(_, weight)| weight).sum::<u64>() > ROOM {
                self.forms.remove(0);
                self.evicted += 1;
            }
        }

        fn use_feed(&mut self, number: u8) -> bool {
            let found = self.feeds.iter().position(|(other, ..)| *other == number);
            found.map(|at| self.feeds[at..].rotate_left(1)).is_some()
        }

        fn play(&mut self, step: &Step, weight: u64) {
            match *step {
                Step::Claim(number) if self.use_feed(number) => {
                    self.feeds.last_mut().expect("it was moved there").2 += 1;
                }
                Step::Claim(number) if weight <= ROOM => self.feeds.push((number, weight, 1)),
                Step::Release(number) => {
                    for feed in self.feeds.iter_mut().filter(|(other, ..)| *other == number) {
                        feed.2 -= 1;
                    }
                    self.feeds.retain(|(.., keys)| *keys > 0);
                }
                Step::Touch(number) => {
                    self.use_feed(number);
                }
                Step::Insert(number) if weight + self.feed_bytes() <= ROOM => {
                    self.forms.retain(|(other, _)| *other != number);
                    self.forms.push((number, weight));
                }
                Step::Get(number) => {
                    if let Some(at) = self.forms.iter().position(|(other, _)| *other == number) {
                        self.forms[at..].rotate_left(1);
                    }
                }
                Step::Claim(_) | Step::Insert(_) => {}
            }
            self.trim();
        }
    }

    proptest! {
        #[test]
        fn forms_go_before_feeds_and_both_in_the_order_of_use(steps in vec(step(), 1..80)) {
            let feeds: Vec<_> = (0..16).map(feed).collect();
            let (mut bodies, mut model, mut evicted) = (Bodies::new(ROOM), Model::default(), Evicted::default());
            for step in &steps {
                let mut weight = 0;
                match *step {
                    Step::Claim(number) => {
                        let feed = &feeds[usize::from(number)];
                        weight = self::weight(feed);
                        bodies.claim(feed, &mut evicted);
                    }
                    Step::Release(number) => drop(bodies.release(&feeds[usize::from(number)])),
                    Step::Touch(number) => {
                        bodies.touch(feeds[usize::from(number)].digest);
                    }
                    Step::Insert(number) => {
                        let (key, form) = form(number);
                        weight = form.weight();
                        bodies.insert_form(key, form, &mut evicted);
                    }
                    Step::Get(number) => {
                        bodies.form(&form(number).0);
                    }
                }
                model.play(step, weight);
                prop_assert!(bodies.used() <= ROOM);
                prop_assert_eq!(bodies.room_for_forms(), ROOM - model.feed_bytes());
                let numbers = |number: &u8| bodies.has(feeds[usize::from(*number)].digest);
                let mut kept: Vec<u8> = model.feeds.iter().map(|(number, ..)| *number).collect();
                kept.sort_unstable();
                prop_assert_eq!((0..16).filter(numbers).collect::<Vec<_>>(), kept, "after {:?}", step);
                let forms: Vec<_> = bodies.forms.iter().rev().map(|(key, _)| *key).collect();
                prop_assert_eq!(forms, model.forms.iter().map(|(number, _)| form(*number).0).collect::<Vec<_>>());
                let weights = bodies.forms.iter().map(|(_, form)| form.weight()).sum::<u64>();
                prop_assert_eq!(bodies.used() - model.feed_bytes(), weights);
                prop_assert_eq!(evicted.len(), model.evicted);
            }
        }
    }

    #[test]
    fn a_feed_that_no_key_has_any_more_leaves_its_room_to_forms() {
        let (mut bodies, mut evicted) = (Bodies::new(ROOM), Evicted::default());
        let (one, other) = (feed(10), feed(10));
        let kept = bodies.claim(&one, &mut evicted).expect("room");
        // An equal one is shared, so it is the first one's key that goes.
        assert!(Arc::ptr_eq(&bodies.claim(&other, &mut evicted).expect("room"), &kept));
        assert!(bodies.release(&other).is_none(), "no key has this one");
        assert!(bodies.release(&one).is_none() && bodies.has(one.digest), "one key still has it");
        assert!(bodies.release(&one).is_some() && !bodies.has(one.digest));
        assert_eq!((bodies.room_for_forms(), evicted.len()), (ROOM, 0));
    }

    #[test]
    fn what_fits_to_the_byte_is_kept() {
        let ([one, two], [(key_a, a), (key_b, b)]) = ([1, 2].map(feed), [1, 2].map(form));
        let (feeds, forms) = (weight(&one) + weight(&two), a.weight() + b.weight());
        for short in [0, 1] {
            let mut evicted = Evicted::default();
            let is_kept = Bodies::new(weight(&one) - short).claim(&one, &mut evicted).is_some();
            assert_eq!(is_kept, short == 0, "alone");
            let mut bodies = Bodies::new(feeds - short);
            bodies.claim(&one, &mut evicted);
            bodies.claim(&two, &mut evicted);
            assert_eq!((bodies.has(one.digest), evicted.feeds.len() as u64), (short == 0, short));
            let mut bodies = Bodies::new(weight(&one) + forms - short);
            bodies.insert_form(key_a, a.clone(), &mut evicted);
            bodies.insert_form(key_b, b.clone(), &mut evicted);
            bodies.claim(&one, &mut evicted);
            assert_eq!(
                (bodies.feeds.len() as u64 + bodies.forms.len() as u64, evicted.forms.len() as u64),
                (3 - short, short)
            );
            let mut bodies = Bodies::new(b.weight() - short);
            bodies.insert_form(key_b, b.clone(), &mut evicted);
            assert_eq!(bodies.forms.len() as u64, 1 - short, "a form alone");
        }
    }
}
