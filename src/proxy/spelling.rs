//! Classification of a path: a feed, something else, or not in normal form.
//!
//! SECURITY: no way to write a feed's path may lead to the unfiltered feed. Servers undo the ways to write a
//! path in different orders, so this module undoes none. What is written in more than one way is refused, and
//! what is left can be read in one way only.

mod fault;
mod query;
mod segment;
#[cfg(test)]
mod tests;

use crate::feed::FeedKind;
pub(crate) use fault::Fault;
pub(crate) use query::{parts_name_feed, query_names_feed};
use segment::{Cut, Name, PathSegment};

/// What a path stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathClass<'a> {
    /// A feed in one version of the vendor's API, the digits of which are `version`.
    Feed { kind: FeedKind, version: &'a str },
    /// A feed's path behind `prefix`, which begins with a slash and does not end with one.
    FeedBehind { prefix: &'a str, kind: FeedKind, version: &'a str },
    /// A path in normal form that is no feed's.
    Other,
    /// A path that servers may read in different ways.
    NotNormal(Fault<'a>),
}

impl<'a> PathClass<'a> {
    /// Classifies a path, which begins with a slash and has no query. Reads it once and allocates nothing.
    pub(crate) fn of(path: &'a str) -> Self {
        match canonical(path) {
            Some((version, kind)) => Self::Feed { kind, version },
            None => Self::by_segments(path).unwrap_or_else(Self::NotNormal),
        }
    }

    fn by_segments(path: &'a str) -> Result<Self, Fault<'a>> {
        let mut search = Search::default();
        let mut at = path.len() - path.strip_prefix('/').unwrap_or(path).len();
        let mut empty_at = None;
        for text in path[at..].split('/') {
            fault::check_characters(path, at..at + text.len())?;
            let segment = PathSegment::of(text.as_bytes());
            let is_last = at + text.len() == path.len();
            match (segment.name, empty_at) {
                (Name::Empty, None) => empty_at = Some(at.saturating_sub(1)),
                (Name::Empty, Some(_)) if !is_last => {}
                (Name::Dot | Name::DotDot, _) => return Err(Fault::dot_segment(at)),
                // A base URL that ends with a slash makes `//api`.
                (Name::Api, Some(_)) if segment.cut == Cut::None => {}
                (_, Some(empty_at)) => return Err(Fault::empty_segment(empty_at)),
                (_, None) => {}
            }
            search.add(&segment, at);
            if segment.name == Name::Api {
                search.prefix_len = empty_at.unwrap_or(at.saturating_sub(1));
            }
            if segment.name != Name::Empty {
                empty_at = None;
            }
            at += text.len() + 1;
        }
        let Some(kind) = search.found() else {
            return search.found_by_parent().map_or(Ok(Self::Other), |at| Err(Fault::dot_segment(at)));
        };
        if search.is_doubtful {
            return Err(Fault::doubtful_feed(kind, search.name_at));
        }
        let version = std::str::from_utf8(search.version).unwrap_or_default();
        Ok(match &path[..search.prefix_len] {
            "" => Self::Feed { kind, version },
            prefix => Self::FeedBehind { prefix, kind, version },
        })
    }
}

/// Recognizes a feed's path as nearly all clients write it.
fn canonical(path: &str) -> Option<(&str, FeedKind)> {
    let (version, name) = path.strip_prefix("/api/v")?.split_once('/')?;
    let kind = [FeedKind::Packages, FeedKind::Categories].into_iter().find(|kind| kind.name() == name)?;
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    is_version.then_some((version, kind))
}

/// How much of a feed's path the last segments were.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum FeedSearch {
    #[default]
    Nothing,
    Api,
    Version,
    /// The whole path, if nothing follows.
    Name(FeedKind),
    /// The whole path, whatever follows.
    Found(FeedKind),
}

/// The search for a feed's path in a row of segments.
#[derive(Debug, Default)]
struct Search<'a> {
    progress: FeedSearch,
    /// True if some servers find a feed here and some do not.
    is_doubtful: bool,
    /// True if something follows the feed's name in its segment.
    is_name_cut: bool,
    /// Where the segment with the feed's name begins.
    name_at: usize,
    /// Length of what is before the feed's path.
    prefix_len: usize,
    version: &'a [u8],
    /// How many segments of a feed's path there were in its order, whatever is between them.
    in_order: usize,
    /// Where the first segment is that takes back the one before it.
    parent_at: Option<usize>,
}

impl<'a> Search<'a> {
    fn add(&mut self, segment: &PathSegment<'a>, at: usize) {
        match (self.in_order, segment.name) {
            (_, Name::DotDot | Name::HiddenDotDot) => self.parent_at = self.parent_at.or(Some(at)),
            (0, Name::Api) | (1, Name::Version) | (2, Name::Feed(_)) => self.in_order += 1,
            _ => {}
        }
        let is_odd = segment.cut == Cut::Odd;
        self.progress = match (self.progress, segment.name) {
            (FeedSearch::Found(kind), _) => FeedSearch::Found(kind),
            (same, Name::Empty) => same,
            // Some servers drop such a segment, and what follows it.
            (same, Name::Blank | Name::HiddenDotDot) => {
                (self.is_doubtful, self.is_name_cut) = (true, true);
                same
            }
            (FeedSearch::Name(kind), Name::Index) => FeedSearch::Found(kind),
            // A script with a path behind it, or parameters after which a server reads no further.
            (FeedSearch::Name(kind), _) if self.is_name_cut => {
                self.is_doubtful = true;
                FeedSearch::Found(kind)
            }
            (_, Name::Api) => {
                self.is_doubtful = is_odd;
                FeedSearch::Api
            }
            (FeedSearch::Api, Name::Version) => {
                self.is_doubtful |= is_odd;
                self.version = &segment.stem[1..];
                FeedSearch::Version
            }
            (FeedSearch::Version, Name::Feed(kind)) => {
                self.is_doubtful |= is_odd;
                (self.is_name_cut, self.name_at) = (segment.cut != Cut::None, at);
                FeedSearch::Name(kind)
            }
            _ => FeedSearch::Nothing,
        };
    }

    /// Returns where a segment is that may take back what is between those of a feed's path. Which segments it takes
    /// back does not matter.
    fn found_by_parent(&self) -> Option<usize> {
        self.parent_at.filter(|_| self.in_order == 3)
    }

    fn found(&self) -> Option<FeedKind> {
        match self.progress {
            FeedSearch::Name(kind) | FeedSearch::Found(kind) => Some(kind),
            _ => None,
        }
    }
}
