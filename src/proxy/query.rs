//! Tells from a query whether a packages feed is asked for to look for updates.

use percent_encoding::percent_decode_str;

use crate::policy::ViewKind;

/// Returns the view that a query asks for: the update view has `platform`, and neither `with-details` nor `locale`.
///
/// Names are percent-decoded once, trimmed, and compared without case. SECURITY: the upstream may read a name that we do
/// not understand as one of these (PHP takes `locale[x]` and `+locale` for `locale`), and what is retired must not get
/// into a shop. So any doubt gives the shop view.
pub(super) fn view(query: Option<&str>) -> ViewKind {
    let query = query.unwrap_or_default();
    // Some servers separate parameters there as well.
    if query.contains(';') {
        return ViewKind::Shop;
    }
    let mut has_platform = false;
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let name = part.split_once('=').map_or(part, |(name, _)| name);
        match normal(name).as_deref() {
            None | Some("with-details" | "locale") => return ViewKind::Shop,
            Some("platform") => has_platform = true,
            Some(_) => {}
        }
    }
    if has_platform { ViewKind::Update } else { ViewKind::Shop }
}

/// Returns true if a query is that of a Plesk server's shop window, which names its language.
pub(crate) fn is_shop_window(query: Option<&str>) -> bool {
    let parts = query.unwrap_or_default().split('&');
    let mut names = parts.map(|part| part.split_once('=').map_or(part, |(name, _)| name));
    names.any(|name| name == "locale" || name == "with-details")
}

/// Normalizes a name, underscores to hyphens; nothing if there is any doubt what it is to the upstream.
fn normal(name: &str) -> Option<String> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let mut bytes = name.as_bytes();
    while let Some(at) = bytes.iter().position(|byte| *byte == b'%') {
        if !(is_digit(bytes.get(at + 1)) && is_digit(bytes.get(at + 2))) {
            return None;
        }
        bytes = &bytes[at + 3..];
    }
    let decoded = percent_decode_str(name).decode_utf8().ok()?;
    let name = decoded.trim_matches(|c: char| c.is_ascii_whitespace());
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (is_plain && !name.is_empty()).then(|| name.to_ascii_lowercase().replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_an_update_only_without_any_doubt() {
        let update = |query: &str| assert_eq!(view(Some(query)), ViewKind::Update, "{query}");
        let shop = |query: &str| assert_eq!(view(Some(query)), ViewKind::Shop, "{query}");
        update("platform=unix&with-hidden&with-unstable");
        update("platform=windows");
        update("platform");
        update("platform=");
        update("with-hidden&platform=unix");
        update("PLATFORM=unix");
        update("%70latform=unix");
        update("%20platform%20=unix");
        update("platform=unix&platform=windows");
        update("platform=unix&&x=1&");
        // Only names count.
        update("platform=unix&x=locale");
        update("platform=unix&x=[%5b%3b%zz");
        assert_eq!(view(None), ViewKind::Shop);
        shop("");
        shop("x=platform");
        shop("platforms=unix");
        shop("with-details=link&platform=unix&with-hidden&with-unstable&locale=en-US&country=XX");
        shop("platform=unix&with-details");
        shop("platform=unix&locale=");
        shop("platform=unix&WITH-DETAILS=link");
        shop("platform=unix&With%2dDetails");
        shop("platform=unix&with_details=link");
        shop("platform=unix&%6Cocale=de");
        shop("platform=unix&%20locale%09=de");
        shop("platform=unix;locale=de");
        for doubtful in [
            "locale[]=de",
            "locale%5b%5d=de",
            "x[locale]",
            ";locale=de",
            "a;locale",
            "%3blocale",
            "%zz",
            "%",
            "x%4",
            "+locale=de",
            "locale+",
            "loc%61le%00",
            "%256cocale=de",
            "l%C3%B6cale",
            "%ff",
            "lo cale",
            "a.b",
            "=locale",
            "locale%0a",
            "%E2%80%8Blocale",
        ] {
            shop(&format!("platform=unix&{doubtful}"));
            shop(&format!("{doubtful}&platform=unix"));
        }
    }

    #[test]
    fn a_shop_window_names_its_language_or_wants_details() {
        for query in ["locale=de-DE", "platform=unix&locale", "with-details=link&x=1"] {
            assert!(is_shop_window(Some(query)), "{query}");
        }
        for query in [None, Some(""), Some("platform=unix&country=de"), Some("x=locale"), Some("locales=de")]
        {
            assert!(!is_shop_window(query), "{query:?}");
        }
    }
}
