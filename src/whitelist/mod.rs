//! The whitelist file on disk: read, replaced, and compared with the catalog.

mod attributes;
pub(crate) mod coverage;
pub mod load;
pub mod mount;
pub mod replace;
