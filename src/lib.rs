//! A filtering, caching reverse proxy for Plesk's extension catalog.
//!
//! The modules stand in reading order, and each uses only those below it. ARCHITECTURE.md has the picture, the glossary,
//! the list of pure modules and the invariants.
#![deny(unsafe_code)]

pub mod commands;

pub mod app;

pub mod admin;
mod logging;
mod systemd;

pub mod proxy;

pub mod error;
pub mod servers;

pub mod cache;

pub mod news;

mod report;

mod editing;

pub mod edit_log;
pub mod feed;
pub mod server;
pub mod shops;
pub mod upstream;

pub mod whitelist;

pub mod certificate;
pub mod config;

pub mod cli;

mod backoff;
mod blocking;
pub mod body;
pub mod cache_directory;
pub mod cache_status;
#[cfg(test)]
mod cancel;
pub mod digest;
pub mod given;
mod limits;
pub mod metrics;
pub mod place;
pub mod policy;
pub mod reloading;
pub mod seller;
pub mod watch;
mod worker;

mod hex;
mod line_patch;
pub mod panics;
mod printable;
pub mod version;
mod wall_clock;

pub mod stderr;

#[cfg(test)]
#[path = "../tests/sim/mod.rs"]
mod sim;
