//! Calls that read.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Response, StatusCode};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde_json::json;

use super::super::problem::ApiProblem;
use super::super::tokens::Role;
use super::request::parameter;
use super::{Api, catalog, json, list, no_catalog, no_log, raw, with_etag};
use crate::blocking;
use crate::body::Body;
use crate::edit_log::{EditLog, EditRecord};
use crate::feed::listing;
use crate::policy::{ViewKind, ViewRules};
use crate::proxy::probes;
use crate::report::{PackageRow, shop_rows};
use crate::servers::ServersReport;
use crate::shops::Shop;
use crate::version::{REVISION, VERSION};
use crate::wall_clock;

/// Most keys of feeds that a status lists.
const MAX_LISTED_FEEDS: usize = 100;

impl Api {
    /// Answers with all shops, and how many packages of the newest catalog at hand each shows.
    pub(super) async fn shops(&self) -> Result<Response<Body>, ApiProblem> {
        // Shops are there without a catalog too.
        let catalog = self.catalog.at_hand(&self.proxy.cache).await;
        let shops = self.proxy.shops.current();
        let rows = shop_rows(&shops, catalog.as_ref().map(|catalog| &*catalog.packages));
        Ok(json([("shops", raw(rows))]))
    }

    /// Answers with all packages of the catalog and their states in a shop.
    pub(super) async fn packages(&self, shop: &Shop) -> Result<Response<Body>, ApiProblem> {
        let list = list(shop)?;
        let catalog = self.catalog.get(&self.proxy.cache).await.map_err(|error| no_catalog(&error))?;
        let (rules, digest) = (list.rules(), list.digest.to_string());
        self.remember(shop);
        let name = shop.name.to_string();
        let (key, named) = (catalog.key.to_string(), digest.clone());
        let rendered = blocking::run(move || {
            let rows = catalog.packages.iter().map(|listed| PackageRow::of(listed, &name, &rules));
            let rows = raw(rows.collect::<Vec<_>>());
            json([("packages", rows), ("shop", raw(&name)), ("feed", raw(key)), ("digest", raw(named))])
        });
        let response = rendered.await.map_err(|_| ApiProblem::interrupted())?;
        Ok(with_etag(response, &digest))
    }

    /// Answers with the categories as a shop's customers see them.
    pub(super) async fn categories(&self, shop: &Shop) -> Result<Response<Body>, ApiProblem> {
        let rules = list(shop)?.rules();
        let cache = &self.proxy.cache;
        let (key, feed, packages) = catalog::categories(cache).await.map_err(|error| no_catalog(&error))?;
        let rules = ViewRules { rules, kind: ViewKind::Shop };
        let view = cache.view(&feed, Some(&packages), &rules).await.map_err(|error| no_catalog(&error))?;
        let name = shop.name.to_string();
        let rendered = blocking::run(move || {
            let categories = listing::categories(&view.body);
            json([("categories", raw(categories)), ("shop", raw(name)), ("feed", raw(key.as_str()))])
        });
        rendered.await.map_err(|_| ApiProblem::interrupted())
    }

    /// Answers with the changes of the catalog.
    pub(super) async fn news(&self, query: Option<&str>) -> Result<Response<Body>, ApiProblem> {
        let start = since(query)?;
        let cache = self.proxy.cache.clone();
        let read = blocking::run(move || {
            let mut changes = cache.news();
            changes.retain(|change| is_after(&change.at, start));
            json([("news", raw(changes))])
        });
        read.await.map_err(|_| ApiProblem::interrupted())
    }

    /// Answers with the edits of all shops, or of one.
    pub(super) async fn edits(&self, query: Option<&str>) -> Result<Response<Body>, ApiProblem> {
        let (start, shop) = (since(query)?, parameter(query, "shop"));
        let log = Arc::clone(&self.edit_log);
        let read = blocking::run(move || {
            let mut edits = log.records().map_err(|error| no_log(&error))?;
            edits.retain(|edit| {
                is_after(&edit.at, start) && shop.as_ref().is_none_or(|shop| *shop == edit.shop)
            });
            let rows: Vec<_> = edits.iter().map(EditRecord::row).collect();
            Ok(json([("edits", raw(rows)), ("kept", raw(kept(&log)))]))
        });
        read.await.map_err(|_| ApiProblem::interrupted())?
    }

    /// Answers with the servers that asked, and whether they have the list in force.
    pub(super) fn servers(&self, query: Option<&str>) -> Result<Response<Body>, ApiProblem> {
        let shop = parameter(query, "shop");
        if let Some(name) = &shop {
            self.shop_named(Some(name))?;
        }
        let ServersReport { servers, counts, since, .. } = self.proxy.servers.report(shop.as_deref());
        Ok(json([("servers", raw(servers)), ("counts", raw(counts)), ("since", raw(since))]))
    }

    /// Answers with what the page says about itself, the shops' files and the feeds.
    pub(super) async fn status(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, ApiProblem> {
        let person = self.gate.person(peer, headers).await?;
        let locked = self.gate.locked();
        let shops = self.proxy.shops.current();
        let files: Vec<_> = shops.all().map(|shop| shop.path.clone()).collect();
        let writable = blocking::run(move || files.iter().map(|path| read_only(path)).collect::<Vec<_>>());
        let writable = writable.await.map_err(|_| ApiProblem::interrupted())?;
        let states = shops.all().zip(writable).map(|(shop, read_only)| {
            let mut state = probes::state_of(shop);
            state["read_only"] = read_only.into();
            state["digest"] = shop.list().map(|list| list.digest.to_string()).into();
            state
        });
        let default = shops.default_shop().and_then(|shop| shop.rules());
        let mut feeds = self.proxy.cache.states(default.as_deref());
        feeds.truncate(MAX_LISTED_FEEDS);
        let not_after = self.certificate.as_ref().and_then(|certificate| certificate.state().not_after);
        let origin = self.proxy.upstream.origin();
        let status = json!({
            "version": VERSION,
            "revision": REVISION,
            "upstream": format!("{}://{}", origin.scheme, origin.authority),
            "editing": locked.is_none(),
            "locked": locked,
            "reading_needs_token": self.gate.is_reading_restricted(),
            "warning": self.exposure.filter(|_| locked.is_none()),
            "person": person.map(|person| json!({
                "name": person.name,
                "role": person.role.map(|role| if role == Role::Editor { "editor" } else { "viewer" }),
            })),
            "edits_kept": kept(&self.edit_log),
            "shops": states.collect::<Vec<_>>(),
            "disputed_hosts": shops.disputes().map(|(host, _)| host).collect::<Vec<_>>(),
            "feeds": feeds,
            "cache_directory": self.proxy.cache.disk_status().map(|status| status.to_string()),
            "certificate_expires": not_after.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
        });
        Ok(json([("status", raw(status))]))
    }
}

/// Returns why a list's file can never be written, if it cannot.
pub(super) fn read_only(path: &Path) -> Option<&'static str> {
    let effective = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
    if !path.exists() {
        return None;
    }
    let directory = path.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()));
    let is_replaceable = directory.is_some_and(|directory| effective(&directory).is_ok());
    // Either way of writing will do: a new file renamed over it, or in place.
    (!is_replaceable && effective(path).is_err())
        .then_some("the file is read-only for the proxy: its list is kept elsewhere")
}

/// Says where edits are kept.
fn kept(log: &EditLog) -> &'static str {
    if log.is_on_disk() { "disk" } else { "memory" }
}

/// Reads the parameter `since`, a duration such as `7d`, as the time that long ago.
fn since(query: Option<&str>) -> Result<Option<SystemTime>, ApiProblem> {
    let Some(text) = parameter(query, "since") else { return Ok(None) };
    let duration: Duration = humantime::parse_duration(&text)
        .map_err(|_| ApiProblem::new(StatusCode::BAD_REQUEST, "since: expected a duration such as 7d"))?;
    Ok(wall_clock::now().checked_sub(duration))
}

fn is_after(at: &str, start: Option<SystemTime>) -> bool {
    start.is_none_or(|start| humantime::parse_rfc3339(at).is_ok_and(|at| at >= start))
}
