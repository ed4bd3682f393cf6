//! Attributes of a file: owner, mode, ACL, extended attributes and flags.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

use rustix::fs::{IFlags, XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, ioctl_getflags};
use rustix::io::Errno;

/// Most bytes of an attribute's value, and of all names (xattr(7), "Filesystem limits").
const MAX_XATTR_SIZE: usize = 1 << 16;

/// Flags that an administrator sets (chattr(1)); all others say how a file system keeps the file.
const SETTABLE: IFlags = IFlags::SECURE_REMOVAL
    .union(IFlags::UNRM)
    .union(IFlags::COMPRESSED)
    .union(IFlags::SYNC)
    .union(IFlags::IMMUTABLE)
    .union(IFlags::APPEND)
    .union(IFlags::NODUMP)
    .union(IFlags::NOATIME)
    .union(IFlags::JOURNALING)
    .union(IFlags::NOTAIL)
    .union(IFlags::NOCOW)
    .union(IFlags::PROJECT_INHERIT);

/// Checks that no flag of the file forbids all changes of its content.
///
/// # Errors
/// If one does; the message says how to remove it.
pub(super) fn check_changeable(file: &File) -> io::Result<()> {
    for (flag, name, letter) in [(IFlags::IMMUTABLE, "immutable", 'i'), (IFlags::APPEND, "append-only", 'a')]
    {
        if flags(file).contains(flag) {
            let message = format!("it is marked {name}; `chattr -{letter}` makes it writable");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
    }
    Ok(())
}

/// Gives `to` the owner, mode, ACL, extended attributes and flags of `from`. ACLs and the labels of SELinux are
/// extended attributes; those in the namespace `trusted` are seen by root only.
///
/// # Errors
/// If the attributes of both files differ afterwards.
pub(super) fn copy(from: &File, to: &File) -> io::Result<()> {
    let (wanted, present) = (from.metadata()?, to.metadata()?);
    if (wanted.uid(), wanted.gid()) != (present.uid(), present.gid()) {
        fchown(to, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    let attributes = xattrs(from)?;
    let present = xattrs(to)?;
    // A directory may give its new files an ACL.
    for name in present.keys().filter(|name| !attributes.contains_key(*name)) {
        fremovexattr(to, name)?;
    }
    for (name, value) in attributes.iter().filter(|(name, value)| present.get(*name) != Some(value)) {
        fsetxattr(to, name, value, XattrFlags::empty())?;
    }
    // Last, because a change of the owner clears some bits, and one of the ACL sets some.
    to.set_permissions(Permissions::from_mode(wanted.mode()))?;
    let is = to.metadata()?;
    let different = |what: &str| Err(io::Error::other(format!("{what} cannot be kept")));
    if (is.uid(), is.gid()) != (wanted.uid(), wanted.gid()) {
        return different("its owner");
    }
    if is.mode() != wanted.mode() {
        return different("its mode");
    }
    if xattrs(to)? != attributes {
        return different("its extended attributes");
    }
    if flags(from) != flags(to) {
        return different("its flags (lsattr)");
    }
    Ok(())
}

/// Returns the extended attributes that this process may read; none where the file system has no such thing.
fn xattrs(file: &File) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut buffer = vec![0; MAX_XATTR_SIZE];
    let len = match flistxattr(file, &mut buffer[..]) {
        Ok(len) => len,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let names = buffer[..len]
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    let names: Vec<CString> = names.map(CStr::to_owned).collect();
    names
        .into_iter()
        .map(|name| {
            let len = fgetxattr(file, &name, &mut buffer[..])?;
            Ok((name, buffer[..len].to_vec()))
        })
        .collect()
}

/// Returns the flags that an administrator set; none where the file system has no such thing.
fn flags(file: &File) -> IFlags {
    ioctl_getflags(file).unwrap_or(IFlags::empty()) & SETTABLE
}
