//! What the operator does meanwhile: edits by file and over the admin port, and restarts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use ring::digest::{SHA256, digest};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{self, Answer, PATIENCE};
use crate::list::Verdict;
use crate::load::Site;
use crate::model::SHOPS;
use crate::support::Random;

/// Pause between two edits.
const EDIT_PAUSE: Duration = Duration::from_millis(500);
/// Times that one of the replicas behind HAProxy is restarted, at most.
const MAX_RESTARTS: u32 = 40;
/// Least time from one restart to the next: HAProxy must have seen that the last one is back.
const MIN_RESTART_PAUSE: Duration = Duration::from_secs(15);

/// What the admin did.
#[derive(Debug, Default)]
pub struct Edits {
    pub by_file: u64,
    pub by_api: u64,
    pub undone: u64,
    pub forgotten: u64,
}

impl Edits {
    pub fn is_everything(&self) -> bool {
        [self.by_file, self.by_api, self.undone, self.forgotten].iter().all(|count| *count > 0)
    }
}

/// Digest of a list's bytes, as the API has it.
fn digest_of(list: &[u8]) -> String {
    digest(&SHA256, list).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name(shop: usize) -> String {
    if shop == 0 { "default".to_owned() } else { format!("shop-{shop}") }
}

/// Waits until every replica has this list of a shop in force; nothing is a shop that is forgotten.
async fn in_force(site: &Site, shop: usize, expected: Option<&str>) {
    let written = Instant::now();
    for replica in &site.replicas {
        loop {
            // A replica that is being restarted does not answer.
            let answer = ask(replica.admin, Request::get("/api/v1/status"), String::new()).await;
            let state = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
            let digest = state.map(|state| {
                let shops = state["status"]["shops"].as_array().unwrap().clone();
                let found = shops.into_iter().find(|found| found["shop"] == name(shop));
                found.and_then(|found| found["digest"].as_str().map(str::to_owned))
            });
            if digest.is_some_and(|digest| digest.as_deref() == expected) {
                break;
            }
            assert!(written.elapsed() < PATIENCE, "never in force at {}: {}", replica.admin, name(shop));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sends a request to an admin port; nothing if it does not answer.
async fn ask(address: std::net::SocketAddr, request: http::request::Builder, body: String) -> Option<Answer> {
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let mut request: Request<Full<Bytes>> = request.body(Full::from(body)).unwrap();
    *request.uri_mut() = format!("http://{address}{}", request.uri()).parse().unwrap();
    let response =
        tokio::time::timeout(PATIENCE, client.request(request)).await.expect("an answer in time").ok()?;
    let answer = client::finish(response).await;
    (!answer.cut).then_some(answer)
}

/// Edits a list each half second until the end: every other time that at `/`, else that of a shop, which then comes,
/// changes or goes. What changes does so in its file, or over the admin port of some replica.
pub async fn edit(site: Arc<Site>, end: Instant) -> Edits {
    let (mut edits, mut random) = (Edits::default(), Random::new(site.model.seed()));
    for turn in 0.. {
        if Instant::now() >= end {
            break;
        }
        let shop = if turn % 2 == 0 { 0 } else { 1 + random.below(SHOPS - 1) };
        let is_there = site.model.list(shop).is_some();
        if shop > 0 && is_there && random.chance(300) {
            forget(&site, shop).await;
            edits.forgotten += 1;
        } else if is_there && random.chance(500) {
            let is_undone = edit_by_api(&site, shop, &mut random).await;
            edits.by_api += 1;
            edits.undone += u64::from(is_undone);
        } else {
            let list = Arc::new(site.model.draw(shop));
            let text = format!("# {turn}\n{}", list.text());
            site.model.writes(shop, Some(list));
            site.files.edit(shop, &text);
            in_force(&site, shop, Some(&digest_of(text.as_bytes()))).await;
            site.model.sees(shop);
            edits.by_file += 1;
        }
        tokio::time::sleep(EDIT_PAUSE).await;
    }
    edits
}

/// Removes a shop's file and has all replicas forget the shop.
async fn forget(site: &Site, shop: usize) {
    site.model.writes(shop, None);
    site.files.remove(shop);
    for replica in &site.replicas {
        replica.process.lock().await.signal(Signal::HUP);
    }
    in_force(site, shop, None).await;
    site.model.sees(shop);
}

/// Gives some codes another state over the admin port of a replica, and now and then takes that back.
async fn edit_by_api(site: &Site, shop: usize, random: &mut Random) -> bool {
    let replica = &site.replicas[random.below(site.replicas.len())];
    // No restart in the middle: whether an edit whose answer is lost was made, nobody knows.
    let _running = replica.process.lock().await;
    let before = site.model.list(shop).unwrap();
    let codes = before.some_codes(random);
    let (verdict, member) =
        random.pick(&[(Verdict::Shown, "show"), (Verdict::Retired, "retire"), (Verdict::Hidden, "hide")]);
    site.model.writes(shop, Some(Arc::new(before.with(&codes, verdict))));
    let edit = json!({ "shop": name(shop), member: codes, "note": "soak" });
    let answer = change(site, replica.admin, "/api/v1/edits", shop, &edit).await;
    settle(site, shop, &answer).await;
    let Some(id) = answer["edit"]["id"].as_str().filter(|_| random.chance(400)) else { return false };
    site.model.writes(shop, Some(before));
    let target = format!("/api/v1/edits/{id}/undo");
    let answer = change(site, replica.admin, &target, shop, &json!({ "note": "taken back" })).await;
    settle(site, shop, &answer).await;
    true
}

/// Waits until what an answer says is in force everywhere.
async fn settle(site: &Site, shop: usize, answer: &Value) {
    let digest = answer["digest"].as_str().unwrap();
    assert_eq!(digest, digest_of(&site.files.list(shop)), "the digest of the answer is that of the file");
    // Locks are not taken here, so the replica that is held answers, too.
    in_force(site, shop, Some(digest)).await;
    site.model.sees(shop);
}

async fn change(site: &Site, admin: std::net::SocketAddr, target: &str, shop: usize, body: &Value) -> Value {
    let request = Request::post(target)
        .header("authorization", format!("Bearer {}", site.files.token))
        .header("content-type", "application/json")
        .header("if-match", format!("\"{}\"", digest_of(&site.files.list(shop))));
    let answer = ask(admin, request, body.to_string()).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::OK, "{target} {body}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// Restarts the replicas behind HAProxy in turn until the end. Returns how often, and the longest time without one.
pub async fn restart(site: Arc<Site>, start: Instant, end: Instant) -> (u64, Duration) {
    let pause = ((end - start) / MAX_RESTARTS).max(MIN_RESTART_PAUSE);
    let (mut count, mut longest) = (0, Duration::ZERO);
    loop {
        tokio::time::sleep(pause).await;
        if Instant::now() + pause >= end {
            return (count, longest);
        }
        let number = count as usize % 2;
        site.model.stops(number);
        longest = longest.max(site.replicas[number].restart().await);
        count += 1;
    }
}
