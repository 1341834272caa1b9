//! Capabilities (capabilities(7)): what a process may do, and how that changes with its user IDs and with exec.
//!
//! Files have no capabilities of their own here; everything else follows Linux's rules.
#![no_std]
#![forbid(unsafe_code)]

/// Numbers of capabilities (linux/capability.h).
pub mod cap {
    pub const CHOWN: u32 = 0;
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const FSETID: u32 = 4;
    pub const KILL: u32 = 5;
    pub const SETGID: u32 = 6;
    pub const SETUID: u32 = 7;
    pub const SETPCAP: u32 = 8;
    pub const LINUX_IMMUTABLE: u32 = 9;
    pub const NET_ADMIN: u32 = 12;
    pub const IPC_OWNER: u32 = 15;
    pub const SYS_CHROOT: u32 = 18;
    pub const SYS_PTRACE: u32 = 19;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_BOOT: u32 = 22;
    pub const SYS_NICE: u32 = 23;
    pub const SYS_RESOURCE: u32 = 24;
    pub const SYS_TIME: u32 = 25;
    pub const MKNOD: u32 = 27;
    pub const AUDIT_CONTROL: u32 = 30;
    pub const MAC_OVERRIDE: u32 = 32;
    pub const WAKE_ALARM: u32 = 35;
    pub const CHECKPOINT_RESTORE: u32 = 40;
    /// The highest.
    pub const LAST: u32 = CHECKPOINT_RESTORE;
}

/// Securebits (linux/securebits.h); each has a lock one bit above.
pub mod secure {
    pub const NOROOT: u32 = 1;
    pub const NO_SETUID_FIXUP: u32 = 1 << 2;
    pub const KEEP_CAPS: u32 = 1 << 4;
    pub const NO_AMBIENT_RAISE: u32 = 1 << 6;
    pub const ALL: u32 = NOROOT | NO_SETUID_FIXUP | KEEP_CAPS | NO_AMBIENT_RAISE;
    pub const LOCKS: u32 = ALL << 1;
}

/// All capabilities.
pub const ALL: u64 = (1 << (cap::LAST + 1)) - 1;

const fn bit(capability: u32) -> u64 {
    if capability <= cap::LAST { 1 << capability } else { 0 }
}

/// What goes and comes with the file system user ID.
const FILES: u64 = bit(cap::CHOWN)
    | bit(cap::DAC_OVERRIDE)
    | bit(cap::DAC_READ_SEARCH)
    | bit(cap::FOWNER)
    | bit(cap::FSETID)
    | bit(cap::LINUX_IMMUTABLE)
    | bit(cap::MKNOD)
    | bit(cap::MAC_OVERRIDE);

/// Why not: EPERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPermitted;

/// Real, effective and saved user ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
}

/// A process's capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    /// What an exec can give at most.
    pub bounding: u64,
    /// What survives the exec of an ordinary program by an ordinary user.
    pub ambient: u64,
    /// Bits of [`secure`].
    pub secure: u32,
}

impl Default for Caps {
    /// The first process's, which is root's.
    fn default() -> Self {
        Self { permitted: ALL, effective: ALL, inheritable: 0, bounding: ALL, ambient: 0, secure: 0 }
    }
}

impl Caps {
    /// Whether it may do that now.
    #[inline]
    pub fn has(&self, capability: u32) -> bool {
        self.effective & bit(capability) != 0
    }

    fn is_secure(&self, bits: u32) -> bool {
        self.secure & bits != 0
    }

    /// capset(2).
    pub fn set(&mut self, effective: u64, permitted: u64, inheritable: u64) -> Result<(), NotPermitted> {
        let within = |set: u64, limit: u64| set & !limit == 0;
        let may_inherit = self.has(cap::SETPCAP) || within(inheritable, self.inheritable | self.permitted);
        if !may_inherit
            || !within(inheritable, self.inheritable | self.bounding)
            || !within(permitted, self.permitted)
            || !within(effective, permitted)
        {
            return Err(NotPermitted);
        }
        (self.effective, self.permitted, self.inheritable) = (effective, permitted, inheritable);
        self.ambient &= permitted & inheritable;
        Ok(())
    }

    /// setuid(2) and its relatives have changed the user IDs. Who leaves root behind altogether loses everything.
    pub fn ids_changed(&mut self, old: Ids, new: Ids) {
        if self.is_secure(secure::NO_SETUID_FIXUP) {
            return;
        }
        let has_root = |ids: Ids| [ids.real, ids.effective, ids.saved].contains(&0);
        if has_root(old) && !has_root(new) {
            if !self.is_secure(secure::KEEP_CAPS) {
                (self.permitted, self.effective) = (0, 0);
            }
            self.ambient = 0;
        }
        if old.effective == 0 && new.effective != 0 {
            self.effective = 0;
        } else if old.effective != 0 && new.effective == 0 {
            self.effective = self.permitted;
        }
    }

    /// setfsuid(2) has changed the user ID by which files are judged.
    pub fn fsuid_changed(&mut self, old: u32, new: u32) {
        if self.is_secure(secure::NO_SETUID_FIXUP) {
            return;
        }
        if old == 0 && new != 0 {
            self.effective &= !FILES;
        } else if old != 0 && new == 0 {
            self.effective |= self.permitted & FILES;
        }
    }

    /// exec of a file without capabilities, by somebody with the real ID `real` who runs it as `effective`; `is_set_id` if the IDs come from
    /// the file, or differed before. Whether the program should distrust its environment (`AT_SECURE`).
    pub fn exec(&mut self, real: u32, effective: u32, is_set_id: bool) -> bool {
        let is_root = effective == 0 && !self.is_secure(secure::NOROOT);
        let was_root = real == 0 && !self.is_secure(secure::NOROOT);
        if is_set_id {
            self.ambient = 0;
        }
        let from_root = if is_root || was_root { self.bounding | self.inheritable } else { 0 };
        self.permitted = from_root | self.ambient;
        self.effective = if is_root { self.permitted } else { self.ambient };
        self.secure &= !secure::KEEP_CAPS;
        is_set_id || real != 0 && (is_root || self.permitted & !self.ambient != 0)
    }

    /// What access(2) judges by: the real user's.
    pub fn of_real_user(&self, real: u32) -> u64 {
        match () {
            () if self.is_secure(secure::NO_SETUID_FIXUP) => self.effective,
            () if real == 0 => self.permitted,
            () => 0,
        }
    }

    /// Takes one out of the bounding set for good.
    pub fn drop_bound(&mut self, capability: u32) -> Result<(), NotPermitted> {
        if !self.has(cap::SETPCAP) {
            return Err(NotPermitted);
        }
        self.bounding &= !bit(capability);
        Ok(())
    }

    /// PR_SET_SECUREBITS.
    pub fn set_secure(&mut self, bits: u32) -> Result<(), NotPermitted> {
        let locked = (self.secure & secure::LOCKS) >> 1;
        let changes_locked = locked & (self.secure ^ bits) != 0;
        let unlocks = self.secure & secure::LOCKS & !bits != 0;
        if changes_locked || unlocks || bits & !(secure::ALL | secure::LOCKS) != 0 || !self.has(cap::SETPCAP)
        {
            return Err(NotPermitted);
        }
        self.secure = bits;
        Ok(())
    }

    /// PR_SET_KEEPCAPS.
    pub fn set_keep(&mut self, keep: bool) -> Result<(), NotPermitted> {
        if self.is_secure(secure::KEEP_CAPS << 1) {
            return Err(NotPermitted);
        }
        self.secure = self.secure & !secure::KEEP_CAPS | if keep { secure::KEEP_CAPS } else { 0 };
        Ok(())
    }

    /// PR_CAP_AMBIENT_RAISE.
    pub fn raise_ambient(&mut self, capability: u32) -> Result<(), NotPermitted> {
        let one = bit(capability);
        if self.permitted & self.inheritable & one == 0 || self.is_secure(secure::NO_AMBIENT_RAISE) {
            return Err(NotPermitted);
        }
        self.ambient |= one;
        Ok(())
    }

    /// PR_CAP_AMBIENT_LOWER.
    pub fn lower_ambient(&mut self, capability: u32) {
        self.ambient &= !bit(capability);
    }
}
