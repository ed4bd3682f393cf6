//! Hides what may be a secret in the text of a configuration file that a message shows.

use crate::cli::SettingKey;

/// What stands for each character that is hidden.
const MASK: &str = "*";
/// Least likeness of a key to that of a secret (Jaro-Winkler, 0 to 1), so that a misspelt one is hidden as well.
const MIN_LIKENESS: f64 = 0.8;

/// Hides the values of secret settings, and of all URLs what is behind the host and who the user is. All other bytes stay
/// where they are.
///
/// SECURITY: messages end in logs, and the line that is wrong is the line that holds the secret.
pub(super) fn hidden(text: &str, keys: &[SettingKey]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_in_secret = None::<&str>;
    for line in text.split_inclusive('\n') {
        if let Some(closing) = is_in_secret {
            is_in_secret = is_in_secret.filter(|_| !line.contains(closing));
            out.push_str(&masked(line));
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']).filter(|(key, _)| is_like_secret(key, keys))
        else {
            out.push_str(&without_secrets_in_urls(line));
            continue;
        };
        is_in_secret = ["\"\"\"", "'''"].into_iter().find(|quotes| value.matches(quotes).count() == 1);
        out.push_str(key);
        out.push_str(&line[key.len()..=key.len()]);
        out.push_str(&masked(value));
    }
    out
}

/// Hides all values of a file that has only secrets. All other bytes stay where they are.
pub fn hidden_values(text: &str) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some((key, value)) => format!("{key}={}", masked(value)),
        None => masked(line),
    };
    text.split_inclusive('\n').map(line).collect()
}

fn is_like_secret(key: &str, keys: &[SettingKey]) -> bool {
    let typed = key.trim().trim_matches(['"', '\'']).to_lowercase();
    let is_other = keys.iter().any(|key| key.name == typed && !key.is_secret());
    let mut secrets = keys.iter().filter(|key| key.is_secret());
    !is_other && secrets.any(|secret| strsim::jaro_winkler(&typed, &secret.name) >= MIN_LIKENESS)
}

fn masked(text: &str) -> String {
    let mask = |c: char| match c {
        '\n' | '\r' | ' ' | '\t' | '"' | '\'' | '\u{201c}'..='\u{201e}' => c.to_string(),
        // As many bytes as before, so that places stay where they are.
        c => MASK.repeat(c.len_utf8()),
    };
    text.chars().map(mask).collect()
}

/// Hides of all URLs in a line what is behind the host, and who the user is.
pub(super) fn without_secrets_in_urls(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, url)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let is_end = |c: char| {
            c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | ']' | '\u{201c}'..='\u{201e}')
        };
        let url_len = url.find(is_end).unwrap_or(url.len());
        let (url, after) = url.split_at(url_len);
        let host = url.rfind('@').map_or(0, |at| at + 1);
        let host_len = url[host..].find(['/', '?', '#']).map_or(url.len() - host, |at| at + 1);
        out.push_str(&masked(&url[..host]));
        out.push_str(&url[host..host + host_len]);
        out.push_str(&masked(&url[host + host_len..]));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_can_be_hidden() {
        let text = "[editors]\nbob = \"s3cret\"\ns3cret\n";
        assert_eq!(hidden_values(text), "*********\nbob = \"******\"\n******\n");
    }

    #[test]
    fn secrets_are_hidden_and_places_stay() {
        let check = |text: &str, expected: &str| {
            assert_eq!(hidden(text, &SettingKey::all()), expected, "{text:?}");
            assert_eq!(expected.len(), text.len(), "{text:?}");
        };
        check("listen = \":1\" # x\n", "listen = \":1\" # x\n");
        check("notify-url = \"hooks/é\"\nlog-level = 'x'", "notify-url = \"********\"\nlog-level = 'x'");
        check("notfy_url: “x”\r\n", "notfy_url: “*”\r\n");
        check("\"notify-url\" = 1", "\"notify-url\" = *");
        check("notify-url = \"\"\"\na\nb\"\"\"\nc", "notify-url = \"\"\"\n*\n*\"\"\"\nc");
        check("notify-url = '''a'''\nc", "notify-url = '''*'''\nc");
        check("upstream = \"https://a:b@c.example\"", "upstream = \"https://****c.example\"");
        check("x = ['https://a.example/s?k', 'http://b']", "x = ['https://a.example/***', 'http://b']");
        check("hook = https://a.example#s", "hook = https://a.example#*");
    }
}
