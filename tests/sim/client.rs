//! A client that asks, reads at its own pace, and may hang up at any await.

use std::io::Read;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};

use super::model::{FeedId, OTHER_QUERY, Seen};
use super::script::Question;
use super::shops::Place;
use super::world::{Process, World};
use crate::cancel;

/// Asks once, and has the model judge what comes back.
pub(crate) async fn ask(world: Arc<World>, process: Arc<Process>, number: usize, question: Question) {
    let id = FeedId { categories: question.categories, query: question.query };
    let place = question.place;
    let mut request = Request::get(place.url(&id.target()));
    if question.is_head {
        request = request.method(Method::HEAD);
    }
    if !question.accept.is_empty() {
        request = request.header(header::ACCEPT_ENCODING, question.accept);
    }
    let validator = question.conditional.then(|| world.validator(id)).flatten();
    if let Some((etag, _)) = &validator {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    let request = request.body(()).expect("a request");
    let asked = Instant::now();
    let response = process.proxy.respond_in_simulation(&request);
    let response = match question.patience {
        Some(polls) => cancel::after(polls.into(), response).await,
        None => Some(response.await),
    };
    let Some(response) = response else {
        return world.trace(format!("client {number} hung up"));
    };
    let status = response.status().as_u16();
    let headers = response.headers();
    let outcome = field(headers, "cache-status").unwrap_or_default().replace("catalog-proxy; ", "");
    let outcome = outcome.split("; ttl").next().unwrap_or_default().to_owned();
    let (coding, etag) = (field(headers, "content-encoding"), field(headers, "etag"));
    let mut body = response.into_body();
    let (mut bytes, mut is_complete, mut frames) = (Vec::new(), false, 0);
    while question.max_frames.is_none_or(|most| frames < most) {
        sleep(question.pause.time()).await;
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Some(Err(_)) => break,
            None => {
                is_complete = true;
                break;
            }
        }
        frames += 1;
    }
    drop(body);
    world
        .trace(format!("client {number}: {status} {outcome} {} bytes, complete: {is_complete}", bytes.len()));
    let violation = match (&validator, status) {
        (Some((_, has)), 304) => process.model.lock().judge_unchanged(id, place, asked, has),
        (None, 304) => Some(format!("odd 304: {id:?} without a validator")),
        _ if question.is_head && !bytes.is_empty() => Some(format!("body to HEAD: {id:?}")),
        (_, 200) if question.is_head => None,
        _ => {
            let is_plain = coding.is_none();
            let body = match (is_complete, &coding) {
                (true, Some(coding)) => decoded(coding, &bytes),
                _ => bytes,
            };
            let seen = Seen { id, place, asked, status, body, is_complete, is_plain };
            let violation = process.model.lock().judge(&seen);
            if let (200, true, Some(etag)) = (status, is_complete, etag) {
                world.remember(id, etag, seen.body);
            }
            violation
        }
    };
    if let Some(violation) = violation {
        world.fail(format!("{violation} (client {number})"));
    }
}

/// Asks for a key of its own and waits. There is a place for each such client before it loses patience.
pub(crate) async fn rush(world: Arc<World>, process: Arc<Process>, number: usize, n: u8) {
    let request = Request::get(format!("http://proxy.test/api/v4/packages?rush-{number}-{n}")).body(());
    let (asked, quick) = (Instant::now(), world.upstream.quick());
    let response = process.proxy.respond_in_simulation(&request.expect("a request")).await;
    let status = response.status().as_u16();
    let collected = response.into_body().collect().await;
    let (body, is_complete) = match collected {
        Ok(body) => (body.to_bytes().to_vec(), true),
        Err(_) => (Vec::new(), false),
    };
    if quick.is_some() && quick == world.upstream.quick() && !(status == 200 && is_complete) {
        world.fail(format!("turned away: {status} (client {number} {n})"));
    }
    let id = FeedId { categories: false, query: OTHER_QUERY };
    let place = Place::default();
    let seen = Seen { id, place, asked, status, body, is_complete, is_plain: true };
    if let Some(violation) = process.model.lock().judge(&seen) {
        world.fail(format!("{violation} (client {number} {n})"));
    }
}

fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut decoded),
        "zstd" => zstd::Decoder::new(bytes).and_then(|mut decoder| decoder.read_to_end(&mut decoded)),
        other => panic!("{other}"),
    }
    .expect("a body in its coding");
    decoded
}
