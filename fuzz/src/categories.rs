//! Categories feed: `top_packages` are filtered as a model on parsed values says, and no other byte changes.

use catalog_proxy::feed::categories::CategoriesIndexer;
use catalog_proxy::seller::Seller;

use crate::input::Input;
use crate::json;

const SHOWN: &[&str] = &["wp-toolkit", "docker"];

/// Checks one input.
pub fn check(data: &[u8]) {
    let input = Input::of(data);
    let text = &*input.text;
    let elements = json::feed(text).filter(|elements| elements.iter().all(|element| can_be_pruned(element)));
    let whole = filter(&[text]);
    assert_eq!(whole.is_some(), elements.is_some());
    assert_eq!(filter(&input.chunks()), whole);
    let (Some(elements), Some(out)) = (elements, whole) else { return };
    let out = std::str::from_utf8(&out).expect("UTF-8");
    let left = json::array(out).expect("an array");
    assert_eq!(left.len(), elements.len());
    let mut pruned = false;
    for (before, after) in elements.iter().zip(&left) {
        pruned |= is_pruned(before, after);
    }
    assert_eq!(pruned, out.as_bytes() != text);
}

fn filter(chunks: &[&[u8]]) -> Option<Vec<u8>> {
    let mut indexer = CategoriesIndexer::default();
    for chunk in chunks {
        indexer.push(chunk).ok()?;
    }
    let (body, index) = indexer.finish().ok()?;
    assert_eq!(body, chunks.concat());
    Some(index.filter(&body, |code| SHOWN.contains(&code)))
}

/// Returns true if the element is no package sold by Plesk, and if no `top_packages` is an object with
/// members.
fn can_be_pruned(element: &str) -> bool {
    let links = json::named(element, "buy_url").into_iter().map(json::unescape);
    let mut lists = json::named(element, "top_packages").into_iter();
    links.map(|link| json::seller(link.as_deref())).all(|seller| seller != Seller::Plesk)
        && lists.all(|list| json::members(list).is_none_or(|members| members.is_empty()))
}

/// Compares a category before and after the filter, and returns true if anything was removed.
fn is_pruned(before: &str, after: &str) -> bool {
    let Some(members) = json::members(before) else {
        assert_eq!(before, after);
        return false;
    };
    let left = json::members(after).expect("still an object");
    assert_eq!(left.len(), members.len());
    let mut pruned = false;
    for ((name, value), (left_name, left)) in members.into_iter().zip(left) {
        assert_eq!(name, left_name);
        let list = json::array(value).filter(|_| json::unescape(name).as_deref() == Some("top_packages"));
        let Some(list) = list else {
            assert_eq!(value, left);
            continue;
        };
        let len = list.len();
        let kept: Vec<&str> = list.into_iter().filter(|package| is_shown(package)).collect();
        assert_eq!(json::array(left).expect("still an array"), kept);
        pruned |= kept.len() < len;
    }
    pruned
}

fn is_shown(package: &str) -> bool {
    json::text_of(package, "code").is_some_and(|code| SHOWN.contains(&&*code))
}
