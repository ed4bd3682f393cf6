//! `NO_PROXY`: the hosts that are reached without a proxy.
//!
//! Where curl and Go agree, so do we; where they differ, what either takes for an exception is one here, but for two
//! things: `*.example.com` does not hold for `example.com` itself (Go; curl has no stars), and `.example.com` does (curl).

use std::net::IpAddr;

use ipnet::IpNet;

/// Host, or hosts, that are connected to directly.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exempt {
    All,
    Network(IpNet),
    /// A host, and all names below it unless `only_below` is true.
    Name {
        name: String,
        only_below: bool,
    },
}

/// The hosts of `NO_PROXY`, each with the one port that it holds for, if it names one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NoProxy(Vec<(Exempt, Option<u16>)>);

impl NoProxy {
    /// Reads a list with commas or blanks. What is no host is passed over, as others do.
    pub(super) fn parse(text: &str) -> Self {
        Self(
            text.split([',', ' ', '\t', '\r', '\n'])
                .filter(|entry| !entry.is_empty())
                .filter_map(entry)
                .collect(),
        )
    }

    /// Returns true if a host is reached without a proxy. An IPv6 address has its brackets.
    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let address = unbracketed(&name).parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let matches = |exempt: &Exempt| match (exempt, address) {
            (Exempt::All, _) => true,
            (Exempt::Network(network), Some(address)) => network.contains(&address),
            (Exempt::Name { name: suffix, only_below }, None) => {
                let rest = name.strip_suffix(suffix.as_str());
                rest.is_some_and(|rest| rest.ends_with('.') || rest.is_empty() && !only_below)
            }
            _ => false,
        };
        self.0.iter().any(|(exempt, only)| only.is_none_or(|only| only == port) && matches(exempt))
    }
}

fn entry(text: &str) -> Option<(Exempt, Option<u16>)> {
    if text == "*" {
        return Some((Exempt::All, None));
    }
    if let Some(network) = network(text) {
        return Some((Exempt::Network(network), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    if let Some(network) = network(host) {
        return Some((Exempt::Network(network), port));
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let (name, only_below) = match host.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (host.trim_start_matches('.'), false),
    };
    let is_name = !name.is_empty() && !name.contains(['*', '/', '[', ']', ':', '@']);
    is_name.then(|| (Exempt::Name { name: name.to_owned(), only_below }, port))
}

/// Reads a network, or an address as a network of one.
fn network(text: &str) -> Option<IpNet> {
    let address = unbracketed(text).parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    address.or_else(|_| text.parse()).ok()
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read_as_others_read_them() {
        let check = |list: &str, host: &str, port: u16, expected: bool| {
            assert_eq!(NoProxy::parse(list).contains(host, port), expected, "{host}:{port} of {list:?}");
        };
        // Names, and all below them.
        check("", "plesk.com", 443, false);
        check("plesk.com", "plesk.com", 443, true);
        check("plesk.com", "ext.plesk.com", 443, true);
        check("plesk.com", "notplesk.com", 443, false);
        check("PLESK.com.", "ext.plesk.COM", 443, true);
        check("plesk.com", "plesk.com.", 443, true);
        check(".plesk.com", "ext.plesk.com", 443, true);
        check(".plesk.com", "plesk.com", 443, true);
        check("*.plesk.com", "ext.plesk.com", 443, true);
        check("*.plesk.com", "a.ext.plesk.com", 443, true);
        check("*.plesk.com", "plesk.com", 443, false);
        check("*.plesk.com", "notplesk.com", 443, false);
        check("*plesk.com", "ext.plesk.com", 443, false);
        check("ext.*", "ext.plesk.com", 443, false);
        // Lists.
        check("a.example, plesk.com", "plesk.com", 443, true);
        check("a.example plesk.com", "plesk.com", 443, true);
        check(" a.example,\tb.example\n", "b.example", 443, true);
        check(",,", "plesk.com", 443, false);
        check("*", "plesk.com", 443, true);
        check("a.example,*", "192.0.2.7", 443, true);
        // Ports.
        check("plesk.com:443", "ext.plesk.com", 443, true);
        check("plesk.com:443", "ext.plesk.com", 8443, false);
        check("*.plesk.com:8443", "ext.plesk.com", 8443, true);
        check("plesk.com:https", "plesk.com", 443, false);
        check("192.0.2.7:80", "192.0.2.7", 80, true);
        check("192.0.2.7:80", "192.0.2.7", 443, false);
        // Addresses and networks.
        check("192.0.2.7", "192.0.2.7", 443, true);
        check("192.0.2.7", "192.0.2.70", 443, false);
        check("192.0.2", "192.0.2.7", 443, false);
        check("2.7", "192.0.2.7", 443, false);
        check("192.0.2.0/24", "192.0.2.7", 443, true);
        check("192.0.2.0/24", "192.0.3.7", 443, false);
        check("0.0.0.0/0", "[::1]", 443, false);
        check("::1", "[::1]", 443, true);
        check("[::1]", "[::1]", 443, true);
        check("[::1]:443", "[::1]", 443, true);
        check("[::1]:443", "[::1]", 8443, false);
        check("[0:0::1]", "[::1]", 443, true);
        check("2001:db8::/32", "[2001:db8::7]", 443, true);
        check("2001:db8::/32", "[2001:db9::7]", 443, false);
        check("10.0.0.0/99", "10.0.0.1", 443, false);
        check("192.0.2.7", "[::ffff:192.0.2.7]", 443, true);
        check("10.0.0.0/8", "ten.example", 443, false);
        check("http://plesk.com", "plesk.com", 443, false);
    }
}
