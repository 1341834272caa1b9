//! The alternate signal stack (sigaltstack(2)).

const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
/// The stack is forgotten when a handler starts on it, and comes back with sigreturn.
const SS_AUTODISARM: u32 = 1 << 31;

/// Why a stack can't be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AltStackError {
    /// The thread runs on it just now: EPERM.
    InUse,
    /// Unknown flags: EINVAL.
    BadFlags,
    /// Smaller than `AltStack::MIN_SIZE`: ENOMEM.
    TooSmall,
}

/// A thread's alternate stack; size 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AltStack {
    pub base: u64,
    pub size: u64,
    /// As the program gave them: 0, SS_ONSTACK (which means the same) or SS_DISABLE, and SS_AUTODISARM.
    pub flags: u32,
}

impl AltStack {
    /// `MINSIGSTKSZ`, the least size that sigaltstack(2) accepts on x86_64.
    pub const MIN_SIZE: u64 = 2048;
    /// After a handler started on an SS_AUTODISARM stack.
    pub const DISARMED: Self = Self { base: 0, size: 0, flags: SS_DISABLE };

    /// Whether a stack pointer is in the area. The top counts (a full-descending stack is empty there), the base doesn't.
    pub const fn covers(&self, sp: u64) -> bool {
        sp > self.base && sp - self.base <= self.size
    }

    /// Whether a thread with this stack pointer counts as running on the stack; never on an SS_AUTODISARM one.
    pub const fn is_active(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.covers(sp)
    }

    pub const fn disarms(&self) -> bool {
        self.flags & SS_AUTODISARM != 0
    }

    /// One past the highest byte, if an SA_ONSTACK handler should start here: there is a stack, and `sp` isn't on it yet.
    pub const fn start(&self, sp: u64) -> Option<u64> {
        if self.size == 0 || self.is_active(sp) { None } else { Some(self.base.wrapping_add(self.size)) }
    }

    /// `ss_flags` as sigaltstack(2) reports them to a thread with this stack pointer.
    pub const fn reported_flags(&self, sp: u64) -> u32 {
        let state = if self.size == 0 {
            SS_DISABLE
        } else if self.is_active(sp) {
            SS_ONSTACK
        } else {
            0
        };
        state | self.flags & SS_AUTODISARM
    }

    /// Takes another stack, unless the thread with stack pointer `sp` is on this one.
    pub const fn set(&mut self, new: Self, sp: u64) -> Result<(), AltStackError> {
        if self.is_active(sp) {
            return Err(AltStackError::InUse);
        }
        match new.flags & !SS_AUTODISARM {
            SS_DISABLE => *self = Self { base: 0, size: 0, flags: new.flags },
            0 | SS_ONSTACK => {
                let unchanged = self.base == new.base && self.size == new.size && self.flags == new.flags;
                if !unchanged && new.size < Self::MIN_SIZE {
                    return Err(AltStackError::TooSmall);
                }
                *self = new;
            }
            _ => return Err(AltStackError::BadFlags),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STACK: AltStack = AltStack { base: 0x1000, size: 0x2000, flags: 0 };

    #[test]
    fn top_counts_and_base_does_not() {
        assert!(STACK.covers(0x3000));
        assert!(STACK.covers(0x1001));
        assert!(!STACK.covers(0x1000));
        assert!(!STACK.covers(0x3001));
    }

    #[test]
    fn in_use_outranks_bad_flags_and_size() {
        let mut stack = STACK;
        let bad = AltStack { base: 0, size: 1, flags: 0x40 };
        assert_eq!(stack.set(bad, 0x2000), Err(AltStackError::InUse));
        assert_eq!(stack.set(bad, 0x9000), Err(AltStackError::BadFlags));
        assert_eq!(stack.set(AltStack { flags: 0, ..bad }, 0x9000), Err(AltStackError::TooSmall));
        assert_eq!(stack, STACK);
        assert_eq!(stack.set(AltStack { base: 7, size: 1, flags: SS_DISABLE }, 0x9000), Ok(()));
        assert_eq!(stack.reported_flags(0x9000), SS_DISABLE);
    }

    #[test]
    fn autodisarm_stack_is_never_in_use() {
        let mut stack = AltStack { flags: SS_AUTODISARM, ..STACK };
        assert_eq!(stack.reported_flags(0x2000), SS_AUTODISARM);
        assert_eq!(stack.start(0x2000), Some(0x3000));
        assert_eq!(stack.set(STACK, 0x2000), Ok(()));
        assert_eq!(stack.reported_flags(0x2000), SS_ONSTACK);
        assert_eq!(stack.start(0x2000), None);
    }

    proptest! {
        #[test]
        fn any_values_are_harmless(base: u64, size: u64, flags: u32, sp: u64, base2: u64, size2: u64, flags2: u32) {
            let mut stack = AltStack { base, size, flags };
            let before = stack;
            if stack.set(AltStack { base: base2, size: size2, flags: flags2 }, sp).is_err() {
                prop_assert_eq!(stack, before);
            }
            let _ = (stack.start(sp), stack.reported_flags(sp));
        }
    }
}
