//! `filter`: filters a packages feed from standard input to standard output, in constant memory.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::SystemTime;

use super::CommandError;
use super::terminal::not_written;
use crate::feed::package::Package;
use crate::feed::packages::{PackagesFilter, PackagesIndexer, Segment};
use crate::policy::{Day, Rules, ViewKind};
use crate::whitelist::load::load_once;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Filters the packages feed in `input` to `output`.
///
/// # Errors
/// If the feed is not valid. The output is cut off then, so no reader takes it for a feed. A reader that closes the
/// pipe early is no failure.
pub(crate) fn filter(whitelist: &Path, input: impl Read, output: impl Write) -> Result<(), CommandError> {
    crate::logging::start(crate::cli::LogFormat::Text, None)?;
    let rules = load_once(whitelist)?.on(Day::of(SystemTime::now()));
    match stream(&rules, input, output) {
        Err(Broken::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(Broken::Output(error)) => Err(not_written(&error)),
        Err(Broken::Input(failure)) => Err(failure),
        Ok(()) => Ok(()),
    }
}

/// Side of the pipe that failed.
enum Broken {
    Input(CommandError),
    Output(io::Error),
}

fn stream(rules: &Rules, mut input: impl Read, mut output: impl Write) -> Result<(), Broken> {
    let mut indexer = PackagesIndexer::default();
    let mut filter = PackagesFilter::default();
    let is_shown =
        |package: &Package| rules.verdict(package.code.as_deref(), package.seller).is_in(ViewKind::Shop);
    let mut write = |segment: Segment| {
        let mut parts = filter.segment(&segment, is_shown);
        parts.try_for_each(|part| output.write_all(&part)).map_err(Broken::Output)
    };
    let failed = |message: String| Broken::Input(CommandError::failed(message));
    let invalid = |error| failed(format!("standard input is not a packages feed: {error}"));
    loop {
        let mut chunk = vec![0; CHUNK];
        match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => chunk.truncate(len),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(format!("cannot read standard input: {error}"))),
        }
        indexer.push(&chunk.into()).map_err(invalid)?;
        std::iter::from_fn(|| indexer.take()).try_for_each(&mut write)?;
    }
    write(indexer.finish().map_err(invalid)?)
}
