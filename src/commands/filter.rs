//! `filter`: the engine as a pipe, in constant memory.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use super::Failure;
use crate::feed::packages::{Filter, Indexer, Segment};
use crate::whitelist::watch::load_once;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// Filters the packages feed in `input` to `output`.
///
/// # Errors
/// If the feed is not valid: what was written by then has no end, so no reader takes it for a feed.
pub fn filter(whitelist: &Path, mut input: impl Read, mut output: impl Write) -> Result<(), Failure> {
    crate::logging::start(crate::cli::LogFormat::Text, None)?;
    let list = load_once(whitelist)?;
    let mut indexer = Indexer::default();
    let mut filter = Filter::default();
    let mut write = |segment: Segment| {
        let mut parts = filter.segment(&segment, |code| list.contains(code));
        parts.try_for_each(|part| output.write_all(&part)).map_err(cannot_write)
    };
    let invalid = |error| Failure::failed(format!("standard input is not a packages feed: {error}"));
    loop {
        let mut chunk = vec![0; CHUNK];
        match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => chunk.truncate(len),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::failed(format!("cannot read standard input: {error}"))),
        }
        indexer.push(&chunk.into()).map_err(invalid)?;
        std::iter::from_fn(|| indexer.take()).try_for_each(&mut write)?;
    }
    write(indexer.finish().map_err(invalid)?)
}

fn cannot_write(error: std::io::Error) -> Failure {
    Failure::failed(format!("cannot write to standard output: {error}"))
}
