//! Who may do what on the admin port, and from where.

use std::path::PathBuf;

use http::HeaderName;
use ipnet::IpNet;

use super::layers::Layers;
use super::mistake::ConfigMistake;
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
    /// Checks the settings; `has_certificate` is true if the service port has one. A setting that lacks another that it
    /// needs is one of the `mistakes`.
    pub(super) fn load(layers: &Layers, has_certificate: bool, mistakes: &mut Vec<ConfigMistake>) -> Self {
        let mut wrong = |at, message: &str| mistakes.push(ConfigMistake::new(at, message));
        let tls = layers.pick("--admin-tls", |settings| settings.admin_tls);
        if let Some(Given { value: true, source }) = &tls
            && !has_certificate
        {
            wrong(source.clone(), "needs --tls-cert and --tls-key");
        }
        let header = layers.pick("--admin-user-header", |settings| settings.admin_user_header.clone());
        let name = header.as_ref().and_then(|name| match name.value.trim().parse::<HeaderName>() {
            Ok(parsed) => Some(parsed),
            Err(_) => {
                wrong(name.source.clone(), &format!("{:?} is no name of a header field", name.value));
                None
            }
        });
        let trusted = layers.list("--admin-trusted-proxy", |settings| &settings.admin_trusted_proxy);
        match (&header, &trusted) {
            // SECURITY: without it anybody could say who they are.
            (Some(header), None) if !layers.is_given("--admin-trusted-proxy") => {
                wrong(header.source.clone(), "needs --admin-trusted-proxy")
            }
            (None, Some(trusted)) if !layers.is_given("--admin-user-header") => {
                wrong(trusted.source.clone(), "needs --admin-user-header")
            }
            _ => {}
        }
        let user_header =
            name.zip(trusted).map(|(name, trusted)| UserHeader { name, trusted: trusted.value });
        Self {
            tokens: layers.path("--admin-tokens", |settings| settings.admin_tokens.as_ref()),
            tls: tls.is_some_and(|tls| tls.value),
            hosts: layers
                .list("--admin-host", |settings| &settings.admin_host)
                .map(|hosts| hosts.value)
                .unwrap_or_default(),
            user_header,
        }
    }
}
