//! Takes an edit back, if the list still has what it did.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::super::problem::Problem;
use super::change::Planned;
use super::request::{self, Condition, WantedUndo, trimmed};
use super::{Api, no_catalog};
use crate::blocking;
use crate::body::Body;
use crate::edit_log::{EditRecord, EditedCodes};
use crate::line_patch::take_back;
use crate::policy::{HostsKey, Policy, Verdict, WhitelistEntry};
use crate::shops::Shop;

impl Api {
    /// Takes an edit back, and answers when that is in force.
    pub(super) async fn undo(
        &self,
        id: &str,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response<Body>, Problem> {
        let person = self.gate.admit_editor(peer, request.headers()).await?;
        request::check_content_type(request.headers())?;
        let (head, body) = request.into_parts();
        let condition = Condition::of(&head.headers)?;
        let wanted: WantedUndo = request::read(body).await?;
        let (log, wanted_id) = (Arc::clone(&self.edit_log), id.to_owned());
        let found = blocking::run(move || log.find(&wanted_id)).await.map_err(|_| Problem::interrupted())?;
        let edit = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "the edit log has no such edit"))?;
        if edit.lines.is_empty() {
            return Err(too_late("an edit of the file itself is taken back in the file"));
        }
        let shop = self.shop_named(Some(&edit.shop))?;
        let note = trimmed(wanted.note.as_deref());
        let target = self.target(shop, &person, (peer, &head.headers), condition, note);
        let catalog = self.catalog.get(&self.proxy.cache).await.map_err(|error| no_catalog(&error))?;
        self.make(target, catalog, move |shop, text| plan(shop, text, &edit)).await
    }
}

fn too_late(detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, detail)
}

/// Makes the text as it would be without an edit.
fn plan(shop: &Shop, text: &str, edit: &EditRecord) -> Result<Planned, Problem> {
    let no_more = || too_late("the list was changed there since, so this edit cannot be taken back as a whole");
    let hosts_key = if shop.name.is_default() { HostsKey::Refused } else { HostsKey::Allowed };
    let parse = |text: &str| Policy::parse(text.as_bytes(), hosts_key).ok().map(|(policy, _)| policy);
    let now = parse(text).ok_or_else(no_more)?;
    if !still_holds(now.entries(), &edit.codes) {
        return Err(no_more());
    }
    let taken_back = take_back(text, &edit.lines).ok_or_else(no_more)?;
    // An edit of a file that was no list yet ends in one that is none: a file without `extensions`.
    let before = parse(&taken_back).ok_or_else(no_more)?;
    let codes = EditedCodes::between(Some(&now), &before);
    let is_of_edit = |code: &str| edit.codes.all().any(|edited| edited == code);
    if codes.all().next().is_none() || !codes.all().all(is_of_edit) {
        return Err(no_more());
    }
    Ok(Planned { text: taken_back, codes, undoes: Some(edit.id.clone()), warnings: Vec::new() })
}

/// Returns true if the entries of all codes are where an edit put them.
fn still_holds(entries: &[WhitelistEntry], codes: &EditedCodes) -> bool {
    let verdicts = |code: &str| -> Vec<Verdict> {
        entries.iter().filter(|entry| entry.pattern.is_written(code)).map(|entry| entry.verdict).collect()
    };
    let is_only = |codes: &[String], wanted: Verdict| {
        codes.iter().all(|code| {
            let verdicts = verdicts(code);
            !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == wanted)
        })
    };
    is_only(&codes.show, Verdict::Shown)
        && is_only(&codes.retire, Verdict::Retired)
        && is_only(&codes.hide, Verdict::Hidden)
        && codes.forget.iter().all(|code| verdicts(code).is_empty())
}
