//! `servers`: asks a running proxy which Plesk servers have the list in force.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::timeout;

use super::CommandError;
use super::catalog_source::block_on;
use super::healthcheck::reachable;
use super::table::{Column, TextTable};
use super::terminal::{Style, Terminal, print};
use crate::body;
use crate::cli::{ServersArguments, Settings, TOKEN, TableFormat, tidy};
use crate::config::{Admin, Config, Origin};
use crate::given::{Given, Source};
use crate::printable::escaped_json;
use crate::printable::printable;
use crate::report::FORMAT;
use crate::servers::{ServerCounts, ServerRow, ServerState, ServersReport};
use crate::shops::ShopName;
use crate::stderr;
use crate::upstream::outbound::Outbound;
use crate::upstream::{USER_AGENT, Upstream, UpstreamFailure};

/// Path of the answer below the admin port's URL.
const SERVERS_PATH: &str = "/api/v1/servers";
/// Longest wait for the whole answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer, in bytes: 65,536 servers take some 10 MB.
const MAX_REPORT: usize = 64 << 20;

/// Prints the servers.
///
/// # Errors
/// If the proxy cannot be asked, or does not answer as expected.
pub(crate) fn servers(arguments: ServersArguments) -> Result<(), CommandError> {
    let ServersArguments { shop, behind, format, admin_url, admin_listen, admin_ca, config, variables } =
        arguments;
    let config = Config::load(Settings { config, admin_listen, variables, ..Settings::default() })?;
    let shop = shop.map(|shop| check_shop(&shop).map(|()| shop)).transpose()?;
    let at = match admin_url {
        Some(url) => AdminUrl::parse(&url)?,
        None => AdminUrl::of(*config.admin)?,
    };
    let outbound = Outbound::new(&at.origin, &config.outbound)?;
    let roots = admin_ca.map(|path| Given { value: path, source: Source::Flag("--admin-ca") });
    let client = Upstream::new(at.origin.clone(), roots.as_ref(), outbound)?;
    let token = tidy(TOKEN).map(|token| bearer(token.as_encoded_bytes())).transpose()?;
    if token.is_some() && at.is_readable_by_others() {
        stderr::message(format_args!("{at}: without https, the token can be read on the way"));
    }
    let mut report = block_on(async {
        match timeout(TIMEOUT, ask(&client, &at, shop.as_deref(), token)).await {
            Ok(asked) => asked,
            Err(_) => Err(format!("no complete answer within {} s", TIMEOUT.as_secs())),
        }
    })?
    .map_err(|error| CommandError::failed(error).about(at.to_string()))?;
    if behind {
        report.servers.retain(|row| row.state == ServerState::Behind);
    }
    match format {
        TableFormat::Json => {
            let json = serde_json::to_string_pretty(&report).map_err(CommandError::failed)?;
            print(&(escaped_json(&json) + "\n"))
        }
        TableFormat::Table => print(&text(&report, Terminal::stdout())),
    }
}

fn check_shop(name: &str) -> Result<(), CommandError> {
    let parsed = if name == ShopName::DEFAULT { Ok(()) } else { ShopName::parse(name).map(drop) };
    parsed.map_err(|error| CommandError::wrong(format_args!("--shop {:?}: {error}", name)))
}

/// Returns the field with a token.
fn bearer(token: &[u8]) -> Result<HeaderValue, CommandError> {
    let is_plain = token.iter().all(u8::is_ascii_graphic);
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .ok()
        .filter(|_| is_plain)
        // SECURITY: it may be a good token with a slip, so it is not repeated.
        .ok_or_else(|| CommandError::wrong(format_args!("{TOKEN} holds no token")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Where an admin port is.
#[derive(Debug)]
struct AdminUrl {
    origin: Origin,
    /// Path of the page without the slash at its end, for ports behind a reverse proxy.
    base: String,
}

impl AdminUrl {
    fn parse(url: &str) -> Result<Self, CommandError> {
        let wrong = |what: String| CommandError::wrong(format_args!("--admin-url: {what}"));
        let uri = url.parse::<Uri>().map_err(|_| wrong(format!("{url:?} is not a URL")))?;
        if uri.query().is_some() {
            return Err(wrong("a query has no meaning here".to_owned()));
        }
        let parts = uri.into_parts();
        let base =
            parts.path_and_query.map_or(String::new(), |path| path.path().trim_end_matches('/').to_owned());
        let origin = match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => url.to_owned(),
        };
        Ok(Self { origin: origin.parse().map_err(wrong)?, base })
    }

    /// Returns the URL of this machine's admin port.
    fn of(admin: Admin) -> Result<Self, CommandError> {
        match admin {
            Admin::Required(address) | Admin::IfFree(address) => {
                Self::parse(&format!("http://{}", reachable(address)))
            }
            Admin::Off => Err(CommandError::wrong(
                "the configuration says that there is no admin port; --admin-url names that of another proxy",
            )),
        }
    }

    /// Returns true if what is sent there crosses a network in the clear.
    fn is_readable_by_others(&self) -> bool {
        let host = self.origin.authority.host().trim_matches(['[', ']']);
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.origin.scheme == Scheme::HTTP && !is_here
    }
}

impl std::fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.origin.scheme, self.origin.authority, self.base)
    }
}

/// Asks for the servers, of one shop if it is named.
async fn ask(
    client: &Upstream,
    at: &AdminUrl,
    shop: Option<&str>,
    token: Option<HeaderValue>,
) -> Result<ServersReport, String> {
    // A shop's name needs no escapes.
    let query = shop.map(|shop| format!("?shop={shop}")).unwrap_or_default();
    let target: PathAndQuery =
        format!("{}{SERVERS_PATH}{query}", at.base).parse().map_err(|_| "no URL".to_owned())?;
    let mut request = Request::get("/").header(header::USER_AGENT, USER_AGENT).body(body::empty());
    let has_token = token.is_some();
    if let (Ok(request), Some(token)) = (&mut request, token) {
        request.headers_mut().insert(header::AUTHORIZATION, token);
    }
    let request = request.map_err(|error| error.to_string())?;
    let response = client.send(target, request).await.map_err(|error| match error.failure {
        UpstreamFailure::Refused => {
            "nothing listens there: is the proxy running, and is this its admin port?".to_owned()
        }
        _ => format!("cannot be asked: {}", printable(&error.chain)),
    })?;
    let status = response.status();
    let body = read(response).await?;
    if status != StatusCode::OK {
        return Err(refusal(status, &body, shop, has_token));
    }
    let format = serde_json::from_slice::<AnswerFormat>(&body).map(|answer| answer.format);
    match (format, serde_json::from_slice(&body)) {
        (Ok(FORMAT), Ok(report)) => Ok(report),
        (Ok(format), _) if format != FORMAT => {
            Err(format!("answers in format {format}, and this program reads format {FORMAT}"))
        }
        _ => Err("the answer is none about servers: is this the proxy's admin port?".to_owned()),
    }
}

/// The member that every answer has, whatever its version.
#[derive(Deserialize)]
struct AnswerFormat {
    format: u32,
}

/// The member of a problem (RFC 9457) that people read.
#[derive(Deserialize)]
struct ProblemDetail {
    detail: String,
}

async fn read(response: Response<Incoming>) -> Result<Vec<u8>, String> {
    let body = Limited::new(response.into_body(), MAX_REPORT).collect().await;
    body.map(|body| body.to_bytes().into())
        .map_err(|error| format!("the answer broke off: {}", printable(&error.to_string())))
}

/// Says what an answer that is no list of servers means, and what to do.
fn refusal(status: StatusCode, body: &[u8], shop: Option<&str>, has_token: bool) -> String {
    let problem = serde_json::from_slice::<ProblemDetail>(body).ok();
    let detail = problem.map(|problem| format!(": {}", printable(&problem.detail))).unwrap_or_default();
    match status {
        StatusCode::UNAUTHORIZED if has_token => {
            format!("does not know the token in {TOKEN} (401)")
        }
        StatusCode::UNAUTHORIZED => {
            format!("wants a token (401): put yours into the variable {TOKEN}")
        }
        StatusCode::FORBIDDEN => format!("this is not allowed (403){detail}"),
        // The port itself says what is missing.
        StatusCode::NOT_FOUND => match shop {
            Some(shop) if !detail.is_empty() => format!("{shop}{detail} (404)"),
            _ => format!(
                "has no {SERVERS_PATH} (404): is this the admin port of a catalog-proxy, and as new as this program?"
            ),
        },
        status => format!("answers {status}{detail}"),
    }
}

/// Writes the servers for people: a row for each, and a line for each shop.
fn text(report: &ServersReport, terminal: Terminal) -> String {
    let mut table = TextTable::new([
        Column::fixed("SHOP"),
        Column::wrapped("ADDRESS"),
        Column::fixed("STATE"),
        Column::fixed("LAST SEEN"),
        Column::fixed("BEHIND SINCE"),
    ]);
    for ServerRow { address, shop, state, last_seen, behind_since } in &report.servers {
        let (state, style) = match state {
            ServerState::Current => ("current", Style::Plain),
            ServerState::Behind => ("behind", Style::Yellow),
        };
        table.row([
            (shop.as_str(), Style::Plain),
            (&address.to_string(), Style::Bold),
            (state, style),
            (last_seen, Style::Dim),
            (behind_since.as_deref().unwrap_or_default(), Style::Dim),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render(terminal) + "\n" };
    for ServerCounts { shop, current, behind, changed_at } in &report.counts {
        let (shop, changed_at) = (printable(shop), printable(changed_at));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{shop}: {current} current, {behind} behind; last changed {changed_at}");
    }
    let _ = writeln!(text, "counting since {}", printable(&report.since));
    text
}

#[cfg(test)]
mod tests;
