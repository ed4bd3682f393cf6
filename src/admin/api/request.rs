//! What a request to the API says: its query, its conditions and its body.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::super::origin::single;
use super::super::problem::ApiProblem;
use crate::edit_log::EditedCodes;
use crate::editing::{CodeEdit, Verb};
use crate::policy::Verdict;

/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Most codes of one edit: all that Plesk sells, a few times over.
const MAX_CODES: usize = 1000;
/// Longest wait for a body.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// Body of `preview` and `edits`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WantedEdit {
    /// Without it the shop at `/`.
    pub(super) shop: Option<String>,
    pub(super) show: Vec<String>,
    pub(super) retire: Vec<String>,
    pub(super) hide: Vec<String>,
    pub(super) forget: Vec<String>,
    pub(super) note: Option<String>,
}

/// Body of an undo, which may be empty.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WantedUndo {
    pub(super) note: Option<String>,
}

impl WantedEdit {
    /// Returns the edits one by one.
    ///
    /// # Errors
    /// If there are too many.
    pub(super) fn edits(&self) -> Result<Vec<CodeEdit>, ApiProblem> {
        let lists = [
            (Verb::Place(Verdict::Shown), &self.show),
            (Verb::Place(Verdict::Retired), &self.retire),
            (Verb::Place(Verdict::Hidden), &self.hide),
            (Verb::Forget, &self.forget),
        ];
        let edits: Vec<_> = lists.into_iter().flat_map(|(verb, codes)| CodeEdit::all(verb, codes)).collect();
        match edits.len() <= MAX_CODES {
            true => Ok(edits),
            false => {
                let detail = format!("an edit may have {MAX_CODES} codes at most");
                Err(ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
            }
        }
    }

    /// Returns the note, without blanks around it.
    pub(super) fn note(&self) -> Option<String> {
        trimmed(self.note.as_deref())
    }
}

/// Returns a note without blanks around it, unless nothing is left.
pub(super) fn trimmed(note: Option<&str>) -> Option<String> {
    note.map(str::trim).filter(|note| !note.is_empty()).map(str::to_owned)
}

/// Puts one code into the list of its verb.
pub(super) fn add(codes: &mut EditedCodes, verb: Verb, code: &str) {
    let list = match verb {
        Verb::Place(verdict) => codes.of(verdict),
        Verb::Forget => &mut codes.forget,
    };
    if !list.iter().any(|listed| listed == code) {
        list.push(code.to_owned());
    }
}

/// Returns the value of a query's parameter.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut parts = query?.split('&').filter_map(|part| part.split_once('='));
    let (_, value) = parts.find(|(found, _)| *found == name)?;
    Some(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}

/// Checks that a body is announced as JSON. SECURITY: a page of another site can send other types without being asked.
///
/// # Errors
/// If it is not.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), ApiProblem> {
    let value = single(headers, &header::CONTENT_TYPE).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    match essence.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(ApiProblem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a change is sent as Content-Type: application/json",
        )),
    }
}

/// The digests of which one must be that of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition(Vec<String>);

impl Condition {
    /// Parses the entity tags of `If-Match` (RFC 9110 §13.1.1).
    ///
    /// # Errors
    /// If it is missing, or any version would do: then what somebody else did meanwhile would be overwritten.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiProblem> {
        let fields = headers.get_all(header::IF_MATCH).iter();
        let texts: Vec<&str> = fields.filter_map(|field| field.to_str().ok()).collect();
        let tags: Vec<&str> = texts.iter().flat_map(|text| text.split(',')).map(str::trim).collect();
        if tags.is_empty() || tags.contains(&"*") || tags.iter().all(|tag| tag.is_empty()) {
            let detail = "a change says on which version of the list it is based: If-Match with the ETag of \
                          GET packages";
            return Err(ApiProblem::new(StatusCode::PRECONDITION_REQUIRED, detail));
        }
        // A proxy that compresses on its way makes a tag weak.
        let opaque = |tag: &str| {
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            Some(tag.strip_prefix('"')?.strip_suffix('"')?.to_owned())
        };
        Ok(Self(tags.into_iter().filter_map(opaque).collect()))
    }

    pub(super) fn holds(&self, digest: &str) -> bool {
        self.0.iter().any(|tag| tag == digest)
    }

    /// Returns the digests that were sent.
    pub(super) fn digests(&self) -> &[String] {
        &self.0
    }
}

/// Reads a body as JSON. An empty one is an empty object.
///
/// # Errors
/// If it is too large, does not arrive, or is not what is expected.
pub(super) async fn read<T: DeserializeOwned + Default>(body: Incoming) -> Result<T, ApiProblem> {
    let too_large = || {
        let detail = format!("a body may have {MAX_BODY_BYTES} bytes at most");
        ApiProblem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large());
    }
    let collected = match timeout(BODY_LIMIT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(ApiProblem::new(StatusCode::BAD_REQUEST, "the body was cut off")),
        Err(_) => {
            return Err(ApiProblem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s"));
        }
    };
    if collected.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // A list would be taken for the members in their order.
    if !collected.trim_ascii().starts_with(b"{") {
        return Err(ApiProblem::new(
            StatusCode::BAD_REQUEST,
            "the body is not what is expected: a JSON object",
        ));
    }
    serde_json::from_slice(&collected).map_err(|error| {
        ApiProblem::new(StatusCode::BAD_REQUEST, format!("the body is not what is expected: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_condition_names_versions() {
        let check = |fields: &[&'static str], expected: Option<&[&str]>| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::IF_MATCH, HeaderValue::from_static(field));
            }
            let condition = Condition::of(&headers).ok();
            let digests = condition.as_ref().map(|condition| condition.digests().to_vec());
            assert_eq!(
                digests.as_deref(),
                expected.map(|tags| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>()).as_deref(),
                "{fields:?}"
            );
        };
        check(&[], None);
        check(&[""], None);
        check(&["*"], None);
        check(&["\"a\", *"], None);
        check(&["\"a\""], Some(&["a"]));
        check(&["W/\"a\""], Some(&["a"]));
        check(&["\"a\", W/\"b\"", "\"c\""], Some(&["a", "b", "c"]));
        check(&["a"], Some(&[]));
        check(&["\"a"], Some(&[]));
    }

    #[test]
    fn only_json_is_json() {
        let check = |fields: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(field));
            }
            assert_eq!(check_content_type(&headers).is_ok(), expected, "{fields:?}");
        };
        check(&["application/json"], true);
        check(&["Application/JSON; charset=utf-8"], true);
        check(&[], false);
        check(&["text/plain"], false);
        check(&["application/json-seq"], false);
        check(&["text/plain; application/json"], false);
        check(&["application/x-www-form-urlencoded"], false);
        check(&["application/json", "text/plain"], false);
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(parameter(Some("a=1&shop=go%6cd&shop=x"), "shop").as_deref(), Some("gold"));
        assert_eq!(parameter(Some("shop"), "shop"), None);
        assert_eq!(parameter(None, "shop"), None);
    }
}
