//! What is wrong with the shops' files and hosts as a whole.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{MAX_SHOPS, Shop, ShopName, ShopNameError};
use crate::printable::{escaped, joined};

/// Something wrong with a file's name, a host or the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShopNotice {
    /// A file of the directory is no shop.
    NotServed { path: PathBuf, reason: NotServed },
    /// Several shops claim a host.
    Disputed { host: String, claims: Vec<ShopName>, paths: Vec<PathBuf> },
    /// The directory cannot be read any more.
    Directory { path: PathBuf, reason: String },
}

/// Why a file is no shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    #[error(transparent)]
    Name(#[from] ShopNameError),
    #[error("there are {MAX_SHOPS} shops already")]
    TooMany,
}

impl fmt::Display for ShopNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed { path, reason } => {
                write!(f, "{}: not served: {reason}", escaped(&path.display().to_string()))
            }
            Self::Disputed { host, paths, .. } => {
                let paths: Vec<_> = paths.iter().map(|path| path.display()).collect();
                write!(
                    f,
                    "the host {host} is claimed by {}, so feeds on it are refused (503)",
                    joined(&paths)
                )
            }
            Self::Directory { path, reason } => {
                write!(f, "cannot read the shops' directory {}: {reason}", path.display())
            }
        }
    }
}

/// Returns a notice for each host that several shops claim, sorted by host.
pub(super) fn disputes(
    shops: &BTreeMap<ShopName, Arc<Shop>>,
    hosts: &HashMap<String, Vec<ShopName>>,
) -> Vec<ShopNotice> {
    let mut disputed: Vec<_> = hosts.iter().filter(|(_, claims)| claims.len() > 1).collect();
    disputed.sort_unstable();
    let notice = |(host, claims): (&String, &Vec<ShopName>)| ShopNotice::Disputed {
        host: host.clone(),
        claims: claims.clone(),
        paths: claims.iter().filter_map(|name| Some(shops.get(name)?.path.clone())).collect(),
    };
    disputed.into_iter().map(notice).collect()
}
