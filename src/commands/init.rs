//! `init`: a whitelist to start from.

use std::collections::BTreeMap;

use super::CommandError;
use super::catalog_source::Listing;
use super::terminal::print;
use crate::cli::Init;
use crate::config::Config;
use crate::printable::{is_plain, printable};
use crate::seller::Seller;
use crate::stderr;

/// Explanation of the keys, at the beginning of the file.
const HEADING: &str = "\
# What customers see of the extensions that Plesk sells.
#
#   extensions  shown: in the shop, and to servers that look for updates
#   retired     out of the shop; servers that have it still get its updates
#   hidden      not shown at all, whoever sells it
#   unlisted    \"hidden\" or \"retired\": what an extension sold by Plesk is that no key names
#
# Codes are those of the catalog, exactly. A star at the end stands for any rest: \"offer-*\". An entry can be limited to
# days in UTC, both inclusive: { code = \"kolab\", from = 2026-12-01, until = 2027-01-31, note = \"winter offer\" }
# Free extensions, and those that vendors sell in shops of their own, are shown without an entry.
#
# The proxy reads the file again when it changes. `catalog-proxy check` finds mistakes, `catalog-proxy diff FILE` says what
# another file would change.
";

/// Prints a whitelist with every code that Plesk sells, commented out.
///
/// # Errors
/// If there is no catalog.
pub(crate) fn init(arguments: &Init) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let catalog = Listing::load(&arguments.sources, &config)?;
    let sold = sold_by_plesk(&catalog);
    print(&whitelist(&sold))?;
    stderr::message(format_args!(
        "{} extensions sold by Plesk, all commented out: take the # away from those that your shop sells",
        sold.len()
    ));
    Ok(())
}

/// Returns the names of the extensions sold by Plesk by their codes.
fn sold_by_plesk(catalog: &Listing) -> BTreeMap<&str, Option<&str>> {
    let sold = catalog.packages.iter().filter(|listed| listed.package.seller == Seller::Plesk);
    sold.filter_map(|listed| Some((listed.package.code.as_deref()?, listed.name.as_deref()))).collect()
}

/// Writes the file.
///
/// SECURITY: codes and names come from the network. None may end its comment, or the catalog decided what is shown.
fn whitelist(sold: &BTreeMap<&str, Option<&str>>) -> String {
    let mut text = format!("{HEADING}extensions = [\n");
    for (code, name) in sold {
        let name = name.map(|name| format!(" # {}", printable(name))).unwrap_or_default();
        text += &match code.contains('*') {
            // It would be read as a pattern.
            true => format!("  # cannot be listed for its star: {}{name}\n", quoted(code)),
            false => format!("  # {},{name}\n", quoted(code)),
        };
    }
    text + "]\n# retired = []\n# hidden = []\n# unlisted = \"hidden\"\n"
}

/// Writes a basic string of TOML on one line, with nothing in it that is not plain.
fn quoted(code: &str) -> String {
    let mut out = "\"".to_owned();
    for c in code.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if !is_plain(c) => out += &format!("\\U{:08X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{HostsKey, Policy};

    /// Returns the codes that a file lists.
    fn listed(text: &str) -> Vec<String> {
        let (policy, _) = Policy::parse(text.as_bytes(), HostsKey::Refused).expect(text);
        policy.entries().iter().map(|entry| entry.pattern.to_string()).collect()
    }

    proptest! {
        /// Whatever a catalog says, the file lists nothing, and without the marks exactly the catalog's codes.
        #[test]
        fn is_a_whitelist(packages in proptest::collection::btree_map(any::<String>(), any::<Option<String>>(), 0..5)) {
            let sold = packages.iter().map(|(code, name)| (code.as_str(), name.as_deref())).collect();
            let text = whitelist(&sold);
            prop_assert_eq!(listed(&text), Vec::<String>::new());
            let codes: Vec<_> = packages.keys().filter(|code| !code.contains('*')).cloned().collect();
            prop_assert_eq!(listed(&text.replace("\n  # \"", "\n  \"")), codes);
        }
    }
}
