//! Replaces the content of the whitelist's file while others may read and edit it.
//!
//! INVARIANT: whoever could read the file before an edit can read it afterwards. A rename over the file is the
//! safest way to write, because whoever reads sees the old list or the new one; but a new file has attributes of
//! its own. So it is given those of the old one first, and where that fails the file is written in place. A rename
//! loses the time of birth only.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use super::attributes;
use crate::watch;

/// Pause between two attempts to lock a file.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Way in which the content was replaced.
#[derive(Debug)]
pub enum Replaced {
    /// A new file with the same attributes was renamed over the old one.
    Renamed,
    /// The file was written in place, because a new one would lose something.
    InPlace(Obstacle),
    /// Nothing was written, because the file has changed since the edit began.
    Changed,
}

/// Reason why the file cannot be replaced by a new one.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// The other names would keep the old list.
    #[error("it has {0} names (hard links), which a new file would not have")]
    HardLinks(u64),
    /// Something that the file has cannot be given to another one.
    #[error("a new file would not have all its attributes: {0}")]
    Attributes(io::Error),
    /// No file can be made beside it or renamed over it.
    #[error("it cannot be replaced (it is a mount point, or its directory is out of reach): {0}")]
    Rename(io::Error),
}

/// A file that is edited, locked against other edits of this program.
#[derive(Debug)]
pub struct Editing {
    /// Path with all links resolved.
    path: PathBuf,
    directory: PathBuf,
    _lock: Option<Arc<File>>,
}

impl Editing {
    /// Locks a file. Waits until other edits of it have ended.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let mut editing = [Self::unlocked(path)?];
        Self::lock(&mut editing);
        let [editing] = editing;
        Ok(editing)
    }

    /// As [`Editing::begin`], but waits for `limit` at most.
    ///
    /// # Errors
    /// If there is no such file, or somebody else's edit does not end.
    pub fn begin_within(path: &Path, limit: Duration) -> io::Result<Self> {
        let mut editing = Self::unlocked(path)?;
        let Ok(directory) = File::open(&editing.directory) else { return Ok(editing) };
        let deadline = Instant::now() + limit;
        loop {
            match directory.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(_)) => return Ok(editing),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, "somebody else is editing it"));
                }
            }
        }
        editing._lock = Some(Arc::new(directory));
        Ok(editing)
    }

    /// Finds a file that is to be locked with others.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn unlocked(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { path, directory, _lock: None })
    }

    /// Locks files. Waits until other edits of them have ended.
    ///
    /// The files themselves are replaced, so the locks are on the directories, which stay. Where there are no locks
    /// (some network file systems), comparing before the rename has to do.
    pub fn lock(files: &mut [Self]) {
        // INVARIANT: each directory is locked once, and all in one order, or two edits would wait for each other.
        let mut directories = BTreeMap::<_, (File, Vec<&mut Self>)>::new();
        for file in files {
            let Ok(directory) = File::open(&file.directory) else { continue };
            let Ok(metadata) = directory.metadata() else { continue };
            let identity = (metadata.dev(), metadata.ino());
            directories.entry(identity).or_insert_with(|| (directory, Vec::new())).1.push(file);
        }
        for (directory, files) in directories.into_values() {
            let lock = directory.lock().ok().map(|()| Arc::new(directory));
            files.into_iter().for_each(|file| file._lock.clone_from(&lock));
        }
    }

    /// Writes `new` if the file still says `old`, keeping everything else that the file has.
    ///
    /// # Errors
    /// If it cannot be written; the file is as it was then, unless the disk fails while it is written in place.
    pub fn replace(&self, old: &[u8], new: &[u8]) -> io::Result<Replaced> {
        let original = watch::open(&self.path)?;
        attributes::check_changeable(&original)?;
        let mut file = match self.file_like(&original)? {
            Ok(file) => file,
            Err(obstacle) => return self.in_place(old, new, obstacle),
        };
        file.write_all(new)?;
        file.as_file().sync_all()?;
        if self.has_changed(old) {
            return Ok(Replaced::Changed);
        }
        if let Err(error) = file.persist(&self.path) {
            return match is_obstacle(error.error.kind()) {
                true => self.in_place(old, new, Obstacle::Rename(error.error)),
                false => Err(error.error),
            };
        }
        // The rename itself is safe only when the directory is; where that cannot be asked, it is done all
        // the same.
        let _ = File::open(&self.directory).and_then(|directory| directory.sync_all());
        Ok(Replaced::Renamed)
    }

    /// Makes an empty file beside the original, with all its attributes.
    fn file_like(&self, original: &File) -> io::Result<Result<NamedTempFile, Obstacle>> {
        let links = original.metadata()?.nlink();
        if links > 1 {
            return Ok(Err(Obstacle::HardLinks(links)));
        }
        let file = match self.file_beside() {
            Ok(file) => file,
            Err(error) if is_obstacle(error.kind()) => return Ok(Err(Obstacle::Rename(error))),
            Err(error) => return Err(error),
        };
        Ok(attributes::copy(original, file.as_file()).map(|()| file).map_err(Obstacle::Attributes))
    }

    fn file_beside(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(".whitelist-").tempfile_in(&self.directory)
    }

    fn in_place(&self, old: &[u8], new: &[u8], obstacle: Obstacle) -> io::Result<Replaced> {
        if self.has_changed(old) {
            return Ok(Replaced::Changed);
        }
        // As in reading, a pipe in the file's place must not hold this up.
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let mut file = File::options().write(true).custom_flags(nonblocking).open(&self.path)?;
        let permissions = file.metadata()?.permissions();
        // Where nothing can be written beside the file, it is written all the same.
        let backup = self.backup(old).ok();
        if let Err(error) = overwrite(&mut file, new) {
            // The disk had room for what was there.
            if overwrite(&mut file, old).is_ok() {
                return Err(error);
            }
            let saved = backup.and_then(|backup| backup.keep().ok());
            let saved = saved.map(|(_, path)| format!("; the list as it was is in {}", path.display()));
            let message = format!("{error}, and the file is damaged{}", saved.unwrap_or_default());
            return Err(io::Error::new(error.kind(), message));
        }
        // A write clears the bits that run a program as its owner or group; who may not set them, cannot keep them.
        if file.metadata()?.permissions() != permissions {
            let _ = file.set_permissions(permissions);
        }
        Ok(Replaced::InPlace(obstacle))
    }

    /// Saves the content beside the file, in case that writing is interrupted.
    fn backup(&self, content: &[u8]) -> io::Result<NamedTempFile> {
        let mut backup = self.file_beside()?;
        backup.write_all(content)?;
        backup.as_file().sync_all()?;
        Ok(backup)
    }

    /// Returns true if the file has changed since the edit began, or is no regular file any more.
    fn has_changed(&self, old: &[u8]) -> bool {
        !watch::read(&self.path, old.len() as u64).is_ok_and(|content| content == old)
    }
}

/// Overwrites a file. Whoever reads it meanwhile sees the beginning of the content, which is no valid list, and reads
/// again.
fn overwrite(file: &mut File, content: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(content)?;
    file.sync_all()
}

/// Returns true if an error means that the file cannot be replaced, though it may be writable.
fn is_obstacle(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ResourceBusy
            | ErrorKind::CrossesDevices
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::{IFlags, XattrFlags, getxattr, ioctl_getflags, ioctl_setflags, removexattr, setxattr};

    use super::*;

    /// Name of the attribute that holds a file's ACL (acl(5)).
    const ACL: &str = "system.posix_acl_access";

    /// The ACL `u::rw-,u:UID:r--,g::r--,m::r--,o::---`, as xattr(7) holds it: tag, permissions and id of each entry.
    fn acl_for(uid: u32) -> Vec<u8> {
        let nobody = u32::MAX;
        let entries: [(u16, u16, u32); 5] =
            [(0x01, 6, nobody), (0x02, 4, uid), (0x04, 4, nobody), (0x10, 4, nobody), (0x20, 0, nobody)];
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            acl.extend(tag.to_le_bytes());
            acl.extend(permissions.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        acl
    }

    fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 4096];
        let len = getxattr(path, name, &mut value[..]).ok()?;
        Some(value[..len].to_vec())
    }

    fn replace(path: &Path, old: &str, new: &str) -> Replaced {
        let replaced =
            Editing::begin(path).and_then(|editing| editing.replace(old.as_bytes(), new.as_bytes()));
        let replaced = replaced.expect("an edit");
        assert_eq!(fs::read_to_string(path).expect("a file"), new);
        replaced
    }

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("whitelist.toml");
        fs::write(&path, "old").expect("a file");
        (directory, path)
    }

    fn names(directory: &Path) -> usize {
        fs::read_dir(directory).expect("a directory").count()
    }

    #[test]
    fn keeps_mode_and_links() {
        let (directory, path) = directory();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("a mode");
        let link = directory.path().join("link.toml");
        symlink("whitelist.toml", &link).expect("a link");
        let before = fs::metadata(&path).expect("a file");
        let editing = Editing::begin(&link).expect("a file");
        assert!(matches!(editing.replace(b"old", b"new").expect("a write"), Replaced::Renamed));
        let after = fs::metadata(&path).expect("a file");
        assert_eq!(fs::read(&path).expect("a file"), b"new");
        assert_eq!((after.mode() & 0o7777, after.uid(), after.gid()), (0o640, before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino());
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(names(directory.path()), 2);
    }

    #[test]
    fn several_files_are_locked_at_once() {
        let (directory, path) = directory();
        let [other, link] = ["other.toml", "link.toml"].map(|name| directory.path().join(name));
        fs::write(&other, "old").expect("a file");
        symlink("other.toml", &link).expect("a link");
        let mut files = [&path, &other, &link].map(|path| Editing::unlocked(path).expect("a file"));
        Editing::lock(&mut files);
        let lock_of_another = || File::open(directory.path()).map(|directory| directory.try_lock());
        assert!(lock_of_another().expect("a directory").is_err());
        for file in &files[..2] {
            assert!(matches!(file.replace(b"old", b"new").expect("a write"), Replaced::Renamed));
        }
        assert!(matches!(files[2].replace(b"old", b"new").expect("no write"), Replaced::Changed));
        drop(files);
        assert!(lock_of_another().expect("a directory").is_ok());
    }

    #[test]
    fn waits_for_another_edit_as_long_as_it_is_told() {
        let (_directory, path) = directory();
        let theirs = Editing::begin(&path).expect("a file");
        for limit in [Duration::ZERO, 2 * LOCK_PAUSE] {
            let error = Editing::begin_within(&path, limit).expect_err("their lock");
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        let ours = thread::spawn(move || Editing::begin_within(&path, Duration::from_secs(20)).map(drop));
        // Time to find it locked. Were it not found so, it would pass all the same.
        thread::sleep(LOCK_PAUSE);
        drop(theirs);
        ours.join().expect("no panic").expect("the lock");
    }

    #[test]
    fn a_directory_that_takes_no_file_is_no_reason_to_refuse() {
        let (directory, path) = directory();
        // Root may write where the mode forbids it, but not where the flag does.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o555)).expect("a mode");
        let marked = mark(directory.path(), IFlags::IMMUTABLE, true);
        let takes_files = File::create(directory.path().join("new")).is_ok();
        let replaced = replace(&path, "old", "new");
        assert_eq!(matches!(replaced, Replaced::InPlace(Obstacle::Rename(_))), !takes_files, "{replaced:?}");
        assert!(!marked || mark(directory.path(), IFlags::IMMUTABLE, false));
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("it can be removed");
    }

    #[test]
    fn leaves_what_others_changed() {
        let (directory, path) = directory();
        let editing = Editing::begin(&path).expect("a file");
        fs::write(&path, "theirs").expect("a file");
        assert!(matches!(editing.replace(b"old", b"new").expect("no write"), Replaced::Changed));
        let in_place = editing.in_place(b"old", b"new", Obstacle::HardLinks(2));
        assert!(matches!(in_place.expect("no write"), Replaced::Changed));
        assert_eq!(fs::read(&path).expect("a file"), b"theirs");
        assert_eq!(names(directory.path()), 1);
    }

    #[test]
    fn keeps_acl_and_extended_attributes() {
        let (directory, path) = directory();
        setxattr(&path, ACL, &acl_for(65_534), XattrFlags::empty()).expect("an ACL");
        let acl = xattr(&path, ACL).expect("an ACL");
        // Not every file system has these.
        let tagged = setxattr(&path, "user.note", b"ours", XattrFlags::empty()).is_ok();
        let mode = fs::metadata(&path).expect("a file").mode();
        assert!(matches!(replace(&path, "old", "new"), Replaced::Renamed));
        assert_eq!(xattr(&path, ACL), Some(acl));
        assert_eq!(xattr(&path, "user.note"), tagged.then(|| b"ours".to_vec()));
        assert_eq!(fs::metadata(&path).expect("a file").mode(), mode);
        assert_eq!(names(directory.path()), 1);
    }

    #[test]
    fn takes_no_acl_from_the_directory() {
        let (directory, path) = directory();
        fs::set_permissions(&path, Permissions::from_mode(0o2640)).expect("a mode");
        let mode = fs::metadata(&path).expect("a file").mode();
        setxattr(directory.path(), "system.posix_acl_default", &acl_for(65_534), XattrFlags::empty())
            .expect("an ACL");
        assert!(matches!(replace(&path, "old", "new"), Replaced::Renamed));
        assert_eq!((xattr(&path, ACL), fs::metadata(&path).expect("a file").mode()), (None, mode));
        removexattr(directory.path(), "system.posix_acl_default").expect("no ACL");
    }

    #[test]
    fn other_names_of_the_file_see_the_edit() {
        let (directory, path) = directory();
        let other = directory.path().join("other.toml");
        fs::hard_link(&path, &other).expect("a link");
        let replaced = replace(&path, "old", "n");
        assert!(matches!(replaced, Replaced::InPlace(Obstacle::HardLinks(2))), "{replaced:?}");
        assert_eq!(fs::read(&other).expect("a file"), b"n");
        assert_eq!(names(directory.path()), 2, "no backup is left");
    }

    /// Sets flags of a file, or takes them off, as chattr(1) does; false if this user or file system cannot.
    fn mark(path: &Path, flags: IFlags, on: bool) -> bool {
        let Ok(file) = File::open(path) else { return false };
        let Ok(before) = ioctl_getflags(&file) else { return false };
        ioctl_setflags(&file, if on { before | flags } else { before - flags }).is_ok()
    }

    #[test]
    fn a_file_with_flags_keeps_them_or_stays_as_it_is() {
        let (directory, path) = directory();
        if mark(&path, IFlags::NODUMP, true) {
            let replaced = replace(&path, "old", "new");
            assert!(matches!(replaced, Replaced::InPlace(Obstacle::Attributes(_))), "{replaced:?}");
            fs::write(&path, "old").expect("a file");
        }
        for (flags, flag, word) in
            [(IFlags::IMMUTABLE, "i", "immutable"), (IFlags::APPEND, "a", "append-only")]
        {
            if !mark(&path, flags, true) {
                continue;
            }
            let refused = Editing::begin(&path).and_then(|editing| editing.replace(b"old", b"new"));
            assert!(mark(&path, flags, false));
            let message = refused.expect_err("no write").to_string();
            assert_eq!(message, format!("it is marked {word}; `chattr -{flag}` makes it writable"));
            assert_eq!(fs::read(&path).expect("a file"), b"old");
            assert_eq!(names(directory.path()), 1);
        }
    }
}
