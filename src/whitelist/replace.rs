//! Replaces the file's content while others may read and edit it.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::watch;

/// How the content got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// By a new file renamed over the old one: whoever reads sees one or the other.
    Renamed,
    /// Written into the file as it is, for it cannot be replaced: it is a mount point of its own, or its
    /// directory or owner are out of reach.
    InPlace,
    /// Not at all: the file is no longer what the edit was made of.
    Changed,
}

/// A file that no other edit of this program changes until dropped.
#[derive(Debug)]
pub struct Editing {
    /// The file itself, behind all links.
    path: PathBuf,
    directory: PathBuf,
    _lock: Option<File>,
}

impl Editing {
    /// Waits for other edits of the file to end.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        // The file itself is replaced, so the lock is on what stays. Where there are no locks (some network
        // file systems), comparing before the rename has to do.
        let lock = File::open(&directory).and_then(|directory| directory.lock().map(|()| directory)).ok();
        Ok(Self { path, directory, _lock: lock })
    }

    /// Writes `new` if the file still says `old`, keeping its mode and owner.
    ///
    /// # Errors
    /// If it cannot be written; the file is as it was then, unless the disk fails while it is written in place.
    pub fn replace(&self, old: &[u8], new: &[u8]) -> io::Result<Replaced> {
        match self.rename(old, new) {
            Err(error) if cannot_rename(error.kind()) => self.in_place(old, new),
            replaced => replaced,
        }
    }

    fn rename(&self, old: &[u8], new: &[u8]) -> io::Result<Replaced> {
        let before = fs::metadata(&self.path)?;
        let mut file = tempfile::Builder::new().prefix(".whitelist-").tempfile_in(&self.directory)?;
        let ours = file.as_file().metadata()?;
        if (ours.uid(), ours.gid()) != (before.uid(), before.gid()) {
            fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
        // After the owner: changing that clears some bits of the mode.
        file.as_file().set_permissions(Permissions::from_mode(before.mode()))?;
        file.write_all(new)?;
        file.as_file().sync_all()?;
        if self.has_changed(old) {
            return Ok(Replaced::Changed);
        }
        file.persist(&self.path)?;
        // The rename itself is safe only when the directory is; where that cannot be asked, it is done all
        // the same.
        let _ = File::open(&self.directory).and_then(|directory| directory.sync_all());
        Ok(Replaced::Renamed)
    }

    fn in_place(&self, old: &[u8], new: &[u8]) -> io::Result<Replaced> {
        if self.has_changed(old) {
            return Ok(Replaced::Changed);
        }
        let mut file = File::options().write(true).open(&self.path)?;
        match overwrite(&mut file, new) {
            Ok(()) => Ok(Replaced::InPlace),
            // The disk had room for what was there.
            Err(error) => overwrite(&mut file, old).and(Err(error)),
        }
    }

    /// Is it no longer what the edit was made of, or no file any more?
    fn has_changed(&self, old: &[u8]) -> bool {
        !watch::read(&self.path, old.len() as u64).is_ok_and(|content| content == old)
    }
}

/// A reader in between sees the beginning of the new list, which is no list, and looks again.
fn overwrite(file: &mut File, content: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(content)?;
    file.sync_all()
}

/// Does an error say that the file cannot be replaced, though it may be writable?
fn cannot_rename(kind: ErrorKind) -> bool {
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
    use std::os::unix::fs::symlink;

    use super::*;

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
        assert_eq!(editing.replace(b"old", b"new").expect("a write"), Replaced::Renamed);
        let after = fs::metadata(&path).expect("a file");
        assert_eq!(fs::read(&path).expect("a file"), b"new");
        assert_eq!((after.mode() & 0o7777, after.uid(), after.gid()), (0o640, before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino());
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(names(directory.path()), 2);
    }

    #[test]
    fn leaves_what_others_changed() {
        let (directory, path) = directory();
        let editing = Editing::begin(&path).expect("a file");
        fs::write(&path, "theirs").expect("a file");
        assert_eq!(editing.replace(b"old", b"new").expect("no write"), Replaced::Changed);
        assert_eq!(editing.in_place(b"old", b"new").expect("no write"), Replaced::Changed);
        assert_eq!(fs::read(&path).expect("a file"), b"theirs");
        assert_eq!(names(directory.path()), 1);
    }

    #[test]
    fn writes_in_place() {
        let (_directory, path) = directory();
        let before = fs::metadata(&path).expect("a file").ino();
        let editing = Editing::begin(&path).expect("a file");
        assert_eq!(editing.in_place(b"old", b"n").expect("a write"), Replaced::InPlace);
        assert_eq!(fs::metadata(&path).expect("a file").ino(), before);
        assert_eq!(fs::read(&path).expect("a file"), b"n");
    }
}
