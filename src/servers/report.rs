//! What is told about servers, as JSON has it.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::SeenServer;
use super::judged::Standing;
use crate::report::FORMAT;
use crate::shops::ShopName;
use crate::wall_clock;

/// The servers that were answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServersReport {
    pub format: u32,
    pub servers: Vec<ServerRow>,
    /// One for each shop that has a list.
    pub counts: Vec<ServerCounts>,
    /// When counting began (RFC 3339).
    pub since: String,
}

/// One address that asked for one shop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRow {
    pub address: IpAddr,
    pub shop: String,
    pub state: ServerState,
    /// When its last complete answer ended (RFC 3339).
    pub last_seen: String,
    /// When the shop first decided otherwise after that (RFC 3339), if the server is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<String>,
}

/// Whether a server has what its shop decides now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    Current,
    Behind,
}

/// Servers of one shop by state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCounts {
    pub shop: String,
    pub current: usize,
    pub behind: usize,
    /// When the decisions of the shop view last changed, or the list was first loaded (RFC 3339).
    pub changed_at: String,
}

impl ServersReport {
    pub(super) fn new(seen: &[SeenServer], counts: Vec<ServerCounts>, since: SystemTime) -> Self {
        let (now, time) = (Instant::now(), wall_clock::now());
        let row = |server: &SeenServer| {
            let (state, behind_since) = match server.standing {
                Standing::Current => (ServerState::Current, None),
                Standing::Behind { since } => (ServerState::Behind, Some(rfc3339(since))),
            };
            let age = now.saturating_duration_since(server.seen);
            ServerRow {
                address: server.key.address,
                shop: server.key.shop.to_string(),
                state,
                last_seen: rfc3339(time.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)),
                behind_since,
            }
        };
        Self { format: FORMAT, servers: seen.iter().map(row).collect(), counts, since: rfc3339(since) }
    }
}

impl ServerCounts {
    pub(super) fn new(shop: &ShopName, changed_at: SystemTime) -> Self {
        Self { shop: shop.to_string(), current: 0, behind: 0, changed_at: rfc3339(changed_at) }
    }

    pub(super) fn add(&mut self, standing: Standing) {
        match standing {
            Standing::Current => self.current += 1,
            Standing::Behind { .. } => self.behind += 1,
        }
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
