//! What a copy is kept under.

use std::fmt;
use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::feed::Kind;

/// Which feed: its kind, path and query. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    kind: Kind,
    target: Arc<str>,
}

impl Key {
    /// Makes a key of a canonical feed path and the query as the client wrote it.
    pub fn new(kind: Kind, target: &PathAndQuery) -> Self {
        // A copy of its own: the target shares memory with the whole head of the request.
        Self { kind, target: target.as_str().into() }
    }

    /// Returns which feed it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns path and query.
    pub fn as_str(&self) -> &str {
        &self.target
    }

    pub(super) fn target(&self) -> PathAndQuery {
        // It was one before.
        self.target.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)
    }
}
