//! A whitelist that uses every key, stars and days, and what it decides. It shares nothing with the product.

use std::collections::BTreeMap;

use catalog_proxy::seller::Seller;

use crate::support::{Package, Random};

/// State of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Shown,
    Retired,
    Hidden,
}

use Verdict::{Hidden, Retired, Shown};

/// Pairs of stars in a list.
const STARS: usize = 8;
/// Least letters before a star: some match a few packages, none matches most.
const MIN_STAR_LEN: usize = 3;
/// Most codes of an edit, and one.
const MAX_CODES: usize = 4;
/// Codes of the elements that tell which fetch a feed is of; nothing may decide about them.
const MARKER: &str = "fetch-";

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// A table whose days have begun, beside one under another key whose days are over.
    Days,
}

/// Entries by their code or star, and the state of what Plesk sells and none names.
#[derive(Debug, Clone)]
pub struct List {
    entries: BTreeMap<String, (Verdict, Form)>,
    unlisted: Verdict,
}

impl List {
    pub fn new<'a>(seed: u64, packages: impl Iterator<Item = &'a Package>) -> Self {
        let (mut random, mut entries) = (Random::new(seed), BTreeMap::new());
        let unlisted = random.pick(&[Hidden, Retired]);
        // The feeds have many codes in common, and each is drawn once.
        let mut codes = BTreeMap::<&str, bool>::new();
        for package in packages {
            *codes.entry(&package.code).or_default() |= package.seller == Seller::Plesk;
        }
        for (code, is_plesk) in &codes {
            // Plesk's are named mostly, others now and then.
            if random.chance(if *is_plesk { 600 } else { 150 }) {
                let verdict = random.pick(&[Shown, Shown, Retired, Hidden]);
                let form = if random.chance(200) { Form::Days } else { Form::Plain };
                entries.insert((*code).to_owned(), (verdict, form));
            }
        }
        let codes: Vec<_> = codes.into_keys().collect();
        // Each with a longer one within it.
        for _ in 0..STARS {
            let code = random.pick(&codes);
            let len = MIN_STAR_LEN + random.below(3);
            for prefix in [len, len + 2].into_iter().filter_map(|len| code.get(..len)) {
                if !MARKER.starts_with(prefix) {
                    entries
                        .insert(format!("{prefix}*"), (random.pick(&[Shown, Retired, Hidden]), Form::Plain));
                }
            }
        }
        Self { entries, unlisted }
    }

    /// Returns the list after an edit that gives these codes a state, from now on.
    pub fn with(&self, codes: &[String], verdict: Verdict) -> Self {
        let mut list = self.clone();
        list.entries.extend(codes.iter().map(|code| (code.clone(), (verdict, Form::Plain))));
        list
    }

    /// Draws some of the codes that have an entry of their own.
    pub fn some_codes(&self, random: &mut Random) -> Vec<String> {
        let exact: Vec<_> = self.entries.keys().filter(|pattern| !pattern.ends_with('*')).collect();
        let mut codes: Vec<_> =
            (0..=random.below(MAX_CODES)).map(|_| (*random.pick(&exact)).clone()).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    /// An exact entry before a star, a longer star before a shorter one, then the seller.
    pub fn verdict(&self, package: &Package) -> Verdict {
        let exact = self.entries.get(&package.code).map(|(verdict, _)| *verdict);
        let stars = self.entries.iter().filter_map(|(pattern, (verdict, _))| {
            let prefix = pattern.strip_suffix('*')?;
            package.code.starts_with(prefix).then_some((prefix.len(), *verdict))
        });
        let star = || stars.max_by_key(|(len, _)| *len).map(|(_, verdict)| verdict);
        let default = if package.seller == Seller::Plesk { self.unlisted } else { Shown };
        exact.or_else(star).unwrap_or(default)
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (key, of_key, other) in
            [("hidden", Hidden, Shown), ("extensions", Shown, Retired), ("retired", Retired, Hidden)]
        {
            let entries = self.entries.iter().filter_map(|(pattern, (verdict, form))| match form {
                Form::Plain if *verdict == of_key => Some(format!("  {pattern:?},\n")),
                Form::Days if *verdict == of_key => {
                    Some(format!("  {{ code = {pattern:?}, from = 2020-01-01, note = \"since then\" }},\n"))
                }
                Form::Days if *verdict == other => {
                    Some(format!("  {{ code = {pattern:?}, until = 2019-12-31 }},\n"))
                }
                _ => None,
            });
            text += &format!("{key} = [\n{}]\n", entries.collect::<String>());
        }
        let unlisted = if self.unlisted == Retired { "retired" } else { "hidden" };
        text + &format!("unlisted = {unlisted:?}\n")
    }
}
