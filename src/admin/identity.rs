//! Who asks, and what they may do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use headers::authorization::{Basic, Bearer};
use headers::{Authorization, HeaderMapExt};
use http::{HeaderMap, header};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::warn;

use super::problem::ApiProblem;
use super::tokens::{AdminTokens, Person, Role, WatchedTokens};
use crate::config::{AdminAccess, UserHeader};
use crate::printable::escaped;
use crate::proxy::trust::Trusted;

/// How long the answer to a wrong token is held: nobody tries many.
const FAILURE_PAUSE: Duration = Duration::from_millis(250);
/// Most answers that are held at once. With the pause it bounds how many tokens anybody can try a second; right ones
/// are never held.
const MAX_HELD_FAILURES: usize = 64;

/// Decides who may read and who may edit.
#[derive(Debug)]
pub(super) struct Gate {
    /// Without tokens everybody may read, and nobody may edit.
    tokens: Option<Arc<WatchedTokens>>,
    user_header: Option<UserHeader>,
    /// Proxies in front, which name the address for which they ask.
    trusted: Trusted,
    held: Semaphore,
}

/// What the credentials of a request say.
#[derive(Debug, PartialEq, Eq)]
enum Caller {
    /// There are none.
    Nobody,
    /// They are of nobody.
    Wrong,
    Person(Person),
}

/// Part of the API by what reading it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing, unless the tokens file has viewers.
    Reading,
    /// A token, as soon as there is a tokens file.
    Token,
}

impl Gate {
    pub(super) fn new(access: &AdminAccess, tokens: Option<Arc<WatchedTokens>>) -> Self {
        let user_header = access.user_header.clone();
        let networks = user_header.as_ref().map(|header| header.trusted.clone()).unwrap_or_default();
        Self { tokens, user_header, trusted: Trusted::new(networks), held: Semaphore::new(MAX_HELD_FAILURES) }
    }

    /// Returns the address for which a peer asks.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.trusted.client(peer, headers)
    }

    /// Returns why nobody may edit, if nobody may.
    pub(super) fn locked(&self) -> Option<&'static str> {
        match &self.tokens {
            None => Some("editing is off: the proxy was started without --admin-tokens"),
            Some(tokens) if tokens.current().error.is_some() => {
                Some("editing is off: the file of --admin-tokens cannot be used; the log says why")
            }
            Some(_) => None,
        }
    }

    /// Returns true if reading needs a token.
    pub(super) fn is_reading_restricted(&self) -> bool {
        self.tokens.as_ref().is_some_and(|tokens| tokens.current().has_viewers)
    }

    /// Returns who asks, for information only: wrong credentials are those of nobody.
    ///
    /// # Errors
    /// If too many wrong tokens are held.
    pub(super) async fn person(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<Option<Person>, ApiProblem> {
        match self.caller(peer, headers) {
            Caller::Person(person) => Ok(Some(person)),
            Caller::Nobody => Ok(None),
            Caller::Wrong => self.hold(peer, headers).await.map(|()| None),
        }
    }

    /// Checks that a request may read.
    ///
    /// # Errors
    /// If it may not.
    pub(super) async fn admit_reader(
        &self,
        needs: Needs,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<(), ApiProblem> {
        let is_open = match needs {
            Needs::Reading => !self.is_reading_restricted(),
            Needs::Token => self.tokens.is_none(),
        };
        // A reverse proxy may pass on credentials that are meant for itself.
        if is_open {
            return Ok(());
        }
        let person = self.known(peer, headers).await?;
        match person.role {
            Some(_) => Ok(()),
            None => Err(ApiProblem::forbidden(format!(
                "{} is in neither [viewers] nor [editors]",
                escaped(&person.name)
            ))),
        }
    }

    /// Returns the editor who asks.
    ///
    /// # Errors
    /// If it is none.
    pub(super) async fn admit_editor(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Person, ApiProblem> {
        if let Some(reason) = self.locked() {
            return Err(ApiProblem::forbidden(reason));
        }
        let person = self.known(peer, headers).await?;
        match person.role {
            Some(Role::Editor) => Ok(person),
            Some(Role::Viewer) | None => {
                Err(ApiProblem::forbidden(format!("{} is not in [editors]", escaped(&person.name))))
            }
        }
    }

    /// Returns who asks, if credentials say so.
    async fn known(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Person, ApiProblem> {
        match self.caller(peer, headers) {
            Caller::Person(person) => Ok(person),
            Caller::Nobody => Err(ApiProblem::unauthorized()),
            Caller::Wrong => {
                self.hold(peer, headers).await?;
                Err(ApiProblem::unauthorized())
            }
        }
    }

    /// Holds the answer to wrong credentials.
    async fn hold(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), ApiProblem> {
        let Ok(_place) = self.held.try_acquire() else { return Err(ApiProblem::too_many_failures()) };
        // SECURITY: never the token, which may be the right one with a typo.
        warn!(client.addr = %self.client(peer, headers), "a wrong token on the admin port");
        sleep(FAILURE_PAUSE).await;
        Ok(())
    }

    fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Caller {
        let Some(tokens) = &self.tokens else { return Caller::Nobody };
        let tokens = tokens.current();
        // A right token first: who has one may act in its name, whatever a proxy in front says.
        if let Some(person) = by_token(&tokens, headers) {
            return Caller::Person(person);
        }
        if let Some(name) = self.vouched_name(peer, headers) {
            return Caller::Person(tokens.vouched(&name));
        }
        match headers.contains_key(header::AUTHORIZATION) {
            true => Caller::Wrong,
            false => Caller::Nobody,
        }
    }

    /// Returns the user whom a trusted proxy names.
    fn vouched_name(&self, peer: IpAddr, headers: &HeaderMap) -> Option<String> {
        let header = self.user_header.as_ref().filter(|_| self.trusted.contains(peer))?;
        let mut values = headers.get_all(&header.name).iter();
        // SECURITY: of two, one may be the client's own.
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let name = std::str::from_utf8(value.as_bytes()).ok()?.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }
}

/// Returns whose token a request has, as `Bearer`, or as `Basic` with the name as user.
fn by_token(tokens: &AdminTokens, headers: &HeaderMap) -> Option<Person> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(_), None) = (fields.next(), fields.next()) else { return None };
    if let Some(Authorization(bearer)) = headers.typed_get::<Authorization<Bearer>>() {
        return tokens.person(bearer.token());
    }
    let Authorization(basic) = headers.typed_get::<Authorization<Basic>>()?;
    tokens.person(basic.password()).filter(|person| person.name == basic.username())
}

#[cfg(test)]
mod tests;
