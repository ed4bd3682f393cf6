//! Proxies in front of this one that may say for whom they ask.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of proxies in front of this one.
#[derive(Debug, Clone, Default)]
pub struct Trusted(Vec<IpNet>);

impl Trusted {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Returns true if an address belongs to one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns who asks: the last address that `X-Forwarded-For` names and none of the proxies has, for what
    /// stands before it may be invented.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let named = fields.flat_map(|field| field.to_str().unwrap_or_default().rsplit(','));
        for name in named {
            if !self.contains(client) {
                break;
            }
            match address(name.trim()) {
                Some(address) => client = address.to_canonical(),
                None => break,
            }
        }
        client
    }
}

/// Reads an address. Some proxies add the port (`192.0.2.1:4711`, `[2001:db8::1]:4711`), or brackets alone.
fn address(name: &str) -> Option<IpAddr> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse().ok().or_else(|| Some(name.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let trusted = Trusted::new(vec![
            "10.0.0.0/8".parse().expect("a network"),
            "2001:db8::/32".parse().expect("a network"),
        ]);
        let check = |peer: &str, fields: &[&str], expected: &str| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(X_FORWARDED_FOR, field.parse().expect("a value"));
            }
            let client = trusted.client(peer.parse().expect("an address"), &headers);
            assert_eq!(client.to_string(), expected, "{peer} {fields:?}");
        };
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.7,10.0.0.2 , 2001:db8::1"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9", "198.51.100.7", "10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["198.51.100.7:4711, 10.0.0.2:80"], "198.51.100.7");
        check("10.0.0.1", &["[2001:db9::7]:4711, [2001:db8::1]"], "2001:db9::7");
        check("10.0.0.1", &["198.51.100.7:x"], "10.0.0.1");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[""], "10.0.0.1");
        check("11.0.0.1", &["10.0.0.1"], "11.0.0.1");
    }
}
