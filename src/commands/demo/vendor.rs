//! The vendor's server of the demo, with a sample catalog.

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::body::{self, Body};

const PACKAGES: &[u8] = include_bytes!("../../../assets/sample/packages.json");
const CATEGORIES: &[u8] = include_bytes!("../../../assets/sample/categories.json");
const ICON: &[u8] = include_bytes!("../../../assets/sample/icon.svg");
const DOWNLOAD: &[u8] = include_bytes!("../../../assets/sample/download.zip");

/// Responds like the vendor's server.
pub(super) fn vendor(request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let (content_type, content): (_, &'static [u8]) = match path.split('/').collect::<Vec<_>>()[..] {
        ["", "api", _, "packages"] => ("application/json", PACKAGES),
        ["", "api", _, "categories"] => ("application/json", CATEGORIES),
        ["", "icons", _] => ("image/svg+xml", ICON),
        ["", "downloads", _] => ("application/zip", DOWNLOAD),
        _ => {
            let mut response = Response::new(body::full("<!doctype html><title>Not found</title>\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            return response;
        }
    };
    let mut response = Response::new(body::full(content));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
