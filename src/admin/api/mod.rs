//! The API: shops, packages, news and edits as JSON, and changes of whitelists.

mod catalog;
mod change;
mod read;
mod request;
mod undo;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::AdminParts;
use super::identity::{Gate, Needs};
use super::problem::ApiProblem;
use crate::body::Body;
use crate::cache::fetch_error::FetchError;
use crate::certificate::Certificate;
use crate::edit_log::{EditLog, EditLogError};
use crate::printable::escaped_json;
use crate::proxy::{Proxy, respond};
use crate::report::FORMAT;
use crate::shops::{LoadedList, Shop};
use catalog::LastCatalog;
use request::parameter;

/// Most versions of lists that are remembered, to say what changed since one of them.
const MAX_REMEMBERED_LISTS: usize = 64;

/// Most previews that are made at once.
const MAX_PREVIEWS: usize = 2;

/// What is asked of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiCall {
    Shops,
    Packages,
    Categories,
    News,
    Status,
    Servers,
    Edits,
    Preview,
    Edit,
    /// Takes back the edit with this id.
    Undo(String),
}

/// Where the API begins.
const PREFIX: &str = "/api/v1/";

impl ApiCall {
    /// Reads a request's method and path.
    ///
    /// # Errors
    /// If there is no such call.
    pub(super) fn of(method: &Method, path: &str) -> Result<Self, ApiProblem> {
        let name = path.strip_prefix(PREFIX).unwrap_or_default();
        let undone = name.strip_prefix("edits/").and_then(|rest| rest.strip_suffix("/undo"));
        let undone = undone.filter(|id| !id.is_empty() && !id.contains('/'));
        let (read, change) = match (name, undone) {
            (_, Some(id)) => (None, Some(Self::Undo(id.to_owned()))),
            ("shops", _) => (Some(Self::Shops), None),
            ("packages", _) => (Some(Self::Packages), None),
            ("categories", _) => (Some(Self::Categories), None),
            ("news", _) => (Some(Self::News), None),
            ("status", _) => (Some(Self::Status), None),
            ("servers", _) => (Some(Self::Servers), None),
            ("edits", _) => (Some(Self::Edits), Some(Self::Edit)),
            ("preview", _) => (None, Some(Self::Preview)),
            _ => {
                return Err(ApiProblem::new(
                    StatusCode::NOT_FOUND,
                    "here are /livez, /readyz, /metrics and /api/v1/",
                ));
            }
        };
        let allow = match (&read, &change) {
            (Some(_), Some(_)) => "GET, HEAD, POST",
            (Some(_), None) => "GET, HEAD",
            _ => "POST",
        };
        let call = match *method {
            Method::GET | Method::HEAD => read,
            Method::POST => change,
            _ => None,
        };
        call.ok_or_else(|| ApiProblem::method_not_allowed(allow))
    }

    pub(super) fn is_post(&self) -> bool {
        matches!(self, Self::Preview | Self::Edit | Self::Undo(_))
    }
}

/// The API of one proxy.
#[derive(Debug)]
pub(super) struct Api {
    proxy: Proxy,
    certificate: Option<Arc<Certificate>>,
    gate: Gate,
    edit_log: Arc<EditLog>,
    catalog: LastCatalog,
    /// Held while a list is changed, until that is in force: each edit sees the one before.
    changing: tokio::sync::Mutex<()>,
    /// Limits the previews that are made at once: anybody who may read may ask for one.
    previews: tokio::sync::Semaphore,
    /// Lists whose digests were given out or asked for, the newest last.
    remembered: Mutex<VecDeque<Arc<LoadedList>>>,
    exposure: Option<&'static str>,
}

impl Api {
    pub(super) fn new(parts: AdminParts) -> Self {
        Self {
            proxy: parts.proxy,
            certificate: parts.certificate,
            gate: Gate::new(&parts.access, parts.tokens),
            edit_log: parts.edit_log,
            catalog: LastCatalog::default(),
            changing: tokio::sync::Mutex::default(),
            previews: tokio::sync::Semaphore::new(MAX_PREVIEWS),
            remembered: Mutex::default(),
            exposure: parts.exposure,
        }
    }

    /// Answers a call of `peer`.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) async fn answer(
        &self,
        call: ApiCall,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response<Body>, ApiProblem> {
        let needs = match call {
            ApiCall::Servers | ApiCall::Edits => Needs::Token,
            _ => Needs::Reading,
        };
        if !matches!(call, ApiCall::Edit | ApiCall::Undo(_)) {
            self.gate.admit_reader(needs, peer, request.headers()).await?;
        }
        let query = request.uri().query();
        match call {
            ApiCall::Shops => self.shops().await,
            ApiCall::Packages => self.packages(&*self.shop(query)?).await,
            ApiCall::Categories => self.categories(&*self.shop(query)?).await,
            ApiCall::News => self.news(query).await,
            ApiCall::Status => self.status(peer, request.headers()).await,
            ApiCall::Servers => self.servers(query),
            ApiCall::Edits => self.edits(query).await,
            ApiCall::Preview => self.preview(request).await,
            ApiCall::Edit => self.edit(request, peer).await,
            ApiCall::Undo(id) => self.undo(&id, request, peer).await,
        }
    }

    /// Returns the shop that a query names, else the one at `/`.
    fn shop(&self, query: Option<&str>) -> Result<Arc<Shop>, ApiProblem> {
        self.shop_named(parameter(query, "shop").as_deref())
    }

    /// Returns a shop by its name, or the one at `/`.
    fn shop_named(&self, name: Option<&str>) -> Result<Arc<Shop>, ApiProblem> {
        let shops = self.proxy.shops.current();
        let found = match name {
            Some(name) => shops.get(name),
            None => shops.default_shop(),
        };
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = shops.all().map(|shop| shop.name.to_string()).collect();
            let detail = match name {
                Some(_) => "there is no such shop",
                None => "there is no shop at /, so name one as shop",
            };
            ApiProblem::new(StatusCode::NOT_FOUND, detail).with("shops", names)
        })
    }

    /// Returns a list that was in force, by its digest.
    fn remembered(&self, digests: &[String]) -> Option<Arc<LoadedList>> {
        let remembered = self.remembered.lock();
        remembered.iter().rev().find(|list| digests.contains(&list.digest.to_string())).cloned()
    }

    /// Remembers the list of a shop.
    fn remember(&self, shop: &Shop) {
        let Some(list) = shop.shared_list() else { return };
        let mut remembered = self.remembered.lock();
        remembered.retain(|other| !Arc::ptr_eq(other, &list));
        if remembered.len() == MAX_REMEMBERED_LISTS {
            remembered.pop_front();
        }
        remembered.push_back(list);
    }
}

/// Returns the list in force of a shop.
fn list(shop: &Shop) -> Result<&LoadedList, ApiProblem> {
    shop.list()
        .ok_or_else(|| file_problem(&shop.last_error.as_ref().map_or_else(String::new, ToString::to_string)))
}

/// The problem of a list whose file cannot be used.
fn file_problem(detail: &str) -> ApiProblem {
    ApiProblem::new(StatusCode::CONFLICT, detail)
}

/// The problem of a catalog that cannot be had.
fn no_catalog(error: &FetchError) -> ApiProblem {
    ApiProblem::new(StatusCode::SERVICE_UNAVAILABLE, format!("there is no catalog yet: {error}"))
}

/// The problem of an edit log that cannot be read or written.
fn no_log(error: &EditLogError) -> ApiProblem {
    ApiProblem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

/// Members of an answer, by name.
type Member = (&'static str, Box<RawValue>);

/// Makes a response of members behind `format`.
fn json(members: impl IntoIterator<Item = Member>) -> Response<Body> {
    let mut text = format!("{{\"format\":{FORMAT}");
    for (name, value) in members {
        text.extend([",\"", name, "\":", value.get()]);
    }
    text += "}\n";
    respond::plain(StatusCode::OK, "application/json", escaped_json(&text))
}

/// Writes a value as JSON.
fn raw(value: impl Serialize) -> Box<RawValue> {
    // Strings, numbers and closed enums always have a form in JSON.
    to_raw_value(&value).unwrap_or_default()
}

/// Names the version of a list in a response.
fn with_etag(mut response: Response<Body>, digest: &str) -> Response<Body> {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{digest}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_one_spelling_and_one_method() {
        let check = |method: Method, path: &str, expected: Result<ApiCall, u16>| {
            let call = ApiCall::of(&method, path).map_err(|problem| problem.status.as_u16());
            assert_eq!(call, expected, "{method} {path}");
        };
        check(Method::GET, "/api/v1/packages", Ok(ApiCall::Packages));
        check(Method::HEAD, "/api/v1/edits", Ok(ApiCall::Edits));
        check(Method::POST, "/api/v1/edits", Ok(ApiCall::Edit));
        check(Method::POST, "/api/v1/edits/a1/undo", Ok(ApiCall::Undo("a1".to_owned())));
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            check(method.clone(), "/api/v1/edits/a1/undo", Err(405));
            check(method, "/api/v1/preview", Err(405));
        }
        check(Method::POST, "/api/v1/packages", Err(405));
        check(Method::PUT, "/api/v1/edits", Err(405));
        for path in
            ["/api/v1", "/api/v1/", "/api/v1/x", "/api/v1/packages/", "/API/v1/packages", "/api/v2/packages"]
        {
            check(Method::GET, path, Err(404));
        }
        for path in
            ["/api/v1/edits/undo", "/api/v1/edits//undo", "/api/v1/edits/a/b/undo", "/api/v1/edits/a/undo/"]
        {
            check(Method::POST, path, Err(404));
        }
    }
}
