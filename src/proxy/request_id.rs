//! The id of a request, which all logs on its way share.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::hex::hex;

/// Field with the request's id, which all logs on its way share.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is accepted from a client, in bytes: three times what load balancers make.
const MAX_ID_LEN: usize = 128;

/// A request's id.
#[derive(Debug)]
pub(super) enum Id {
    /// The one that it came with.
    Given(HeaderValue),
    /// A random one.
    Made(u128),
}

impl Id {
    /// Takes the id from the request if it is safe to repeat anywhere, else makes one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is_sane = |id: &&HeaderValue| {
            let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:~+/=@".contains(byte);
            (1..=MAX_ID_LEN).contains(&id.len()) && id.as_bytes().iter().all(sane)
        };
        let mut ids = headers.get_all(X_REQUEST_ID).iter();
        match (ids.next().filter(is_sane), ids.next()) {
            (Some(id), None) => Self::Given(id.clone()),
            _ => Self::Made(fastrand::u128(..)),
        }
    }

    /// Returns it for a header field; one that was made, in hexadecimal.
    pub(super) fn value(&self) -> HeaderValue {
        match self {
            Self::Given(id) => id.clone(),
            Self::Made(id) => {
                // Every answer has one: a fifth of the time of `format!`.
                let digit = |at: usize| b"0123456789abcdef"[(id >> (124 - 4 * at)) as usize & 15];
                let digits: [u8; 32] = std::array::from_fn(digit);
                HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("-"))
            }
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(id) => f.write_str(id.to_str().unwrap_or("-")),
            Self::Made(id) => hex(&id.to_be_bytes()).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_over_if_they_are_sane() {
        let check = |ids: &[&str], taken: bool| {
            let mut headers = HeaderMap::new();
            for id in ids {
                headers.append(X_REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).expect("a value"));
            }
            let id = Id::of(&headers);
            let text = id.to_string();
            assert_eq!(id.value(), text.as_str());
            assert_eq!(ids.first().is_some_and(|first| text == *first), taken, "{ids:?}: {id:?}");
            if !taken {
                assert!(text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}");
            }
        };
        check(&["a"], true);
        check(&["7b0c9d2e-1111-4222-8333-444455556666"], true);
        check(&["Root=1-67891233-abcdef012345678912345678"], true);
        check(&["AZaz09-_.:~+/=@"], true);
        check(&[&"x".repeat(MAX_ID_LEN)], true);
        check(&[&"x".repeat(MAX_ID_LEN + 1)], false);
        check(&[], false);
        check(&[""], false);
        check(&["a b"], false);
        check(&["a\tb"], false);
        check(&["a\"b"], false);
        check(&["é"], false);
        check(&["a", "b"], false);
    }
}
