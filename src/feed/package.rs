//! What decides whether a package is shown.

use crate::seller::Seller;

/// The top-level members of a package that the filter decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// `code`, if it is a string.
    pub code: Option<Box<str>>,
    /// Seller according to `buy_url`.
    pub seller: Seller,
}

impl Package {
    /// Returns true if the package is shown; `allowed` tells the codes that the whitelist names.
    ///
    /// A package that Plesk sells and that has no code can be on no list, so it is hidden.
    pub fn is_shown(&self, allowed: impl FnOnce(&str) -> bool) -> bool {
        match self.seller {
            Seller::Free | Seller::Vendor => true,
            Seller::Plesk => self.code.as_deref().is_some_and(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_by_seller_and_list() {
        let check = |code: Option<&str>, seller, allowed: &str, expected: bool| {
            let package = Package { code: code.map(Into::into), seller };
            assert_eq!(package.is_shown(|code| code == allowed), expected, "{package:?} with {allowed}");
        };
        check(Some("a"), Seller::Free, "", true);
        check(None, Seller::Free, "", true);
        check(Some("a"), Seller::Vendor, "", true);
        check(None, Seller::Vendor, "", true);
        check(Some("a"), Seller::Plesk, "a", true);
        check(Some("a"), Seller::Plesk, "A", false);
        check(Some("a"), Seller::Plesk, "b", false);
        check(None, Seller::Plesk, "", false);
    }
}
