//! Calls that change a list: preview, edit, and what both share with undo.
//!
//! The file is the only state. An edit is made of the bytes that are on disk at that moment, and only if they are those
//! that the editor has seen; it is answered when the list is in force.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::super::problem::ApiProblem;
use super::catalog::Catalog;
use super::read::read_only;
use super::request::{self, Condition, WantedEdit, add};
use super::{Api, file_problem, json, no_catalog, no_log, raw, with_etag};
use crate::blocking;
use crate::body::Body;
use crate::digest::FileDigest;
use crate::edit_log::{EditLog, EditLogError, EditRecord, EditedCodes, FormerPlace};
use crate::editing::{self, AcceptedCodes, CodeEffect, CodeOutcome, EditContext, EditRefusal, EditedList};
use crate::line_patch::changed_lines;
use crate::policy::edit::is_empty;
use crate::policy::{Day, HostsKey, Policy, document};
use crate::report::{DatedPolicy, changes};
use crate::seller::Seller;
use crate::shops::{Shop, ShopName};
use crate::wall_clock;
use crate::watch::Check;
use crate::whitelist::load::{LoadError, read_editable};
use crate::whitelist::replace::{Editing, Replaced};

/// Longest wait until an edit is in force.
const IN_FORCE_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks whether it is.
const IN_FORCE_PAUSE: Duration = Duration::from_millis(10);
/// Longest wait for somebody who edits the file with a command.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
/// Longest wait for all that an edit does on the disk. It is longer than the waits for others.
const DISK_LIMIT: Duration = Duration::from_secs(15);
/// Where the catalog of the page comes from, in messages.
const ORIGIN: &str = "the newest copy";

/// Who changes a list, from where, and on which version it is based.
#[derive(Debug)]
pub(super) struct Editor {
    name: String,
    address: IpAddr,
    condition: Arc<Condition>,
}

/// The shop whose list is changed, by whom and why.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) shop: Arc<Shop>,
    pub(super) editor: Editor,
    pub(super) note: Option<String>,
}

/// A text that an edit makes of another one.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) text: String,
    /// What is done, for the log.
    pub(super) codes: EditedCodes,
    pub(super) undoes: Option<String>,
    /// Effects that may not be intended.
    pub(super) warnings: Vec<Value>,
}

/// What became of an edit.
#[derive(Debug)]
pub(super) struct MadeEdit {
    digest: FileDigest,
    before: FileDigest,
    edit: Option<EditRecord>,
    changes: Value,
    warnings: Vec<Value>,
}

/// Why an edit was not made.
enum NotMade {
    Log(EditLogError),
    File(io::Error),
}

impl From<EditLogError> for NotMade {
    fn from(error: EditLogError) -> Self {
        Self::Log(error)
    }
}

impl Api {
    /// Answers with what an edit would change.
    pub(super) async fn preview(&self, request: Request<Incoming>) -> Result<Response<Body>, ApiProblem> {
        request::check_content_type(request.headers())?;
        let wanted: WantedEdit = request::read(request.into_body()).await?;
        let shop = self.shop_named(wanted.shop.as_deref())?;
        let catalog = self.catalog.get(&self.proxy.cache).await.map_err(|error| no_catalog(&error))?;
        let _place = self.previews.acquire().await.map_err(|_| ApiProblem::interrupted())?;
        let previewed = blocking::run(move || {
            let (text, digest) = read(&shop)?;
            let planned = plan(&shop, &text, &wanted, &catalog)?;
            let lines = changed_lines(&text, &planned.text);
            let lines = lines.iter().map(|line| line.trim_end_matches(['\r', '\n'])).collect::<Vec<_>>();
            Ok((
                raw(lines),
                difference(&shop.name, [&text, &planned.text], &catalog),
                planned.warnings,
                digest,
            ))
        });
        let (lines, changes, warnings, digest) = previewed.await.map_err(|_| ApiProblem::interrupted())??;
        let digest = digest.to_string();
        let members = [
            ("changes", raw(changes)),
            ("lines", lines),
            ("warnings", raw(warnings)),
            ("digest", raw(&digest)),
        ];
        Ok(with_etag(json(members), &digest))
    }

    /// Makes an edit, and answers when it is in force.
    pub(super) async fn edit(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response<Body>, ApiProblem> {
        let (wanted, editor) = self.asked::<WantedEdit>(request, peer).await?;
        let target = Target { shop: self.shop_named(wanted.shop.as_deref())?, editor, note: wanted.note() };
        let catalog = self.catalog.get(&self.proxy.cache).await.map_err(|error| no_catalog(&error))?;
        let planning = Arc::clone(&catalog);
        self.make(target, catalog, move |shop, text| plan(shop, text, &wanted, &planning)).await
    }

    /// Reads what an editor asks for.
    ///
    /// # Errors
    /// If it comes from no editor, or in a wrong form.
    pub(super) async fn asked<T: DeserializeOwned + Default>(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<(T, Editor), ApiProblem> {
        let person = self.gate.admit_editor(peer, request.headers()).await?;
        request::check_content_type(request.headers())?;
        let condition = Arc::new(Condition::of(request.headers())?);
        let address = self.gate.client(peer, request.headers());
        let wanted = request::read(request.into_body()).await?;
        Ok((wanted, Editor { name: person.name, address, condition }))
    }

    /// Makes the edit that `plan` makes of the text on disk, and answers when it is in force.
    ///
    /// Once begun, it is made to its end on a thread of its own, whether anybody waits for it or not.
    pub(super) async fn make(
        &self,
        target: Target,
        catalog: Arc<Catalog>,
        plan: impl FnOnce(&Shop, &str) -> Result<Planned, ApiProblem> + Send + 'static,
    ) -> Result<Response<Body>, ApiProblem> {
        let _turn = self.changing.lock().await;
        let shop = Arc::clone(&target.shop);
        // As it is now, not when the request came: other edits may have been made while this one waited.
        let generation = self.generation(&shop.name);
        let (log, condition) = (Arc::clone(&self.edit_log), Arc::clone(&target.editor.condition));
        let known = self.remembered(condition.digests());
        let made = blocking::run(move || {
            if let Some(reason) = read_only(&target.shop.path) {
                return Err(ApiProblem::forbidden(reason));
            }
            replace(&target, &log, &catalog, plan, &|text| {
                let known = known.as_ref().map(|list| &list.policy);
                known.map_or(Value::Null, |before| compare(&target.shop.name, (before, text), &catalog))
            })
        });
        let Ok(made) = timeout(DISK_LIMIT, made).await else {
            let detail = "the disk does not answer; whether the edit was made, the history will tell";
            return Err(ApiProblem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
        };
        let made = made.map_err(|_| ApiProblem::interrupted())??;
        if made.edit.is_some() {
            self.wait_in_force(&shop.name, generation, &made).await?;
        }
        let digest = made.digest.to_string();
        if let Ok(shop) = self.shop_named(Some(shop.name.as_str())) {
            self.remember(&shop);
        }
        let members = [
            ("edit", raw(made.edit.as_ref().map(EditRecord::row))),
            ("changes", raw(made.changes)),
            ("warnings", raw(made.warnings)),
            ("digest", raw(&digest)),
        ];
        Ok(with_etag(json(members), &digest))
    }

    fn generation(&self, shop: &ShopName) -> u64 {
        let shops = self.proxy.shops.current();
        shops.get(shop.as_str()).and_then(|shop| Some(shop.list()?.generation)).unwrap_or_default()
    }

    /// Waits until a list is in force, or a later one that was made of it.
    async fn wait_in_force(
        &self,
        shop: &ShopName,
        generation: u64,
        made: &MadeEdit,
    ) -> Result<(), ApiProblem> {
        let deadline = Instant::now() + IN_FORCE_LIMIT;
        loop {
            let shops = self.proxy.shops.current();
            let list = shops.get(shop.as_str()).and_then(|shop| shop.list());
            let is_in_force = list.is_some_and(|list| {
                list.digest == made.digest || (list.generation > generation && list.digest != made.before)
            });
            if is_in_force {
                return Ok(());
            }
            if Instant::now() >= deadline {
                warn!(%shop, "an edit over the admin port is in the file, but not in force");
                let detail = "the file was written, but its list is not in force after 5 s; the log says why";
                return Err(ApiProblem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
                    .with("digest", made.digest.to_string()));
            }
            // The watch would see it too, but not at once where files report no events.
            let shops = Arc::clone(&self.proxy.shops);
            let pause = blocking::run(move || shops.check(Check::IfChanged)).await.ok().flatten();
            sleep(pause.unwrap_or(IN_FORCE_PAUSE)).await;
        }
    }
}

/// Writes the planned text, if the file is what the editor has seen. Blocks on the disk.
fn replace(
    target: &Target,
    log: &EditLog,
    catalog: &Catalog,
    plan: impl FnOnce(&Shop, &str) -> Result<Planned, ApiProblem>,
    since: &dyn Fn(&str) -> Value,
) -> Result<MadeEdit, ApiProblem> {
    let shop = &target.shop;
    let editing =
        Editing::begin_within(&shop.path, LOCK_LIMIT).map_err(|error| cannot_write(shop, &error))?;
    let (text, before) = read(shop)?;
    // What is wrong with the file is told before anything else: until it is mended no other version helps.
    check_list(shop, &text)?;
    let changed = |text: &str, digest: FileDigest| {
        let detail = "the list was changed meanwhile";
        ApiProblem::new(StatusCode::PRECONDITION_FAILED, detail)
            .with("digest", digest.to_string())
            .with("changes", since(text))
    };
    if !target.editor.condition.holds(&before.to_string()) {
        return Err(changed(&text, before));
    }
    let planned = plan(shop, &text)?;
    let after = FileDigest::of(planned.text.as_bytes());
    let changes = difference(&shop.name, [&text, &planned.text], catalog);
    let mut warnings = planned.warnings;
    if after == before {
        return Ok(MadeEdit { digest: after, before, edit: None, changes, warnings });
    }
    let Editor { name, address, .. } = &target.editor;
    let policy = editing::policy_of(&text);
    let place = |code: &str| Some((code.to_owned(), FormerPlace::of(code, policy.as_ref()?)?));
    let record = EditRecord {
        was: planned.codes.all().filter_map(place).collect(),
        note: target.note.clone(),
        undoes: planned.undoes,
        lines: changed_lines(&text, &planned.text),
        ..EditRecord::new((name, *address), &shop.name, planned.codes, (before, after), wall_clock::now())
    };
    let write = || match editing.replace(text.as_bytes(), planned.text.as_bytes()) {
        Ok(Replaced::Changed) => Ok(None),
        Ok(replaced) => Ok(Some(replaced)),
        Err(error) => Err(NotMade::File(error)),
    };
    let unseen = || {
        let in_force = shop.list().map(|list| &list.policy);
        policy.as_ref().map(|now| EditedCodes::between(in_force, now)).unwrap_or_default()
    };
    match log.make(&shop.name, &record, (before, after), unseen, write) {
        Ok(Some(Replaced::InPlace(obstacle))) => {
            warnings.push(json!({ "message": format!("the file was written in place: {obstacle}") }));
        }
        Ok(Some(_)) => {}
        Ok(None) => {
            let (text, digest) = read(shop)?;
            return Err(changed(&text, digest));
        }
        Err(NotMade::File(error)) => return Err(cannot_write(shop, &error)),
        Err(NotMade::Log(error)) => return Err(no_log(&error)),
    }
    Ok(MadeEdit { digest: after, before, edit: Some(record), changes, warnings })
}

/// Reads the file of a shop.
fn read(shop: &Shop) -> Result<(String, FileDigest), ApiProblem> {
    let bytes = read_editable(&shop.path).map_err(|error| file_problem(&error.to_string()))?;
    let text = document::text(&bytes).map_err(|finding| {
        file_problem(&LoadError::Parse { path: shop.path.clone(), finding, excerpt: None }.to_string())
    })?;
    Ok((text.to_owned(), FileDigest::of(&bytes)))
}

/// Checks that a text is a list, or nothing yet.
fn check_list(shop: &Shop, text: &str) -> Result<(), ApiProblem> {
    match Policy::parse(text.as_bytes(), shop.name.hosts_key()) {
        Err(finding) if !is_empty(text) => Err(refused(shop, EditRefusal::Invalid(finding))),
        _ => Ok(()),
    }
}

fn cannot_write(shop: &Shop, error: &io::Error) -> ApiProblem {
    file_problem(&format!("{} cannot be written just now: {error}", shop.path.display()))
}

/// Makes the edit of a text.
fn plan(shop: &Shop, text: &str, wanted: &WantedEdit, catalog: &Catalog) -> Result<Planned, ApiProblem> {
    let context = EditContext {
        catalog: Some(&catalog.packages),
        accepted: AcceptedCodes::Known,
        hosts_key: shop.name.hosts_key(),
        today: today(),
    };
    let edits = wanted.edits()?;
    let EditedList { text, outcomes, stranded } =
        editing::edit(text, &edits, &context).map_err(|refusal| refused(shop, refusal))?;
    let mut codes = EditedCodes::default();
    for (edit, outcome) in edits.iter().zip(&outcomes) {
        if matches!(outcome.effect, CodeEffect::Placed { .. } | CodeEffect::Forgotten { .. }) {
            add(&mut codes, edit.verb, &edit.code);
        }
    }
    let stranded = stranded.iter().map(|stranded| {
        let message = "servers that have it get no updates any more; to keep updates, retire it instead";
        json!({ "code": stranded.code, "message": message })
    });
    let needless = outcomes.iter().filter_map(needless);
    Ok(Planned { text, codes, undoes: None, warnings: stranded.chain(needless).collect() })
}

/// Says why a code was left as it is, if that is not plain from its state.
fn needless(outcome: &CodeOutcome) -> Option<Value> {
    let CodeEffect::NotNeeded(seller) = outcome.effect else { return None };
    let why = if seller == Seller::Free { "it is free" } else { "its vendor sells it" };
    Some(json!({ "code": outcome.code, "message": format!("{why}, so it is shown whether listed or not") }))
}

fn refused(shop: &Shop, refusal: EditRefusal) -> ApiProblem {
    let unprocessable = |detail: String| ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    match refusal {
        EditRefusal::Unknown(unknown) => {
            let codes = unknown.iter().map(|unknown| json!({ "code": unknown.code, "meant": unknown.meant }));
            unprocessable("some codes are neither in the catalog nor in the list".to_owned())
                .with("codes", codes.collect::<Vec<_>>())
        }
        EditRefusal::Invalid(finding) => {
            file_problem(&LoadError::Parse { path: shop.path.clone(), finding, excerpt: None }.to_string())
        }
        EditRefusal::Layout => file_problem(&format!("{}: {}", shop.path.display(), EditRefusal::Layout)),
        refusal @ (EditRefusal::TwoVerbs(_) | EditRefusal::Star(_) | EditRefusal::TooLarge) => {
            unprocessable(refusal.to_string())
        }
    }
}

pub(super) fn today() -> Day {
    Day::of(wall_clock::now())
}

/// Returns what changes between two texts. Nothing if one of them is no list.
fn difference(shop: &ShopName, [before, after]: [&str; 2], catalog: &Catalog) -> Value {
    editing::policy_of(before).map_or(Value::Null, |before| compare(shop, (&before, after), catalog))
}

/// Returns what a text changes compared with a policy.
fn compare(shop: &ShopName, (before, after): (&Policy, &str), catalog: &Catalog) -> Value {
    let Ok((after, _)) = Policy::parse(after.as_bytes(), HostsKey::Allowed) else { return Value::Null };
    let day = today();
    let (old, new) = (before.on(day), after.on(day));
    let sides =
        [DatedPolicy { policy: before, rules: &old, day }, DatedPolicy { policy: &after, rules: &new, day }];
    serde_json::to_value(changes(Some(shop.as_str()), sides, &catalog.packages, ORIGIN)).unwrap_or_default()
}
