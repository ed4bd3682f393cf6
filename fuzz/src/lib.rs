//! Properties that must hold for any bytes: one module for each target, whose `check` panics if one does not hold.
//!
//! `input` makes feeds and chunks from a fuzzer's bytes, `json` reads them independently of the proxy.

mod input;
mod json;

pub mod accept_encoding;
pub mod admin;
pub mod cache_control;
pub mod categories;
pub mod edit;
pub mod policy;
pub mod route;
pub mod scanner;
pub mod snapshot;
