//! The generated feeds are what they claim to be, and the engine filters them as a plain model does.

use std::ops::RangeInclusive;

use bytes::Bytes;
use catalog_proxy::feed::package::Package;
use catalog_proxy::feed::packages::{PackagesFilter, PackagesIndex, PackagesIndexer};
use catalog_proxy::feed::scan::ScanPath;
use catalog_proxy::seller::Seller;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::support::{Feed, Shape};

fn allowed(code: &str) -> bool {
    matches!(code, "wp-toolkit" | "docker")
}

fn is_shown(package: &Package) -> bool {
    package.seller != Seller::Plesk || package.code.as_deref().is_some_and(allowed)
}

/// Returns the seller of a generated package.
fn seller(package: &Value) -> Seller {
    match package["buy_url"].as_str() {
        None | Some("") => Seller::Free,
        Some(link) if link.starts_with("https://go.plesk.com/") => Seller::Plesk,
        Some(_) => Seller::Vendor,
    }
}

#[test]
fn a_seed_is_a_feed() {
    let feed = Feed::new(Shape::SMALL).json;
    assert!(feed == Feed::new(Shape::SMALL).json);
    let other = Feed::new(Shape { seed: 2, ..Shape::SMALL }).json;
    assert!(feed != other);
    // Changes whenever the generator does: figures measured before and after do not compare.
    assert_eq!(checksum(&feed), 1_722_681_554_880_264_551);
}

/// FNV-1a.
fn checksum(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn shapes_have_their_sizes() {
    let check = |shape: Shape, sizes: RangeInclusive<usize>| {
        let size = Feed::new(shape).json.len();
        assert!(sizes.contains(&size), "{shape:?} has {size} bytes");
    };
    check(Shape { packages: 0, ..Shape::VENDOR }, 2..=2);
    check(Shape { packages: 1, ..Shape::VENDOR }, 1_000..=30_000);
    check(Shape::SMALL, 380_000..=430_000);
    for seed in 1..3 {
        check(Shape { seed, ..Shape::VENDOR }, 2_200_000..=2_400_000);
    }
}

#[test]
fn the_vendors_shape() {
    let feed = Feed::new(Shape::VENDOR);
    let counts = [Seller::Plesk, Seller::Free, Seller::Vendor].map(|seller| feed.count(seller));
    assert_eq!(counts, [157, 103, 160]);
    assert!(feed.plesk_codes().any(|code| code == "wp-toolkit"));

    let packages: Vec<Value> = serde_json::from_str(&feed.json).unwrap();
    assert_eq!(packages.len(), feed.packages.len());
    for (package, written) in packages.iter().zip(&feed.packages) {
        assert_eq!(package["code"].as_str(), Some(&*written.code));
        assert_eq!(seller(package), written.seller, "{}", written.code);
        assert!((450..33_000).contains(&written.span.len()), "{} has {:?}", written.code, written.span);
        // serde_json writes what it read as compactly; all that is left are PHP's escapes.
        assert_eq!(php_len(&package.to_string()), written.span.len(), "{}", written.code);
    }

    for trap in
        [r"\ud83d\ude80", r"\u0441", r"\b", r"\\\\", r#"\\""#, r#"\"buy_url\":\"https:\/\/go.plesk.com"#]
    {
        assert!(feed.json.contains(trap), "{trap} is missing");
    }
    let nested = |package: &&Value| package["latest_release"]["buy_url"].is_string();
    assert!(packages.iter().filter(nested).count() > 10);
}

/// The length of a compact document with `\/` for each slash and `\uXXXX` beyond ASCII.
fn php_len(json: &str) -> usize {
    let len = |letter: char| match letter {
        '/' => 2,
        _ if letter.is_ascii() => 1,
        _ => 6 * letter.len_utf16(),
    };
    json.chars().map(len).sum()
}

#[test]
fn no_code_comes_twice() {
    let feed = Feed::new(Shape { packages: 5_000, mean_size: 1_500, ..Shape::VENDOR });
    let mut codes: Vec<_> = feed.packages.iter().map(|package| &package.code).collect();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), feed.packages.len());
}

#[test]
fn texts_compress_like_texts() {
    let shown = Feed::new(Shape::VENDOR).expected(allowed);
    assert!((1_300_000..1_550_000).contains(&shown.len()), "{} bytes are shown", shown.len());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    std::io::Write::write_all(&mut encoder, shown.as_bytes()).unwrap();
    let ratio = shown.len() as f64 / encoder.finish().unwrap().len() as f64;
    assert!((4.0..6.0).contains(&ratio), "{ratio}:1");
}

#[test]
fn the_engine_filters_as_the_model_does() {
    let few = Shape { packages: 20, ..Shape::VENDOR };
    let rows: &[(Shape, &[usize])] = &[
        (Shape { packages: 0, ..few }, &[1, 2]),
        (few, &[1, 2, 3, 5, 7, 64, 1_371]),
        (Shape::SMALL, &[7, 1_371]),
        (Shape::VENDOR, &[1_371, 16 << 10, usize::MAX]),
    ];
    for &(shape, chunks) in rows {
        let feed = Feed::new(shape);
        let mut model: Vec<Value> = serde_json::from_str(&feed.json).unwrap();
        model.retain(|package| {
            seller(package) != Seller::Plesk || package["code"].as_str().is_some_and(allowed)
        });
        assert_eq!(model.len(), feed.expected_shown(allowed).len());

        for &chunk in chunks {
            for path in ScanPath::all() {
                let mut indexer = PackagesIndexer::default().on(path);
                let mut filter = PackagesFilter::default();
                let mut segments = Vec::new();
                for chunk in feed.json.as_bytes().chunks(chunk) {
                    indexer.push(&Bytes::copy_from_slice(chunk)).unwrap();
                    segments.extend(std::iter::from_fn(|| indexer.take()));
                }
                segments.push(indexer.finish().unwrap());
                let mut streamed = Vec::new();
                for segment in &segments {
                    streamed.extend(filter.segment(segment, is_shown));
                }
                let streamed = String::from_utf8(streamed.concat()).unwrap();
                assert!(streamed == feed.expected(allowed), "{shape:?} in chunks of {chunk} on {path:?}");
                assert!(serde_json::from_str::<Vec<Value>>(&streamed).unwrap() == model);

                let (body, index) = PackagesIndex::assemble(&segments);
                assert!(index.filter(&body, is_shown) == streamed.as_bytes());
            }
        }
    }
}
