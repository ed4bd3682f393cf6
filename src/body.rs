//! The one body type of every message, and its few constructors.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};

/// What a body fails with; the cause goes to the log, the peer sees a cut transfer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of known bytes, or of any origin.
pub type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, BoxError>>;

/// Makes a body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(bytes.into()))
}

/// Makes an empty body.
pub fn empty() -> Body {
    Either::Left(Full::default())
}

/// Passes another body on: its frames, trailers, size and end.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Either::Right(body.map_err(Into::into).boxed_unsync())
}
