//! Who may do what on the admin port, and from where.

use std::path::PathBuf;

use http::HeaderName;
use ipnet::IpNet;

use super::ConfigError;
use super::layers::Layers;
use crate::given::Given;

/// Access to the page and the API of the admin port. By default everybody may read and nobody may edit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminAccess {
    /// File with the tokens of editors and viewers; without one nobody may edit.
    pub tokens: Option<Given<PathBuf>>,
    /// True if the admin port is served over TLS.
    pub tls: bool,
    /// Host names, in small letters, under which it may be asked besides addresses and localhost.
    pub hosts: Vec<String>,
    /// Users that a proxy in front names.
    pub user_header: Option<UserHeader>,
}

/// Header field in which some proxies name the user whom they have signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserHeader {
    pub name: HeaderName,
    /// Peers from which it counts.
    pub trusted: Vec<IpNet>,
}

impl AdminAccess {
    /// Checks the settings; `has_certificate` is true if the service port has one.
    ///
    /// # Errors
    /// If a setting lacks another that it needs.
    pub(super) fn load(layers: &Layers, has_certificate: bool) -> Result<Self, ConfigError> {
        let wrong = |at, message: String| Err(ConfigError::Value { at, message });
        let tls = layers.pick("--admin-tls", |settings| settings.admin_tls);
        if let Some(Given { value: true, source }) = &tls
            && !has_certificate
        {
            return wrong(source.clone(), "needs --tls-cert and --tls-key".to_owned());
        }
        let header = layers.pick("--admin-user-header", |settings| settings.admin_user_header.clone());
        let trusted = layers.list("--admin-trusted-proxy", |settings| &settings.admin_trusted_proxy);
        let user_header = match (header, trusted) {
            (None, None) => None,
            (Some(name), trusted) => match (name.value.trim().parse(), trusted) {
                (Err(_), _) => {
                    return wrong(name.source, format!("{:?} is no name of a header field", name.value));
                }
                // SECURITY: without it anybody could say who they are.
                (Ok(_), None) => return wrong(name.source, "needs --admin-trusted-proxy".to_owned()),
                (Ok(name), Some(trusted)) => Some(UserHeader { name, trusted: trusted.value }),
            },
            (None, Some(trusted)) => return wrong(trusted.source, "needs --admin-user-header".to_owned()),
        };
        Ok(Self {
            tokens: layers.path("--admin-tokens", |settings| settings.admin_tokens.as_ref()),
            tls: tls.is_some_and(|tls| tls.value),
            hosts: layers
                .list("--admin-host", |settings| &settings.admin_host)
                .map(|hosts| hosts.value)
                .unwrap_or_default(),
            user_header,
        })
    }
}
