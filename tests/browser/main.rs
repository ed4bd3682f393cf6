//! The page in a real browser: `cargo test --test browser -- --ignored`.
//!
//! It needs Debian's chromium, chromium-driver and nginx-light, and npm for axe-core. Where one is missing the tests fail, for a
//! test that skips itself looks like one that passes. Each ends by looking at what the browser reported: errors,
//! violations of the page's policy, requests to anybody but the admin port.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should say where")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "nothing is outside of a test binary")]

mod browser;
mod site;
#[path = "../it/upstream.rs"]
mod upstream;

mod access;
mod decisions;
mod finding;
mod hostile;
mod looks;
mod outcome;
mod subpath;
