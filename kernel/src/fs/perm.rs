//! Who may do what with a file (path_resolution(7), "Permissions"; credentials(7)).

use abi::Errno;
use caps::cap;

use super::inode::{FileKind, Inode};
use crate::task::{Cred, current};

bitflags::bitflags! {
    /// What is wanted of a file; the bits of access(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Want: u32 {
        const SEARCH = 1;
        const EXECUTE = 1;
        const WRITE = 2;
        const READ = 4;
    }
}

/// Whose rights count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The file system IDs, as for everything but access(2).
    FileSystem,
    /// The real IDs.
    Real,
}

impl Identity {
    fn uid(self, cred: &Cred) -> u32 {
        if self == Self::FileSystem { cred.fsuid } else { cred.uid }
    }

    fn gid(self, cred: &Cred) -> u32 {
        if self == Self::FileSystem { cred.fsgid } else { cred.gid }
    }
}

/// Whether a directory may be searched. EACCES.
#[inline]
pub fn check_search(directory: &Inode) -> Result<(), Errno> {
    // Nearly every directory may be searched by everybody.
    if directory.mode() & 0o111 == 0o111 { Ok(()) } else { check(directory, Want::SEARCH) }
}

/// Whether the current process may do that. EACCES.
#[inline]
pub fn check(inode: &Inode, want: Want) -> Result<(), Errno> {
    // What everybody may needs no look at who it is.
    let for_all = want.bits().wrapping_mul(0o111);
    if inode.mode() & for_all == for_all { Ok(()) } else { check_as(inode, want, Identity::FileSystem) }
}

/// As `check`, for one of the process's identities.
pub fn check_as(inode: &Inode, want: Want, identity: Identity) -> Result<(), Errno> {
    let mode = inode.mode();
    let cred = current().process.cred.lock();
    let (uid, gid) = (identity.uid(&cred), identity.gid(&cred));
    let class = if uid == inode.uid() {
        mode >> 6
    } else if inode.gid() == gid || cred.groups.contains(&inode.gid()) {
        mode >> 3
    } else {
        mode
    };
    if want.bits() & !class == 0 {
        return Ok(());
    }
    let held =
        if identity == Identity::Real { cred.caps.of_real_user(cred.uid) } else { cred.caps.effective };
    let has = |capability: u32| held >> capability & 1 != 0;
    let is_directory = inode.kind == FileKind::Directory;
    // Not even then may be executed what nobody can.
    let overrides =
        has(cap::DAC_OVERRIDE) && (is_directory || !want.contains(Want::EXECUTE) || mode & 0o111 != 0);
    let looks = if is_directory { !want.contains(Want::WRITE) } else { want == Want::READ };
    if overrides || looks && has(cap::DAC_READ_SEARCH) { Ok(()) } else { Err(Errno::EACCES) }
}

/// Whether the process is the file's owner.
pub fn is_fs_user(inode: &Inode) -> bool {
    current().process.cred.lock().fsuid == inode.uid()
}

/// Whether the process owns the file or is privileged (CAP_FOWNER).
pub fn is_owner(inode: &Inode) -> bool {
    let cred = current().process.cred.lock();
    cred.fsuid == inode.uid() || cred.has(cap::FOWNER)
}

/// Whether the process is in the group, or has the capability that stands for that here.
pub fn is_in_group(gid: u32, instead: u32) -> bool {
    let cred = current().process.cred.lock();
    cred.fsgid == gid || cred.groups.contains(&gid) || cred.has(instead)
}

/// Owner and group of a new file in a directory, and whether the set-group-ID bit is passed on.
pub fn owner_of_new(directory: &Inode) -> (u32, u32) {
    let cred = current().process.cred.lock();
    let gid = if directory.mode() & 0o2000 != 0 { directory.gid() } else { cred.fsgid };
    (cred.fsuid, gid)
}

/// Whether the sticky bit keeps the process from removing or renaming an entry. EPERM.
pub fn check_sticky(directory: &Inode, victim: &Inode) -> Result<(), Errno> {
    if directory.mode() & 0o1000 == 0 {
        return Ok(());
    }
    let cred = current().process.cred.lock();
    let uid = cred.fsuid;
    let may = uid == victim.uid() || uid == directory.uid() || cred.has(cap::FOWNER);
    if may { Ok(()) } else { Err(Errno::EPERM) }
}

/// Takes set-user-ID and (for executables) set-group-ID away, after an unprivileged write or a change of owner.
pub fn drop_set_id_bits(inode: &Inode) {
    let drop = set_id_bits(inode);
    if drop != 0 {
        inode.set_mode(inode.mode() & !drop);
    }
}

/// Those bits, as far as they are set.
pub fn set_id_bits(inode: &Inode) -> u32 {
    let mode = inode.mode();
    let group = if mode & 0o2010 == 0o2010 { 0o2000 } else { 0 };
    mode & 0o4000 | group
}
