//! The page and its files, which are part of the binary.
//!
//! SECURITY: nothing here is data, so all of it is open. The policy lets the page run and show only what this table
//! has, ask nobody but this port, and make no markup of text.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::problem::ApiProblem;
use crate::body::{self, Body};
use crate::digest::Digest;
use crate::proxy::respond;

/// What browsers let the page do. The hash is that of the one script inside `index.html`.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(concat!(
    "default-src 'none'; script-src 'self' 'sha256-",
    "ZOPpmzlE/oXd9q31z1nk6yQt8zJ7ZHTU/i2hFR/0RHw=",
    "'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'none'; base-uri 'none'; ",
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
));
/// A new version of the proxy has a new page, and its files belong together: browsers ask each time.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
#[derive(Debug)]
pub(super) struct PageFile {
    path: &'static str,
    media_type: &'static str,
    text: &'static str,
}

/// Declares files of `page/` that are served under `/assets/`.
macro_rules! assets {
    ($($media_type:ident: $($name:literal),+;)+) => {
        [$($(PageFile {
            path: concat!("/assets/", $name),
            media_type: $media_type,
            text: include_str!(concat!("page/", $name)),
        }),+),+]
    };
}

const INDEX: PageFile = PageFile { path: "/", media_type: HTML, text: include_str!("page/index.html") };

const ASSETS: &[PageFile] = &assets![
    CSS: "page.css", "views.css";
    SVG: "icon.svg";
    JAVASCRIPT: "api.js", "app.js", "catalog.js", "commands.js", "dom.js", "health.js",
        "history.js", "message.js", "news.js", "package.js", "review.js", "servers.js",
        "signin.js", "store.js", "storefront.js", "table.js", "tray.js";
];

/// Tags of all files, in the order of [`files`].
static ETAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| files().map(|file| format!("\"{}\"", Digest::of(file.text.as_bytes()))).collect());

fn files() -> impl Iterator<Item = &'static PageFile> {
    [&INDEX].into_iter().chain(ASSETS)
}

/// A file of the page that was asked for, by its place among [`files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageCall(usize);

impl PageCall {
    /// Reads a request's method and path. Returns `None` if the path does not belong to the page.
    ///
    /// # Errors
    /// If there is no such file, or the method would change it.
    pub(super) fn of(method: &Method, path: &str) -> Option<Result<Self, ApiProblem>> {
        if path != INDEX.path && !path.starts_with("/assets/") {
            return None;
        }
        let Some(at) = files().position(|file| file.path == path) else {
            return Some(Err(ApiProblem::new(StatusCode::NOT_FOUND, "the page has no such file")));
        };
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        Some(if is_read { Ok(Self(at)) } else { Err(ApiProblem::method_not_allowed("GET, HEAD")) })
    }

    /// Answers with the file, or that the browser has it.
    pub(super) fn answer(self, headers: &HeaderMap) -> Response<Body> {
        let (Some(file), etag) = (files().nth(self.0), &ETAGS[self.0]) else {
            unreachable!("a place among files")
        };
        let mut response = respond::plain(StatusCode::OK, file.media_type, file.text);
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        // A proxy that compresses on its way makes a tag weak.
        let mut tags =
            known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        if tags.any(|tag| tag == etag || tag == "*") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = body::empty();
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, REVALIDATE);
        headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        if let Ok(etag) = HeaderValue::from_str(etag) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use ring::digest::{SHA256, digest};

    use super::*;

    /// Most bytes of all files together.
    const MAX_PAGE_BYTES: usize = 80_000;

    #[test]
    fn the_page_is_small() {
        let bytes: usize = files().map(|file| file.text.len()).sum();
        assert!(bytes <= MAX_PAGE_BYTES, "the page has {bytes} bytes");
    }

    #[test]
    fn every_file_is_served() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
        let names =
            fs::read_dir(directory).expect("the page").map(|entry| entry.expect("a file").file_name());
        for name in names {
            let name = name.to_str().expect("a name");
            let path = if name == "index.html" { "/".to_owned() } else { format!("/assets/{name}") };
            assert!(files().any(|file| file.path == path), "{name} is not served");
        }
    }

    #[test]
    fn paths_and_methods() {
        let check = |method: Method, path: &str, expected: Option<Result<usize, u16>>| {
            let call = PageCall::of(&method, path);
            let call =
                call.map(|call| call.map(|PageCall(at)| at).map_err(|problem| problem.status.as_u16()));
            assert_eq!(call, expected, "{method} {path}");
        };
        check(Method::GET, "/", Some(Ok(0)));
        check(Method::HEAD, "/assets/page.css", Some(Ok(1)));
        for path in [
            "/assets/",
            "/assets/../index.html",
            "/assets/page.css/",
            "/assets/PAGE.CSS",
            "/assets/index.html",
        ] {
            check(Method::GET, path, Some(Err(404)));
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            check(method.clone(), "/", Some(Err(405)));
            check(method, "/assets/page.css", Some(Err(405)));
        }
        for path in ["/assets", "/index.html", "", "/api/v1/shops", "/favicon.ico"] {
            check(Method::GET, path, None);
        }
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let check = |known: Option<String>, expected: StatusCode| {
            let mut headers = HeaderMap::new();
            if let Some(known) = &known {
                headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(known).expect("a value"));
            }
            let response = PageCall(1).answer(&headers);
            assert_eq!(response.status(), expected, "{known:?}");
            assert_eq!(response.headers()[header::ETAG], ETAGS[1]);
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
            assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        };
        let (own, other) = (&ETAGS[1], &ETAGS[0]);
        check(None, StatusCode::OK);
        check(Some(other.clone()), StatusCode::OK);
        check(Some(own.clone()), StatusCode::NOT_MODIFIED);
        check(Some(format!("{other}, W/{own}")), StatusCode::NOT_MODIFIED);
        check(Some("*".to_owned()), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn the_policy_has_the_script_of_the_page_and_no_other() {
        let scripts: Vec<&str> = INDEX.text.split("<script>").skip(1).collect();
        let [script] = scripts[..] else { panic!("one script in the page") };
        let script = script.split("</script>").next().expect("its end");
        let hash = base64(digest(&SHA256, script.as_bytes()).as_ref());
        let policy = PAGE_POLICY;
        let policy = policy.to_str().expect("text");
        assert!(policy.contains(&format!("'sha256-{hash}'")), "the script's hash is {hash}");
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn nothing_in_the_page_makes_markup_of_text_or_asks_others() {
        for file in files() {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "eval(",
                "new Function",
                "localStorage",
                "document.cookie",
                "style=",
                "onclick=",
                "onload=",
                "src=\"/",
                "href=\"/",
                "console.",
            ] {
                assert!(!file.text.contains(word), "{} has {word}", file.path);
            }
            let others = file
                .text
                .split("http")
                .skip(1)
                .filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
            for rest in others {
                assert!(rest.starts_with("://www.w3.org/"), "{} names http{rest:.40}", file.path);
            }
        }
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |group: &[u8]| {
            let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
            (0..4)
                .map(|at| match at <= group.len() {
                    true => char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]),
                    false => '=',
                })
                .collect::<String>()
        };
        bytes.chunks(3).map(group).collect()
    }
}
