//! A filtering, caching reverse proxy for Plesk's extension catalog.
#![forbid(unsafe_code)]

pub mod feed;
