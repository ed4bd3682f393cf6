//! `token`: a new token for the admin port, and its line for the file of `--admin-tokens`.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::CommandError;
use super::terminal::print;
use crate::admin::tokens::{DIGEST_PREFIX, check_name};
use crate::hex::hex;
use crate::stderr;

/// Characters of a token: all can stand in a URL and a header field.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Length of a token. 43 characters of 6 bits are more than 256 bits.
const TOKEN_LEN: usize = 43;

/// Prints a token, which is kept nowhere, and the line with its digest.
///
/// # Errors
/// If the name can be none, or the system gives no random numbers.
pub(crate) fn token(name: &str) -> Result<(), CommandError> {
    check_name(name).map_err(|reason| CommandError::wrong(format_args!("{name:?}: {reason}")))?;
    let token = new_token()?;
    print(&format!("{token}\n{}\n", line(name, &token)))?;
    stderr::message(
        "The first line is the token: give it to its owner, it is kept nowhere. The second line goes into the file of \
         --admin-tokens, under [editors] or [viewers].",
    );
    Ok(())
}

/// Makes a token.
///
/// # Errors
/// If the system gives no random numbers.
pub(super) fn new_token() -> Result<String, CommandError> {
    let mut bytes = [0; TOKEN_LEN];
    let random = SystemRandom::new();
    random.fill(&mut bytes).map_err(|_| CommandError::failed("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect())
}

/// Returns the line of a tokens file.
pub(super) fn line(name: &str, token: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let key = if is_bare { name.to_owned() } else { toml_string(name) };
    format!("{key} = \"{DIGEST_PREFIX}{}\"", hex(digest(&SHA256, token.as_bytes()).as_ref()))
}

/// Writes a name as a TOML string. It has no control characters.
fn toml_string(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_the_name_that_it_is_for() {
        for name in ["alice", "a b", "Jörg \"J\" \\ x", "a.b", "a@b.example"] {
            let file: std::collections::BTreeMap<String, String> =
                toml::from_str(&line(name, "t")).expect("a line");
            assert!(file[name].starts_with("sha256:e3b98a4da31a127d"), "{file:?}");
        }
    }
}
