//! Errors of the admin port as problem details (RFC 9457).

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use crate::body::Body;
use crate::proxy::respond;

/// Seconds after which somebody who was told to wait may ask again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request to the page or the API is not answered.
#[derive(Debug)]
pub(super) struct ApiProblem {
    pub(super) status: StatusCode,
    detail: String,
    /// Further members of the answer.
    members: Map<String, Value>,
    /// Methods that are answered, if it is about these.
    allow: Option<&'static str>,
}

impl ApiProblem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), members: Map::new(), allow: None }
    }

    /// Adds a member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "this needs a token of --admin-tokens")
    }

    pub(super) fn too_many_failures() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong tokens at once; a right one is taken at any time",
        )
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this answers only {allow}"));
        Self { allow: Some(allow), ..problem }
    }

    /// Work that a panic or the end of the process broke off.
    pub(super) fn interrupted() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "this was broken off; the log says why")
    }

    /// Makes the response.
    pub(super) fn into_response(self) -> Response<Body> {
        let Self { status, detail, members, allow } = self;
        let mut problem = Map::new();
        problem.insert("type".to_owned(), "about:blank".into());
        problem.insert("title".to_owned(), status.canonical_reason().into());
        problem.insert("status".to_owned(), status.as_u16().into());
        problem.insert("detail".to_owned(), detail.into());
        problem.extend(members);
        let mut response =
            respond::plain(status, "application/problem+json", format!("{}\n", Value::Object(problem)));
        let headers = response.headers_mut();
        match status {
            // SECURITY: a challenge with `Basic` would open the browser's own dialog, also for what a script asks.
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"catalog-proxy\""),
                );
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}
