//! Takes an edit back, if the list still has what it did.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::super::problem::ApiProblem;
use super::change::{Planned, Target, today};
use super::request::{WantedUndo, trimmed};
use super::{Api, no_catalog, no_log};
use crate::blocking;
use crate::body::Body;
use crate::edit_log::{EditRecord, EditedCodes, FormerPlace};
use crate::editing::{self, AcceptedCodes, CodeEdit, EditContext, Verb};
use crate::feed::listing::Listed;
use crate::line_patch::take_back;
use crate::policy::{Policy, Verdict, WhitelistEntry};
use crate::shops::Shop;

impl Api {
    /// Takes an edit back, and answers when that is in force.
    pub(super) async fn undo(
        &self,
        id: &str,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response<Body>, ApiProblem> {
        let (wanted, editor) = self.asked::<WantedUndo>(request, peer).await?;
        let (log, wanted_id) = (Arc::clone(&self.edit_log), id.to_owned());
        let found = blocking::run(move || log.find(&wanted_id)).await;
        let found = found.map_err(|_| ApiProblem::interrupted())?.map_err(|error| no_log(&error))?;
        let edit =
            found.ok_or_else(|| ApiProblem::new(StatusCode::NOT_FOUND, "the edit log has no such edit"))?;
        if edit.lines.is_empty() {
            return Err(too_late("an edit of the file itself is taken back in the file"));
        }
        let shop = self.shop_named(Some(&edit.shop))?;
        let target = Target { shop, editor, note: trimmed(wanted.note.as_deref()) };
        let catalog = self.catalog.get(&self.proxy.cache).await.map_err(|error| no_catalog(&error))?;
        let planning = Arc::clone(&catalog);
        self.make(target, catalog, move |shop, text| plan(shop, text, &edit, &planning.packages)).await
    }
}

fn too_late(detail: &str) -> ApiProblem {
    ApiProblem::new(StatusCode::CONFLICT, detail)
}

/// Makes the text as it would be without an edit: its lines are taken back if they are all there, else its codes.
fn plan(shop: &Shop, text: &str, edit: &EditRecord, packages: &[Listed]) -> Result<Planned, ApiProblem> {
    let no_more =
        || too_late("the list was changed there since, so this edit cannot be taken back as a whole");
    let parse =
        |text: &str| Policy::parse(text.as_bytes(), shop.name.hosts_key()).ok().map(|(policy, _)| policy);
    let now = parse(text).ok_or_else(no_more)?;
    if !still_holds(now.entries(), &edit.codes) {
        return Err(no_more());
    }
    let is_of_edit = |code: &str| edit.codes.all().any(|edited| edited == code);
    let checked = |taken_back: String| {
        let codes = EditedCodes::between(Some(&now), &parse(&taken_back)?);
        let is_right = codes.all().next().is_some() && codes.all().all(is_of_edit);
        is_right.then_some((taken_back, codes))
    };
    let by_lines = take_back(text, &edit.lines).and_then(&checked);
    let (text, codes) =
        by_lines.or_else(|| checked(by_codes(shop, text, edit, packages)?)).ok_or_else(no_more)?;
    Ok(Planned { text, codes, undoes: Some(edit.id.clone()), warnings: Vec::new() })
}

/// Puts the codes of an edit back where they stood, if they stood in one place without dates.
fn by_codes(shop: &Shop, text: &str, edit: &EditRecord, packages: &[Listed]) -> Option<String> {
    let back = |code: &str| {
        let verb = match edit.was.get(code) {
            None => Verb::Forget,
            Some(FormerPlace::Extensions) => Verb::Place(Verdict::Shown),
            Some(FormerPlace::Retired) => Verb::Place(Verdict::Retired),
            Some(FormerPlace::Hidden) => Verb::Place(Verdict::Hidden),
            Some(FormerPlace::Mixed) => return None,
        };
        Some(CodeEdit { verb, code: code.to_owned() })
    };
    let edits: Vec<_> = edit.codes.all().map(back).collect::<Option<_>>()?;
    let context = EditContext {
        catalog: Some(packages),
        accepted: AcceptedCodes::Any,
        hosts_key: shop.name.hosts_key(),
        today: today(),
    };
    editing::edit(text, &edits, &context).ok().map(|edited| edited.text)
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
