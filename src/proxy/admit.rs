//! What a request must keep to before anything is done with it.

use http::{HeaderMap, Request, Version, header};

use crate::error::Error;
use crate::server::limits::MAX_FIELDS;

/// Most bytes of any target: what servers usually take.
const MAX_ANY_TARGET: usize = 8 << 10;

/// Checks a request's head.
///
/// # Errors
/// The first rule that it breaks.
pub fn admit<B>(request: &Request<B>, max_body: u64) -> Result<(), Error> {
    let headers = request.headers();
    // HTTP/2 itself limits only their size.
    if headers.len() > MAX_FIELDS {
        return Err(Error::TooManyFields(MAX_FIELDS));
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_ANY_TARGET {
        return Err(Error::TargetTooLong(MAX_ANY_TARGET));
    }
    // SECURITY: whoever is before or behind us must find the same host and the same end of the body in it, or
    // one request is taken for two (RFC 9112 §3.2 and §6.1).
    if request.version() < Version::HTTP_2 {
        let hosts = headers.get_all(header::HOST).iter().count();
        if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
            return Err(Error::Ambiguous("it must have one Host field"));
        }
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        match (codings.next(), codings.next()) {
            (None, _) => {}
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
            _ => return Err(Error::Ambiguous("its only transfer coding may be chunked")),
        }
    }
    match declared_length(headers) {
        Some(length) if length > max_body => Err(Error::BodyTooLarge(max_body)),
        _ => Ok(()),
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
