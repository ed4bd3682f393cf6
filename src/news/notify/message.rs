//! Bodies of notifications, in the shape that each kind of receiver takes.
//!
//! SECURITY: codes and names are written by vendors. In a chat they could mention everybody, hide a link behind a text or
//! make readers load a picture, so they are set as code, which is never marked up, or as a text run.

use std::fmt::Write as _;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::super::{Change, Kind, SellerName};
use crate::cli::NotifyFormat;
use crate::hex::hex;
use crate::printable::escaped;

/// Version of the generic format. 2 has renames, where 1 had a package that was gone and a new one.
const FORMAT: u8 = 2;
/// Most changes in one notification of the generic format. The history has the rest.
const MAX_CHANGES: usize = 1000;
/// Most codes in the text of the generic format.
const MAX_NAMED_CODES: usize = 20;

/// Longest `text`, in UTF-16 units, of which every way to count characters finds as many or fewer. Google Chat takes
/// 4,096, Mattermost on an old database 4,000; Slack takes more, and advises against it.
const MAX_TEXT_UNITS: usize = 4000;
/// Longest `content` of Discord, in characters.
const MAX_DISCORD_UNITS: usize = 2000;
/// Longest text of a Teams card, in units: with at most three bytes each, and what surrounds every line, it stays below
/// the 28 KB that a message may have.
const MAX_TEAMS_UNITS: usize = 5000;
/// Most changes that a chat gets, each on its line. More are not read.
const MAX_LINES: usize = 50;
/// Longest code or name in a line, in characters. Real codes have some 40.
const MAX_WORD: usize = 100;
/// Room for the line that counts what was left out, in UTF-16 units.
const ROOM_FOR_REST: usize = 80;
/// First words of a test message.
const TEST_HEADLINE: &str = "Test message from catalog-proxy";
/// Discord's flag for messages whose links get no preview (`SUPPRESS_EMBEDS`).
const DISCORD_NO_PREVIEWS: u32 = 1 << 2;

/// What a notification is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Occasion<'a> {
    /// The catalog has changed.
    Changed {
        /// Version of the vendor's interface, such as `v4`.
        api: &'a str,
        changes: &'a [Change],
    },
    /// Somebody wants to see whether notifications arrive.
    Test {
        /// Name of this machine.
        host: &'a str,
    },
}

/// Body in the generic format, as documented in the README.
#[derive(Debug, Serialize)]
struct GenericBody<'a> {
    /// Text for chats that show this member and ignore the rest.
    text: String,
    event: &'static str,
    /// Version of this format.
    format: u8,
    /// Identifier. Repeated deliveries of one notification have the same.
    id: String,
    at: String,
    api: &'a str,
    changes: &'a [Change],
    /// Number of changes beyond [`MAX_CHANGES`].
    omitted: usize,
}

/// Message for a chat: a headline, and lines below it.
#[derive(Debug)]
struct ChatMessage {
    headline: String,
    lines: Vec<String>,
}

/// Makes the body of a notification about what happened at a time.
pub(crate) fn body(format: NotifyFormat, occasion: Occasion<'_>, at: SystemTime) -> Bytes {
    let json = match format {
        NotifyFormat::Generic => {
            serde_json::to_vec(&generic(occasion, at)).expect("members with names are always JSON")
        }
        NotifyFormat::Text => {
            // Nothing else: Google Chat refuses a message with a member that it does not know.
            json!({ "text": chat_text(occasion, MAX_TEXT_UNITS) }).to_string().into()
        }
        NotifyFormat::Discord => json!({
            "content": chat_text(occasion, MAX_DISCORD_UNITS),
            "allowed_mentions": { "parse": [] },
            "flags": DISCORD_NO_PREVIEWS,
        })
        .to_string()
        .into(),
        NotifyFormat::Teams => {
            teams(&ChatMessage::new(occasion, as_it_is, MAX_TEAMS_UNITS)).to_string().into()
        }
    };
    Bytes::from(json)
}

fn generic(occasion: Occasion<'_>, at: SystemTime) -> GenericBody<'_> {
    let (text, event, api, changes) = match occasion {
        Occasion::Changed { api, changes } => (text(api, changes), "catalog-changed", api, changes),
        // A receiver finds all the members that it knows.
        Occasion::Test { host } => {
            let text = format!("{TEST_HEADLINE}. {}", test_line(&escaped(host)));
            (text, "test", "v4", &[][..])
        }
    };
    let listed = &changes[..changes.len().min(MAX_CHANGES)];
    GenericBody {
        text,
        event,
        format: FORMAT,
        id: hex(&fastrand::u128(..).to_be_bytes()).to_string(),
        at: humantime::format_rfc3339_seconds(at).to_string(),
        api,
        changes: listed,
        omitted: changes.len() - listed.len(),
    }
}

/// Formats the text of the generic format.
fn text(api: &str, changes: &[Change]) -> String {
    let named = |change: &Change| {
        let mut text = change.change.name().to_owned();
        if let Some(old) = &change.renamed_from {
            text += &format!(" {} to", escaped(old));
        }
        text += &format!(" {} ({}", escaped(&change.code), change.seller.name());
        if let Some(was) = change.was {
            text += &format!(", was {}", was.name());
        }
        if is_urgent(change) {
            text += ", whitelisted";
        }
        text + ")"
    };
    let named: Vec<String> = changes.iter().take(MAX_NAMED_CODES).map(named).collect();
    let more = match changes.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("Plesk's extension catalog ({api}): {}{more}", named.join(", "))
}

fn test_line(host: &str) -> String {
    format!("It runs on {host}, and tells here what changes in Plesk's extension catalog.")
}

/// Returns true if a whitelist names what is no longer there under that code.
fn is_urgent(change: &Change) -> bool {
    change.whitelisted && matches!(change.change, Kind::Gone | Kind::Renamed)
}

fn chat_text(occasion: Occasion<'_>, limit: usize) -> String {
    let ChatMessage { mut headline, lines } = ChatMessage::new(occasion, as_code, limit);
    for line in lines {
        headline.push('\n');
        headline += &line;
    }
    headline
}

/// Makes a message of a Teams workflow: an Adaptive Card. A text run has no markdown, a text block does.
fn teams(ChatMessage { headline, lines }: &ChatMessage) -> serde_json::Value {
    let headline = json!({ "type": "TextBlock", "text": headline, "weight": "Bolder", "wrap": true });
    let line = |line| {
        json!({
            "type": "RichTextBlock",
            "spacing": "Small",
            "inlines": [{ "type": "TextRun", "text": line }],
        })
    };
    let body: Vec<_> = [headline].into_iter().chain(lines.iter().map(line)).collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
}

impl ChatMessage {
    /// Creates a message of at most `limit` UTF-16 units, line breaks included. `quote` sets a text that others have
    /// written.
    fn new(occasion: Occasion<'_>, quote: fn(&str) -> String, limit: usize) -> Self {
        let (api, changes) = match occasion {
            Occasion::Changed { api, changes } => (api, changes),
            Occasion::Test { host } => {
                return Self { headline: TEST_HEADLINE.to_owned(), lines: vec![test_line(&quote(host))] };
            }
        };
        // What a whitelist has lost comes first, so that it is never left out.
        let mut sorted: Vec<&Change> = changes.iter().collect();
        sorted.sort_by_key(|change| !is_urgent(change));
        let headline = headline(api, changes);
        let mut left = limit - ROOM_FOR_REST - units(&headline);
        let mut lines = Vec::new();
        for change in sorted.into_iter().take(MAX_LINES) {
            let line = line(change, quote);
            let Some(rest) = left.checked_sub(units(&line) + 1) else { break };
            left = rest;
            lines.push(line);
        }
        if let more @ 1.. = changes.len() - lines.len() {
            lines.push(format!("and {more} more: {} lists them", quote("catalog-proxy news")));
        }
        Self { headline, lines }
    }
}

/// Formats the number of changes of each kind.
fn headline(api: &str, changes: &[Change]) -> String {
    let counts = [Kind::New, Kind::Gone, Kind::Switched, Kind::Renamed].map(|kind| {
        let count = changes.iter().filter(|change| change.change == kind).count();
        (count > 0).then(|| format!("{count} {}", kind.name()))
    });
    let counts: Vec<_> = counts.into_iter().flatten().collect();
    format!("Plesk's extension catalog ({api}): {}", counts.join(", "))
}

fn line(change: &Change, quote: fn(&str) -> String) -> String {
    let mut line = format!("• {}: ", change.change.name());
    // Writing to a string cannot fail.
    if let Some(old) = &change.renamed_from {
        let _ = write!(line, "{} to ", quote(old));
    }
    line += &quote(&change.code);
    if let Some(name) = change.name.as_deref().filter(|name| !name.trim().is_empty()) {
        let _ = write!(line, " ({})", quote(name));
    }
    let _ = write!(line, ", {}", sold(change.seller));
    if let Some(was) = change.was {
        let _ = write!(line, ", before: {}", sold(was));
    }
    if is_urgent(change) {
        line += ", whitelisted";
        if !change.shops.is_empty() {
            let _ = write!(line, " ({})", change.shops.join(", "));
        }
    }
    line
}

fn sold(seller: SellerName) -> &'static str {
    match seller {
        SellerName::Free => "free",
        SellerName::Vendor => "sold by its vendor",
        SellerName::Plesk => "sold by Plesk",
    }
}

/// Sets a text as code, which Slack, Mattermost, Google Chat and Discord all show as it is.
///
/// SECURITY: Slack and Google Chat read `<…>` as links and mentions also in code, and Slack's escapes (`&lt;`) would be
/// shown as such by the others. Characters that look the same mean nothing to any of them. An ampersand is left alone:
/// what Slack makes of `&lt;` is shown, not read again.
fn as_code(text: &str) -> String {
    let harmless = |c| match c {
        '`' => '\'',
        '<' => '‹',
        '>' => '›',
        '@' => '＠',
        c => c,
    };
    format!("`{}`", as_it_is(text).chars().map(harmless).collect::<String>())
}

/// Cuts a text to [`MAX_WORD`] characters, and escapes those that are not plain.
fn as_it_is(text: &str) -> String {
    let escaped = escaped(text.trim());
    match escaped.char_indices().nth(MAX_WORD) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None if escaped.is_empty() => "-".to_owned(),
        None => escaped,
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
mod tests;
