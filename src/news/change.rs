//! A change of the catalog, as the history, the notifications and the copies on disk have it.

use serde::{Deserialize, Serialize};

use crate::seller::Seller;

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The package has appeared.
    New,
    /// The package has disappeared.
    Gone,
    /// The package has another seller.
    Switched,
    /// The package has another code, and may have another seller.
    Renamed,
}

/// One change of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Kind of the change.
    pub change: Kind,
    /// Code of the package.
    pub code: String,
    /// Previous code, if it has changed. Optional, and ignored by versions that do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// Name of the package, if it has one.
    pub name: Option<String>,
    /// Seller; of a package that is gone, the last one.
    pub seller: SellerName,
    /// Previous seller, if it has changed.
    pub was: Option<SellerName>,
    /// True if the whitelist of any shop shows or retires the code, or the previous one.
    pub whitelisted: bool,
    /// Shops whose whitelist mentions the code, or the previous one. Ignored by versions that do not know it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shops: Vec<String>,
}

impl Change {
    /// Returns the change from one seller to another, if they differ. A package that is not there has no seller.
    pub(crate) fn between(
        code: &str,
        name: Option<String>,
        before: Option<SellerName>,
        after: Option<SellerName>,
    ) -> Option<Self> {
        let (change, seller, was) = match (before, after) {
            (None, Some(after)) => (Kind::New, after, None),
            (Some(before), None) => (Kind::Gone, before, None),
            (Some(before), Some(after)) if before != after => (Kind::Switched, after, Some(before)),
            _ => return None,
        };
        Some(Self {
            change,
            code: code.to_owned(),
            renamed_from: None,
            name,
            seller,
            was,
            whitelisted: false,
            shops: Vec::new(),
        })
    }

    /// Returns the seller before the change, if the package was there.
    pub(crate) fn seller_before(&self) -> Option<SellerName> {
        match self.change {
            Kind::New => None,
            Kind::Gone => Some(self.seller),
            Kind::Switched => self.was,
            Kind::Renamed => self.was.or(Some(self.seller)),
        }
    }

    /// Returns the seller after the change, if the package is there.
    pub(crate) fn seller_after(&self) -> Option<SellerName> {
        match self.change {
            Kind::New | Kind::Switched | Kind::Renamed => Some(self.seller),
            Kind::Gone => None,
        }
    }

    /// Returns the approximate size in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let texts = [&self.renamed_from, &self.name].into_iter().flatten();
        let shops: usize = self.shops.iter().map(|shop| size_of::<String>() + shop.len()).sum();
        size_of::<Self>() + self.code.len() + texts.map(String::len).sum::<usize>() + shops
    }
}

/// Serializable form of [`Seller`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SellerName {
    Free,
    Vendor,
    Plesk,
}

impl Kind {
    /// Returns its name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Switched => "switched",
            Self::Renamed => "renamed",
        }
    }
}

impl SellerName {
    /// Returns its name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Vendor => "vendor",
            Self::Plesk => "plesk",
        }
    }
}

impl From<Seller> for SellerName {
    fn from(seller: Seller) -> Self {
        match seller {
            Seller::Free => Self::Free,
            Seller::Vendor => Self::Vendor,
            Seller::Plesk => Self::Plesk,
        }
    }
}
