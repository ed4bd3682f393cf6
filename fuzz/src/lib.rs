//! What must hold for any bytes: one module a target, each with a `check` that panics if it does not.
//!
//! `input` makes feeds and chunks of a fuzzer's bytes, `json` reads them independently of the proxy.

mod input;
mod json;

pub mod accept_encoding;
pub mod cache_control;
pub mod categories;
pub mod route;
pub mod scanner;
pub mod snapshot;
pub mod whitelist;
