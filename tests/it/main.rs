//! The proxy as its users meet it: in process on port 0, or as the real binary, in front of an upstream
//! that can fail in every way.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should say where")]
#![allow(unreachable_pub, missing_docs, reason = "nothing is outside of a test binary")]

mod admin_port;
mod client;
mod clock;
mod frames;
mod lenient;
mod proxy;
mod sinks;
#[path = "../support/feeds.rs"]
mod support;
mod upstream;

mod access_log;
mod activation;
mod admin_access;
mod admin_edits;
mod admin_faults;
mod api_docs;
mod bounds;
mod bypass;
mod cache;
mod cli;
mod clients;
mod config;
mod coverage;
mod demo;
mod descriptors;
mod disk;
mod docs;
mod early_answers;
mod edits;
mod encodings;
mod fail_closed;
mod feeds;
mod forward;
mod generator;
mod hostile;
mod http2_clients;
mod http2_upstream;
mod https;
mod journal;
mod logs;
mod metrics;
mod news;
mod notifications;
mod odd_answers;
mod outbound;
mod policy;
mod process;
mod reload;
mod renames;
mod resources;
mod secrets;
mod servers;
mod shop_room;
mod shops;
mod smuggling;
mod start_limits;
mod structure;
mod stuck_logs;
mod systemd;
mod tables;
mod tls;
mod tools;
mod tools_catalog;
mod tools_edges;
mod tools_files;
mod tools_json;
mod tools_output;
mod tools_shops;
mod trust;
mod waiting;
mod warm_start;
