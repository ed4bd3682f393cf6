//! Names of shops.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::policy::HostsKey;

/// Longest name in bytes. Plesk's cache takes base URLs of 30 characters at most.
const MAX_LEN: usize = 16;

/// Names that a shop cannot have: the default shop's, and first segments that the catalog or the proxy uses.
const RESERVED: [&str; 17] = [
    "default",
    "api",
    "packages",
    "categories",
    "livez",
    "readyz",
    "metrics",
    "icons",
    "assets",
    "static",
    "img",
    "images",
    "media",
    "files",
    "download",
    "downloads",
    "modules",
];

/// Name of a shop: the prefix under which it is served, and its label in logs and metrics. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShopName(Arc<str>);

/// Why a text is no name of a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShopNameError {
    #[error("a shop's name has 1 to {MAX_LEN} characters of a-z, 0-9 and -")]
    Characters,
    #[error("this name is taken: the proxy or the catalog serves something else under it")]
    Reserved,
}

impl ShopName {
    /// Name of the shop at `/`.
    pub const DEFAULT: &str = "default";

    /// Returns the name of the shop at `/`.
    pub fn default_shop() -> Self {
        Self(Self::DEFAULT.into())
    }

    /// Checks the name of a shop in the directory.
    ///
    /// # Errors
    /// If the text has another form, or the name is taken.
    pub fn parse(text: &str) -> Result<Self, ShopNameError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=MAX_LEN).contains(&text.len()) || !text.bytes().all(is_plain) {
            return Err(ShopNameError::Characters);
        }
        if RESERVED.contains(&text) {
            return Err(ShopNameError::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// Returns whether the shop's file may have hosts: the one at `/` is there for all that no other shop claims.
    pub fn hosts_key(&self) -> HostsKey {
        if self.is_default() { HostsKey::Refused } else { HostsKey::Allowed }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if this is the shop at `/`.
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

impl Borrow<str> for ShopName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShopName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["gold", "a", "0-9", "abcdefghijklmnop"] {
            assert_eq!(ShopName::parse(name).expect(name).as_str(), name);
        }
        for name in ["", "Gold", "a_b", "a.b", "é", "abcdefghijklmnopq", "a b", "a/b", "%67"] {
            assert_eq!(ShopName::parse(name), Err(ShopNameError::Characters), "{name}");
        }
        for name in RESERVED {
            assert_eq!(ShopName::parse(name), Err(ShopNameError::Reserved), "{name}");
        }
    }
}
