//! Names, buy links and uuids of the packages of a feed, for display and for news.
//!
//! The index in [`super::packages`] holds only what the filter decides by; this module reads the other
//! members on demand.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::package::Package;
use super::packages::PackagesIndex;
use super::text;

/// Longest uuid that identifies a package, in bytes. A UUID has 36 characters; some more allow for another notation.
pub(crate) const MAX_UUID_BYTES: usize = 64;

/// Element of a packages feed with the members that people look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Code and seller.
    pub package: Package,
    /// `name`, if it is a string that is not blank.
    pub name: Option<String>,
    /// `buy_url`, if it is a string that is not blank.
    pub buy_url: Option<String>,
    /// `uuid`, if it is a string that is not blank.
    pub uuid: Option<String>,
}

impl Listed {
    /// Returns its uuid as it is compared.
    pub(crate) fn identity(&self) -> Option<String> {
        identity(self.uuid.as_deref()?)
    }
}

/// Returns a uuid as it is compared, which is in small letters (RFC 9562 §4). The nil UUID, and what is longer than
/// [`MAX_UUID_BYTES`], identify nothing.
pub(crate) fn identity(uuid: &str) -> Option<String> {
    let is_nil = uuid.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    (uuid.len() <= MAX_UUID_BYTES && !is_nil).then(|| uuid.to_ascii_lowercase())
}

/// Members of an element that the index does not hold. Blanks around them are cut off, and blank ones left out.
#[derive(Debug, Default)]
pub(crate) struct ListedMembers {
    pub(crate) name: Option<String>,
    pub(crate) buy_url: Option<String>,
    pub(crate) uuid: Option<String>,
}

/// Lists the elements of a feed in order.
pub fn list(body: &[u8], index: &PackagesIndex) -> Vec<Listed> {
    let listed = index.entries.iter().map(|entry| {
        let ListedMembers { name, buy_url, uuid } = members(&body[entry.span.clone()]);
        Listed { package: entry.package.clone(), name, buy_url, uuid }
    });
    listed.collect()
}

/// A category with its top packages, as people look at them.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ListedCategory {
    pub(crate) code: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) packages: Vec<TopPackage>,
}

/// A package of a category.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct TopPackage {
    pub(crate) code: Option<String>,
    pub(crate) name: Option<String>,
}

/// Lists the categories of a feed, or of a view of one, in order.
pub(crate) fn categories(body: &[u8]) -> Vec<ListedCategory> {
    let category = |element: &&RawValue| {
        let [code, name, packages] = raw_members(element.get(), ["code", "name", "top_packages"]);
        let packages = packages.map(|packages| elements(packages.get().as_bytes())).unwrap_or_default();
        let top = |element: &&RawValue| {
            let [code, name] = raw_members(element.get(), ["code", "name"]).map(string);
            TopPackage { code, name }
        };
        ListedCategory {
            code: string(code),
            name: string(name),
            packages: packages.iter().map(top).collect(),
        }
    };
    elements(body).iter().map(category).collect()
}

/// Reads the elements of an array as they are.
fn elements(array: &[u8]) -> Vec<&RawValue> {
    serde_json::from_slice(array).unwrap_or_default()
}

/// Reads some members of an object as they are; the last of repeated ones wins, as in PHP.
fn raw_members<'a, const N: usize>(element: &'a str, names: [&str; N]) -> [Option<&'a RawValue>; N] {
    let mut found = [None; N];
    // Raw keys, because serde_json's strings refuse lone surrogates, which PHP writes.
    let mut read = |key: &RawValue, value: &'a RawValue| {
        let key = text::decode(key.get().as_bytes());
        if let Some(at) = key.and_then(|key| names.iter().position(|name| **name == *key)) {
            found[at] = Some(value);
        }
    };
    let _ = serde_json::Deserializer::from_str(element).deserialize_map(EachMember(&mut read));
    found
}

/// Reads a string without blanks around it, unless it is blank.
fn string(value: Option<&RawValue>) -> Option<String> {
    let text = text::decode(value?.get().as_bytes())?.trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// Calls a function for each member of an object.
struct EachMember<'f, F>(&'f mut F);

impl<'de, F: FnMut(&RawValue, &'de RawValue)> Visitor<'de> for EachMember<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            (self.0)(key, value);
        }
        Ok(())
    }
}

/// Reads the members of an element. One that is no object has none.
pub(crate) fn members(element: &[u8]) -> ListedMembers {
    let element = std::str::from_utf8(element).unwrap_or_default();
    let [name, buy_url, uuid] = raw_members(element, ["name", "buy_url", "uuid"]).map(string);
    ListedMembers { name, buy_url, uuid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_categories() {
        let body = br#"[{"code":"cms","name":" CMS ","top_packages":[{"code":"a","name":"\ud800"},1,{}]}, 7, {"name":"x"}]"#;
        let top = |code: Option<&str>, name: Option<&str>| TopPackage {
            code: code.map(str::to_owned),
            name: name.map(str::to_owned),
        };
        let categories = categories(body);
        assert_eq!(categories.len(), 3);
        assert_eq!(
            (categories[0].code.as_deref(), categories[0].name.as_deref()),
            (Some("cms"), Some("CMS"))
        );
        assert_eq!(categories[0].packages[1..], [top(None, None), top(None, None)]);
        assert_eq!(categories[0].packages[0].code.as_deref(), Some("a"));
        assert_eq!((categories[1].code.as_deref(), categories[2].name.as_deref()), (None, Some("x")));
    }

    #[test]
    fn reads_names_and_links() {
        let check = |element: &str, name: Option<&str>, buy_url: Option<&str>| {
            let body = format!("[ {element} , 1]").into();
            let index = PackagesIndex::of(&body).expect("a feed");
            let listed = list(&body, &index);
            assert_eq!(listed.len(), 2, "{element}");
            assert_eq!(listed[0].package, index.entries[0].package, "{element}");
            assert_eq!(
                (listed[0].name.as_deref(), listed[0].buy_url.as_deref()),
                (name, buy_url),
                "{element}"
            );
        };
        check("{}", None, None);
        check("null", None, None);
        check(
            r#"{"name":"A","buy_url":"https:\/\/go.plesk.com\/"}"#,
            Some("A"),
            Some("https://go.plesk.com/"),
        );
        check(r#"{"name":" \u00e9 ","buy_url":" "}"#, Some("é"), None);
        check(r#"{"name":["A"],"buy_url":7,"x":{"name":"B","buy_url":"c"}}"#, None, None);
        check(r#"{"name":"A","name":"B","n\u0061me":"C"}"#, Some("C"), None);
        check(r#"{"description":"\ud800","name":"A"}"#, Some("A"), None);
        check(
            r#"{"code":"a","name":"A\ud800","buy_url":"b\ud800"}"#,
            Some("A\u{fffd}\u{fffd}\u{fffd}"),
            Some("b\u{fffd}\u{fffd}\u{fffd}"),
        );
        check(r#"{"\ud800":1,"name":"A"}"#, Some("A"), None);
    }

    #[test]
    fn reads_uuids() {
        let check = |element: &str, expected: Option<&str>| {
            assert_eq!(members(element.as_bytes()).uuid.as_deref(), expected, "{element}");
        };
        check(r#"{"uuid":"00D002a7-3252"}"#, Some("00D002a7-3252"));
        check(r#"{"uuid":" \u0061\/b "}"#, Some("a/b"));
        check(r#"{"uuid":"a","x":{"uuid":"c"},"uuid":"b"}"#, Some("b"));
        check(r#"{"uuid":"a","uuid":null}"#, None);
        check(r#"{"uuid":" "}"#, None);
        check(r#"{"uuid":["a"]}"#, None);
        check(r#"{"UUID":"a"}"#, None);
        check("7", None);
    }
}
