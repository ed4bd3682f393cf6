//! Generated packages feeds in the shape of the real catalog, of any size. A [`Shape`] gives the same bytes
//! on every platform.
//!
//! The JSON is written like PHP's `json_encode` does. Everything is computed with integers, so that no
//! platform rounds differently. The texts have the word frequencies of language and compress about as well as
//! the real ones.
#![allow(dead_code, unreachable_pub, reason = "each test and bench uses what it needs")]

mod json;
mod random;
mod words;
mod writer;

use std::ops::Range;

use catalog_proxy::seller::Seller;

pub use random::Random;
use writer::Writer;

/// Sizes of elements in thousandths of their mean, at thousandths of the elements: log-normal with a
/// deviation of 0.9, so that a mean of 5.5 KB spreads over 0.5 to 30 KB.
const SIZES: [(u64, u64); 11] = [
    (0, 90),
    (10, 95),
    (50, 152),
    (100, 210),
    (250, 363),
    (500, 667),
    (750, 1224),
    (900, 2114),
    (950, 2931),
    (990, 5000),
    (1000, 5500),
];

/// Parameters of a generated feed.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of elements.
    pub packages: usize,
    /// Mean size of an element in bytes, approximately; at least 1,000, since the smallest elements take 350.
    pub mean_size: usize,
    /// Packages sold by Plesk, in a thousand.
    pub plesk_per_mille: usize,
    /// Free packages, in a thousand. The rest is sold by vendors.
    pub free_per_mille: usize,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Shape {
    /// The vendor's feed of today: 2.3 MB; 157 packages by Plesk, 103 free, 160 by vendors.
    pub const VENDOR: Self =
        Self { packages: 420, mean_size: 5_500, plesk_per_mille: 374, free_per_mille: 245, seed: 1 };
    /// 0.4 MB: the catalog for servers that can use few of the packages.
    pub const SMALL: Self = Self { packages: 150, mean_size: 2_700, ..Self::VENDOR };
    /// 20 MB.
    pub const LARGE: Self = Self { packages: 3_600, ..Self::VENDOR };
    /// 111 MB: larger than any processor's cache.
    pub const HUGE: Self = Self { packages: 20_000, ..Self::VENDOR };
}

/// A feed, and what was written into it.
#[derive(Debug)]
pub struct Feed {
    /// The bytes.
    pub json: String,
    /// Its elements in order.
    pub packages: Vec<Package>,
}

/// What was written as one element.
#[derive(Debug)]
pub struct Package {
    /// Where it stands in the feed.
    pub span: Range<usize>,
    /// Its code.
    pub code: String,
    /// Who sells it.
    pub seller: Seller,
}

impl Feed {
    /// Writes the feed of a shape.
    pub fn new(shape: Shape) -> Self {
        let mut random = Random::new(shape.seed);
        let share = |per_mille: usize| (shape.packages * per_mille + 500) / 1000;
        let (plesk, free) = (share(shape.plesk_per_mille), share(shape.free_per_mille));
        let mut sellers: Vec<_> = (0..shape.packages)
            .map(|n| match n {
                n if n < plesk => Seller::Plesk,
                n if n < plesk + free => Seller::Free,
                _ => Seller::Vendor,
            })
            .collect();
        random.shuffle(&mut sellers);
        // Strata, not draws: each seed comes to the same size.
        let mut sizes: Vec<_> =
            (0..shape.packages).map(|n| size(n, shape.packages, shape.mean_size)).collect();
        random.shuffle(&mut sizes);

        let mut writer = Writer::new(random);
        writer.json.open('[');
        let packages =
            sellers.into_iter().zip(sizes).map(|(seller, size)| writer.package(seller, size)).collect();
        writer.json.close(']');
        Self { json: writer.json.text, packages }
    }

    /// Returns the codes of the packages sold by Plesk, in order.
    pub fn plesk_codes(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().filter(|package| package.seller == Seller::Plesk).map(|package| &*package.code)
    }

    /// Tells how many packages there are of a seller.
    pub fn count(&self, seller: Seller) -> usize {
        self.packages.iter().filter(|package| package.seller == seller).count()
    }

    /// Returns the elements that a filter must show, in order.
    pub fn expected_shown(&self, allowed: impl Fn(&str) -> bool) -> Vec<&str> {
        let shown = |package: &&Package| package.seller != Seller::Plesk || allowed(&package.code);
        self.packages.iter().filter(shown).map(|package| &self.json[package.span.clone()]).collect()
    }

    /// Returns the bytes that a filter must make of the feed.
    pub fn expected(&self, allowed: impl Fn(&str) -> bool) -> String {
        format!("[{}]", self.expected_shown(allowed).join(","))
    }
}

/// The size of the `nth` smallest of `count` elements.
fn size(nth: usize, count: usize, mean: usize) -> usize {
    let at = (2 * nth as u64 + 1) * 1_000_000 / (2 * count as u64);
    let above = SIZES.iter().position(|&(rank, _)| rank * 1000 > at).unwrap_or(SIZES.len() - 1).max(1);
    let ((from, low), (to, high)) = (SIZES[above - 1], SIZES[above]);
    let relative = low * 1000 + (high - low) * (at - from * 1000) / (to - from);
    (mean as u64 * relative / 1_000_000) as usize
}
