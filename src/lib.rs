//! A filtering, caching reverse proxy for Plesk's extension catalog.
#![forbid(unsafe_code)]

pub mod body;
pub mod cli;
pub mod config;
pub mod feed;
pub mod place;
pub mod whitelist;
