//! What policies judge a package by.

use crate::seller::Seller;

/// The top-level members of a package that it is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// `code`, if it is a string.
    pub code: Option<Box<str>>,
    /// Seller according to `buy_url`.
    pub seller: Seller,
}
