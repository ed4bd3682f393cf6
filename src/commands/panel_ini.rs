//! `panel-ini`: the lines for Plesk's panel.ini, or the variables for its container.

use std::path::Path;

use url::Url;

use super::CommandError;
use super::shop_selection::named_shop;
use super::terminal::print;
use crate::cli::PanelIni;
use crate::shops::ShopName;
use crate::stderr;

/// Longest base URL to advise: Plesk's cache key holds 128 characters, and its longest catalog URL takes
/// 98 behind the base.
const MAX_BASE_URL_LEN: usize = 30;

/// Section of panel.ini that all lines are in.
const SECTION: &str = "extensions";

/// Prints the lines for panel.ini, or the variables.
///
/// # Errors
/// If Plesk cannot use one of the URLs, or there is no such shop.
pub(crate) fn panel_ini(arguments: &PanelIni) -> Result<(), CommandError> {
    let shop = arguments.shop.as_deref().map(|name| shop(name, arguments.shops.as_deref())).transpose()?;
    let shop = shop.unwrap_or(ShopName::default_shop());
    PanelSetting::new("catalog.url", "--url", arguments.url.trim_end_matches('/'))?;
    let base = base_url(&arguments.url, &shop);
    let mut settings = vec![PanelSetting::new("catalog.url", "--url", &base)?];
    if let Some(shop) = &arguments.buy_url {
        settings.push(PanelSetting::new("buyUrl", "--buy-url", shop)?);
    }
    print(&match arguments.env {
        true => settings.iter().map(PanelSetting::variable).collect::<String>(),
        false => format!("[{SECTION}]\n{}", settings.iter().map(PanelSetting::line).collect::<String>()),
    })?;
    for objection in objections(&base, &[shop]) {
        stderr::message(format_args!("warning: {base} {objection}"));
    }
    Ok(())
}

/// A setting in panel.ini.
struct PanelSetting<'a> {
    key: &'static str,
    value: &'a str,
}

/// Checks the name of a shop, whose file must be there if the directory is known.
fn shop(name: &str, directory: Option<&Path>) -> Result<ShopName, CommandError> {
    if name == ShopName::DEFAULT {
        return Ok(ShopName::default_shop());
    }
    if let Some(directory) = directory {
        return named_shop(name, directory);
    }
    ShopName::parse(name)
        .map_err(|error| CommandError::wrong(format!("{name:?}: {error}")).about("--shop".to_owned()))
}

/// Returns the base URL of a shop at a proxy's URL.
pub(super) fn base_url(url: &str, shop: &ShopName) -> String {
    // Plesk appends its paths, which begin with a slash.
    let url = url.trim_end_matches('/');
    if shop.is_default() { url.to_owned() } else { format!("{url}/{shop}") }
}

/// Returns what is wrong with a base URL that Plesk accepts. Its path may be the prefix of a shop.
pub(super) fn objections(base: &str, shops: &[ShopName]) -> Vec<String> {
    let mut objections = Vec::new();
    if base.len() > MAX_BASE_URL_LEN {
        let len = base.len();
        objections.push(format!(
            "has {len} characters; with more than {MAX_BASE_URL_LEN}, Plesk may mix up its cached answers"
        ));
    }
    let Ok(url) = Url::parse(base) else { return objections };
    if url.query().is_some() || url.fragment().is_some() {
        objections
            .push("has a query or fragment: Plesk appends paths like /api/v4/packages to it".to_owned());
    }
    let is_prefix = |path: &str| shops.iter().any(|shop| !shop.is_default() && path == shop.as_str());
    if url.path() != "/" && !url.path().strip_prefix('/').is_some_and(is_prefix) {
        objections.push(
            "has a path: Plesk appends its own, and the proxy expects none before it but a shop's prefix (--shop)"
                .to_owned(),
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        objections
            .push("names a user: the proxy asks for none, and whoever reads panel.ini sees it".to_owned());
    }
    objections
}

/// Returns true if a value is an HTTP URL that can be written in panel.ini.
pub(super) fn is_usable(value: &str) -> bool {
    let is_url =
        Url::parse(value).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // Quotes would end the value, a dollar sign would begin a variable.
    is_url && !value.chars().any(|c| matches!(c, '"' | '$' | '\\') || c.is_control() || c == ' ')
}

impl<'a> PanelSetting<'a> {
    /// Checks a URL that a flag gave.
    ///
    /// # Errors
    /// If panel.ini cannot have it.
    fn new(key: &'static str, flag: &str, value: &'a str) -> Result<Self, CommandError> {
        match is_usable(value) {
            true => Ok(Self { key, value }),
            false => Err(CommandError::wrong(format!(
                "{flag}: {value:?} is not an http or https URL for panel.ini"
            ))),
        }
    }

    /// Writes it as a line of panel.ini.
    fn line(&self) -> String {
        let Self { key, value } = self;
        let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || ":/._-".contains(c));
        if plain { format!("{key} = {value}\n") } else { format!("{key} = \"{value}\"\n") }
    }

    /// Writes it as a variable of Plesk's container. In files of variables, quotes are a part of the value.
    fn variable(&self) -> String {
        format!("PLESK_CONFIG__{SECTION}__{}={}\n", self.key.replace('.', "__"), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_may_have_the_prefix_of_a_shop() {
        let shops = ["gold", "exactly-16-chars"].map(|name| ShopName::parse(name).expect("a name"));
        let check = |base: &str, expected: &[&str]| {
            let objections = objections(base, &shops);
            assert_eq!(objections.len(), expected.len(), "{base}: {objections:?}");
            for (objection, part) in objections.iter().zip(expected) {
                assert!(objection.starts_with(part), "{base}: {objection}");
            }
        };
        check("http://10.20.30.40:8080/gold", &[]);
        check("http://proxy:8080", &[]);
        check("http://proxy:8080/silver", &["has a path"]);
        check("http://proxy:8080/default", &["has a path"]);
        check("http://proxy:8080/gold/", &["has a path"]);
        check("http://10.20.30.40:8080/exactly-16-chars", &["has 40 characters; with more than 30"]);
        assert_eq!(base_url("http://proxy:8080//", &shops[0]), "http://proxy:8080/gold");
        assert_eq!(base_url("http://proxy:8080/", &ShopName::default_shop()), "http://proxy:8080");
    }

    #[test]
    fn quotes_what_ini_would_misread() {
        let check = |value: &str, expected: Option<&str>| {
            let line = PanelSetting::new("k", "--k", value).ok().map(|setting| setting.line());
            assert_eq!(line.as_deref(), expected, "{value}");
        };
        check("http://proxy:8080", Some("k = http://proxy:8080\n"));
        check("https://shop.example/buy?ext=1&x=(y)", Some("k = \"https://shop.example/buy?ext=1&x=(y)\"\n"));
        check("https://shop.example/;x", Some("k = \"https://shop.example/;x\"\n"));
        check("shop.example", None);
        check("ftp://shop.example", None);
        check("https://shop.example/\"x", None);
        check("https://shop.example/\nx = y", None);
        check("https://shop.example/${HOME}", None);
    }
}
