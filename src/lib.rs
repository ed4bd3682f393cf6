//! A filtering, caching reverse proxy for Plesk's extension catalog.
#![forbid(unsafe_code)]

pub mod body;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod feed;
pub mod place;
pub mod upstream;
pub mod whitelist;
