//! The files of all shops: the one of `--whitelist`, and those in the directory of `--shops`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::hosts::hosts;
use super::log::{log_failure, log_shop};
use super::notice::{NotServed, ShopNotice, disputes};
use super::{LoadedList, Shop, ShopName, Shops, WatchedShops};
use crate::digest::{Digest, FileDigest};
use crate::reloading::{FileContents, Parsed, Part, Reloadable, Reloading, Settle};
use crate::wall_clock;
use crate::watch::{self, Check};
use crate::whitelist::load::{self, LoadError, MAX_FILE_SIZE};
use crate::whitelist::mount;

/// Most shops in the directory: more brands than any operator that we know of has.
pub const MAX_SHOPS: usize = 64;

/// Time that valid files must stay unchanged before they are taken: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(30);

/// Time that a broken or missing file must stay so before it is reported: it may be half-written, or between an
/// editor's backup and its new file.
const SETTLE_BROKEN: Duration = Duration::from_millis(250);

/// Where the whitelists are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShopFiles {
    /// File of the shop at `/`, if there is one.
    pub default: Option<PathBuf>,
    /// Directory with a file for each other shop, if there is one.
    pub directory: Option<PathBuf>,
}

/// Why there are no shops to start with.
#[derive(Debug, thiserror::Error)]
pub enum ShopsError {
    /// The whitelist of the shop at `/` cannot be loaded.
    #[error(transparent)]
    Whitelist(#[from] LoadError),
    /// The directory cannot be read.
    #[error("cannot read the shops' directory {}: {reason}", path.display())]
    Directory {
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// No shop has a good list.
    #[error("no shop has a whitelist that can be used{}", error.as_ref().map(|error| format!(": {error}")).unwrap_or_default())]
    NoneGood {
        /// What is wrong with the first.
        error: Option<Arc<LoadError>>,
    },
}

/// Loads all shops for the first time.
///
/// # Errors
/// If the file of the shop at `/` or the directory cannot be used, or no list is good.
pub fn load(files: ShopFiles) -> Result<Arc<WatchedShops>, ShopsError> {
    let default = files.default.clone();
    let shops = Reloading::load(files)?;
    if let Some(path) = default.filter(|path| mount::is_mount_point(path)) {
        warn!(path = %path.display(), "the whitelist file is itself a mount point, so edits that \
              replace the file will not be seen: mount its directory instead");
    }
    Ok(shops)
}

/// Reads all shops once, to look at them: none of them has to be good.
///
/// # Errors
/// If the directory cannot be read.
pub fn inspect(files: &ShopFiles) -> Result<Shops, ShopsError> {
    let content = FileContents { parts: &Shops::read(files), last: None, check: Check::IfChanged };
    Shops::assemble(files, content).map(|parsed| parsed.value)
}

/// Returns shops of made-up texts.
pub(super) fn of_texts(default: Option<&str>, named: &[(&str, &str)]) -> Result<Shops, ShopsError> {
    let files =
        ShopFiles { default: default.map(|_| "whitelist.toml".into()), directory: Some("shops".into()) };
    let part = |text: &str| Ok(text.as_bytes().to_vec());
    let listing = named.iter().map(|(name, _)| format!("{name}.toml")).collect::<Vec<_>>().join("\n");
    let mut parts: Vec<Part> = default.map(part).into_iter().collect();
    parts.push(Ok(listing.into_bytes()));
    parts.extend(named.iter().map(|(_, text)| part(text)));
    let content = FileContents { parts: &parts, last: None, check: Check::IfChanged };
    Shops::parse(&files, content).map(|parsed| parsed.value)
}

/// The files as they were read.
struct ShopTexts<'a> {
    default: Option<(&'a PathBuf, &'a Part)>,
    /// Names and contents of the files in the directory, or why it cannot be listed.
    named: Result<Vec<(&'a str, &'a Part)>, &'a String>,
}

impl<'a> ShopTexts<'a> {
    /// Takes the parts apart as [`Shops::read`] has put them together.
    fn of(files: &'a ShopFiles, parts: &'a [Part]) -> Self {
        let mut parts = parts.iter();
        let default = files.default.as_ref().and_then(|path| Some((path, parts.next()?)));
        let named = match (&files.directory, files.directory.as_ref().and_then(|_| parts.next())) {
            (Some(_), Some(Ok(listing))) => {
                let names = std::str::from_utf8(listing).unwrap_or_default().lines();
                Ok(names.zip(parts).collect())
            }
            (Some(_), Some(Err(reason))) => Err(reason),
            _ => Ok(Vec::new()),
        };
        Self { default, named }
    }
}

impl Reloadable for Shops {
    type Origin = ShopFiles;
    type Error = ShopsError;
    const NAME: &'static str = "whitelist";
    const SETTLE: Settle = Settle { good: SETTLE, broken: SETTLE_BROKEN };

    fn files(files: &ShopFiles) -> Vec<PathBuf> {
        // Any file in the directory stands for all of them.
        let directory = files.directory.as_ref().map(|directory| directory.join("shop.toml"));
        files.default.iter().cloned().chain(directory).collect()
    }

    /// Reads the content of the shop at `/`, then the listing of the directory, then what it lists.
    fn read(files: &ShopFiles) -> Vec<Part> {
        let mut parts: Vec<Part> =
            files.default.iter().map(|path| watch::read(path, MAX_FILE_SIZE)).collect();
        if let Some(directory) = &files.directory {
            match names(directory) {
                Ok(names) => {
                    parts.push(Ok(names.join("\n").into_bytes()));
                    parts.extend(names.iter().map(|name| watch::read(&directory.join(name), MAX_FILE_SIZE)));
                }
                Err(reason) => parts.push(Err(reason)),
            }
        }
        parts
    }

    fn parse(files: &ShopFiles, content: FileContents<'_, Self>) -> Result<Parsed<Self>, ShopsError> {
        let is_first = content.last.is_none();
        let parsed = Self::assemble(files, content)?;
        if is_first {
            refuse_to_start(&parsed.value.shops)?;
        }
        Ok(parsed)
    }

    fn log_loaded(_: &ShopFiles, before: Option<&Self>, now: &Self) {
        let Some(before) = before else {
            now.all().for_each(|shop| log_failure(None, shop));
            return;
        };
        for shop in now.all() {
            let old = before.shops.get(&shop.name);
            if old.is_none_or(|old| !Arc::ptr_eq(old, shop)) {
                log_shop(old.map(|old| &**old), shop);
            }
        }
        for shop in before.all().filter(|shop| !now.shops.contains_key(&shop.name)) {
            info!(shop = %shop.name, path = %shop.path.display(), "shop forgotten: its file is gone");
        }
    }
}

impl Shops {
    /// Puts the shops together, whether any of them is good or not.
    ///
    /// # Errors
    /// If the directory cannot be read the first time.
    fn assemble(files: &ShopFiles, content: FileContents<'_, Self>) -> Result<Parsed<Self>, ShopsError> {
        let FileContents { parts, last, check } = content;
        let read = ShopTexts::of(files, parts);
        let load = last.map_or(0, |last| last.load) + 1;
        let mut draft =
            NextShops { last, load, check, shops: BTreeMap::new(), warnings: Vec::new(), is_partial: false };
        let mut notices = Vec::new();
        if let Some((path, content)) = read.default {
            draft.add(ShopName::default_shop(), path.clone(), content);
        }
        let directory = files.directory.clone().unwrap_or_default();
        match &read.named {
            Ok(named) => {
                let listed = shops_of(named, &directory, last, &mut notices);
                for (name, content) in listed {
                    let path = directory.join(format!("{name}.toml"));
                    draft.add(name, path, content);
                }
                draft.keep_gone();
            }
            Err(reason) if last.is_none() => {
                return Err(ShopsError::Directory { path: directory, reason: (*reason).clone() });
            }
            Err(reason) => {
                notices.push(ShopNotice::Directory { path: directory, reason: (*reason).clone() });
                draft.is_partial |= last.is_some_and(|last| last.directory_error.as_ref() != Some(reason));
                draft.keep_all();
            }
        }
        let NextShops { shops, mut warnings, is_partial, .. } = draft;
        let hosts = hosts(&shops);
        notices.extend(disputes(&shops, &hosts));
        let known = last.map_or(&[][..], |last| &last.notices);
        warnings.extend(notices.iter().filter(|notice| !known.contains(notice)).map(ShopNotice::to_string));
        let directory_error = read.named.err().cloned();
        Ok(Parsed { value: Self { shops, hosts, load, directory_error, notices }, warnings, is_partial })
    }
}

/// Shops as they will be, in the making.
struct NextShops<'a> {
    last: Option<&'a Shops>,
    load: u64,
    check: Check,
    shops: BTreeMap<ShopName, Arc<Shop>>,
    warnings: Vec<String>,
    /// True if a file is newly broken, or gone.
    is_partial: bool,
}

impl NextShops<'_> {
    /// Adds a shop whose file is there. It stays as it was if the file is, and keeps the last good list if that is broken.
    fn add(&mut self, name: ShopName, path: PathBuf, content: &Part) {
        let last = self.last.and_then(|last| last.shops.get(&name));
        let digest = content.as_ref().map(|bytes| Digest::of(bytes)).map_err(Clone::clone);
        let is_same = last.is_some_and(|last| last.content == digest && !last.is_gone);
        if let Some(last) = last.filter(|_| is_same && self.check == Check::IfChanged) {
            self.shops.insert(name, Arc::clone(last));
            return;
        }
        let parsed = match content {
            Ok(bytes) => load::parse(&path, bytes, name.hosts_key()),
            Err(reason) => Err(LoadError::Read { path: path.clone(), reason: reason.clone() }),
        };
        let before = last.and_then(|last| last.list.clone());
        let (list, last_error) = match parsed {
            Ok((policy, warnings)) => {
                self.warnings.extend(warnings);
                let now = wall_clock::now();
                let generation = before.as_ref().map_or(0, |list| list.generation) + 1;
                let file = (policy, FileDigest::of(content.as_ref().map_or(&[][..], |bytes| bytes)));
                let list = LoadedList::new(name.clone(), file, (generation, self.load), now);
                (Some(Arc::new(list)), None)
            }
            Err(error) => {
                self.is_partial |= !is_same;
                (before, Some(Arc::new(error)))
            }
        };
        let shop = Shop { name: name.clone(), path, list, last_error, is_gone: false, content: digest };
        self.shops.insert(name, Arc::new(shop));
    }

    /// Keeps the shops whose file is gone, unless an operator asked for a reload, or others have all places.
    fn keep_gone(&mut self) {
        let Some(last) = self.last else { return };
        if self.check == Check::Forced {
            // Not before the file had time to come back, for an editor may be about to put it there.
            let is_lost = |shop: &Arc<Shop>| !shop.is_gone && !self.shops.contains_key(&shop.name);
            self.is_partial |= last.all().any(is_lost);
            return;
        }
        for (name, shop) in last.shops.iter().filter(|(name, _)| !name.is_default()) {
            let named = self.shops.keys().filter(|name| !name.is_default()).count();
            if self.shops.contains_key(name) || named == MAX_SHOPS {
                continue;
            }
            // One that never had a list is nothing to keep.
            let Some(list) = &shop.list else { continue };
            let kept = match shop.is_gone {
                true => Arc::clone(shop),
                false => {
                    self.is_partial = true;
                    let (path, list, content) =
                        (shop.path.clone(), Some(Arc::clone(list)), shop.content.clone());
                    Arc::new(Shop {
                        name: name.clone(),
                        path,
                        list,
                        last_error: None,
                        is_gone: true,
                        content,
                    })
                }
            };
            self.shops.insert(name.clone(), kept);
        }
    }

    /// Keeps all shops of the directory as they are.
    fn keep_all(&mut self) {
        let named = self.last.into_iter().flat_map(|last| &last.shops).filter(|(name, _)| !name.is_default());
        self.shops.extend(named.map(|(name, shop)| (name.clone(), Arc::clone(shop))));
    }
}

/// Returns the names of the directory's files that end in `.toml`, sorted.
fn names(directory: &Path) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        // A name that is no text, or has a line break, is none of a shop, however it is written here.
        let name = entry.file_name().to_string_lossy().replace('\n', "\u{fffd}");
        // Editors' files begin with a dot.
        if name.ends_with(".toml") && !name.starts_with('.') && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Returns the files that are shops, those first that were served before; notes those that are not.
fn shops_of<'a>(
    named: &[(&str, &'a Part)],
    directory: &Path,
    last: Option<&Shops>,
    notices: &mut Vec<ShopNotice>,
) -> Vec<(ShopName, &'a Part)> {
    let mut shops = Vec::new();
    for (file, content) in named {
        match ShopName::parse(file.strip_suffix(".toml").unwrap_or(file)) {
            Ok(name) => shops.push((name, *content)),
            Err(error) => {
                notices.push(ShopNotice::NotServed { path: directory.join(file), reason: error.into() });
            }
        }
    }
    // One file more must not drive out a shop that there is.
    shops.sort_by_key(|(name, _)| !last.is_some_and(|last| last.shops.contains_key(name)));
    for (name, _) in shops.drain(MAX_SHOPS.min(shops.len())..) {
        let path = directory.join(format!("{name}.toml"));
        notices.push(ShopNotice::NotServed { path, reason: NotServed::TooMany });
    }
    shops
}

/// Returns why a proxy cannot start with these shops, if it cannot.
fn refuse_to_start(shops: &BTreeMap<ShopName, Arc<Shop>>) -> Result<(), ShopsError> {
    let error_of = |shop: &Arc<Shop>| shop.last_error.clone();
    if let Some(error) = shops.get(&ShopName::default_shop()).and_then(error_of) {
        return Err((*error).clone().into());
    }
    match shops.values().any(|shop| shop.list.is_some()) {
        true => Ok(()),
        false => Err(ShopsError::NoneGood { error: shops.values().find_map(error_of) }),
    }
}
