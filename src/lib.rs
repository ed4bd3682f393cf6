//! A filtering, caching reverse proxy for Plesk's extension catalog.
//!
//! The modules stand in reading order, and each uses only those below it. ARCHITECTURE.md has the picture, the glossary,
//! the list of pure modules and the invariants.
#![deny(unsafe_code)]

pub mod commands;

pub mod admin;
mod logging;
mod systemd;

pub mod proxy;

pub mod error;

pub mod catalog;

pub mod news;

pub mod feed;
pub mod server;
pub mod upstream;
pub mod whitelist;

pub mod config;

pub mod cli;

pub mod body;
pub mod cache_directory;
#[cfg(test)]
mod cancel;
pub mod given;
pub mod metrics;
pub mod place;
pub mod reloading;
pub mod watch;
mod worker;

mod hex;
pub mod panics;
mod printable;

pub mod stderr;
