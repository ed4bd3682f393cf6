//! A filtering, caching reverse proxy for Plesk's extension catalog.
//!
//! The modules in reading order; arrows of use point down this list only. `feed`, `whitelist` itself and
//! its `edit`, `cache::freshness`, `proxy::route` and `proxy::headers` are pure: bytes, values and `now`
//! in, values out. ARCHITECTURE.md has the picture and the invariants.
#![deny(unsafe_code)]

pub mod commands;

pub mod app;

pub mod admin;
pub mod logging;
pub mod systemd;

pub mod proxy;

pub mod error;

pub mod cache;

pub mod news;

pub mod feed;
pub mod server;
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
pub mod reloading;
pub mod watch;
mod worker;

pub mod panics;
pub mod printable;

pub mod stderr;

#[cfg(test)]
#[path = "../tests/sim/mod.rs"]
mod sim;
