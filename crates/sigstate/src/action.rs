//! What a process does with each signal (sigaction(2)).

use abi::{SaFlags, SigSet, Sigaction, Signal};

/// Flags that are kept; the others read back as 0, so that a program can find out which are known.
const KNOWN: SaFlags = SaFlags::all().difference(SaFlags::UNSUPPORTED);

/// What is to be done, by `sa_handler`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// SIG_DFL.
    Default,
    /// SIG_IGN.
    Ignore,
    /// A function of the program's.
    Handler(u64),
}

/// What SIG_DFL does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Terminate,
    /// Terminate, with a core dump where the limit allows one.
    Core,
    Stop,
    /// Continues a stopped process; that has happened when the signal was sent, so there is nothing left to do.
    Continue,
    Ignore,
}

impl Fate {
    /// What SIG_DFL does for a signal (signal(7), "Standard signals").
    pub const fn of(signal: Signal) -> Self {
        match signal {
            Signal::SIGQUIT
            | Signal::SIGILL
            | Signal::SIGTRAP
            | Signal::SIGABRT
            | Signal::SIGBUS
            | Signal::SIGFPE
            | Signal::SIGSEGV
            | Signal::SIGXCPU
            | Signal::SIGXFSZ
            | Signal::SIGSYS => Self::Core,
            Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => Self::Stop,
            Signal::SIGCONT => Self::Continue,
            Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => Self::Ignore,
            _ => Self::Terminate,
        }
    }

    /// Whether SIG_DFL leaves the process as it is.
    pub const fn is_nothing(self) -> bool {
        matches!(self, Self::Ignore | Self::Continue)
    }
}

impl Disposition {
    /// What an entry says is to be done.
    #[inline]
    pub const fn of(action: &Sigaction) -> Self {
        match action.handler {
            0 => Self::Default,
            1 => Self::Ignore,
            address => Self::Handler(address),
        }
    }

    /// Whether a signal, when it isn't blocked, goes by without a trace.
    #[inline]
    pub const fn ignores(self, signal: Signal) -> bool {
        match self {
            Self::Default => Fate::of(signal).is_nothing(),
            Self::Ignore => true,
            Self::Handler(_) => false,
        }
    }
}

/// The table of a process's actions.
#[derive(Clone, Debug)]
pub struct Actions([Sigaction; Signal::MAX as usize]);

const DEFAULT: Sigaction = Sigaction { handler: 0, flags: 0, restorer: 0, mask: SigSet::EMPTY };

impl Default for Actions {
    fn default() -> Self {
        Self([DEFAULT; Signal::MAX as usize])
    }
}

impl Actions {
    #[inline(always)]
    pub fn get(&self, signal: Signal) -> &Sigaction {
        // The index is in range for every Signal; `% 64` lets the compiler see it.
        &self.0[usize::from(signal.number() - 1) % 64]
    }

    #[inline(always)]
    fn get_mut(&mut self, signal: Signal) -> &mut Sigaction {
        &mut self.0[usize::from(signal.number() - 1) % 64]
    }

    /// Sets an action, without unknown flags (so that a program can find out which are known) and without SIGKILL and SIGSTOP in its
    /// mask. The caller refuses SIGKILL and SIGSTOP, and drops what is pending if the signal is ignored now.
    #[inline(always)]
    pub fn set(&mut self, signal: Signal, new: Sigaction) {
        *self.get_mut(signal) =
            Sigaction { flags: new.flags & KNOWN.bits(), mask: new.mask.blockable(), ..new };
    }

    /// As `set`; gives the old action.
    #[inline(always)]
    pub fn replace(&mut self, signal: Signal, new: Sigaction) -> Sigaction {
        let old = *self.get(signal);
        self.set(signal, new);
        old
    }

    /// The action that a signal being delivered runs; SA_RESETHAND puts the default back.
    #[inline(always)]
    pub fn begin(&mut self, signal: Signal) -> Sigaction {
        let entry = self.get_mut(signal);
        let action = *entry;
        if action.flags & SaFlags::RESETHAND.bits() != 0 && action.handler > 1 {
            entry.handler = 0;
        }
        action
    }

    /// A forced signal that the program can't or won't handle: back to the default, the rest of the entry stays.
    pub fn reset(&mut self, signal: Signal) {
        self.get_mut(signal).handler = 0;
    }

    /// Signals that go by when they aren't blocked.
    pub fn ignored(&self) -> SigSet {
        self.select(|signal, action| Disposition::of(action).ignores(signal))
    }

    /// Signals whose action meets a condition.
    pub fn select(&self, condition: impl Fn(Signal, &Sigaction) -> bool) -> SigSet {
        SigSet::FULL.iter().filter(|&signal| condition(signal, self.get(signal))).collect()
    }

    /// exec(2): handlers become the default, SIG_IGN stays, flags and masks are forgotten.
    pub fn exec(&mut self) {
        for action in &mut self.0 {
            let handler = u64::from(matches!(Disposition::of(action), Disposition::Ignore));
            *action = Sigaction { handler, ..DEFAULT };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_flags_and_unblockable_signals_are_dropped() {
        let mut actions = Actions::default();
        let wild = Sigaction { handler: 0x1000, flags: u64::MAX, restorer: 5, mask: SigSet::FULL };
        assert_eq!(actions.replace(Signal::SIGUSR1, wild), DEFAULT);
        let kept = actions.replace(Signal::SIGUSR1, DEFAULT);
        assert_eq!(kept.flags, KNOWN.bits());
        assert_eq!(kept.mask, SigSet::FULL.difference(SigSet::UNBLOCKABLE));
        assert_eq!((kept.handler, kept.restorer), (0x1000, 5));
    }

    #[test]
    fn exec_keeps_only_what_is_ignored() {
        let mut actions = Actions::default();
        actions.replace(Signal::SIGHUP, Sigaction { handler: 1, mask: SigSet(4), ..DEFAULT });
        actions.replace(Signal::SIGINT, Sigaction { handler: 0x1234, ..DEFAULT });
        actions.exec();
        assert_eq!(*actions.get(Signal::SIGHUP), Sigaction { handler: 1, ..DEFAULT });
        assert_eq!(*actions.get(Signal::SIGINT), DEFAULT);
    }

    #[test]
    fn resethand_resets_once() {
        let mut actions = Actions::default();
        let once = Sigaction { handler: 0x1234, flags: SaFlags::RESETHAND.bits(), ..DEFAULT };
        actions.replace(Signal::SIGINT, once);
        assert_eq!(actions.begin(Signal::SIGINT), once);
        assert_eq!(Disposition::of(&actions.begin(Signal::SIGINT)), Disposition::Default);
    }

    #[test]
    fn ignored_by_default_or_by_choice() {
        let mut actions = Actions::default();
        assert_eq!(
            actions.ignored(),
            [Signal::SIGCHLD, Signal::SIGCONT, Signal::SIGURG, Signal::SIGWINCH].into_iter().collect()
        );
        actions.replace(Signal::SIGINT, Sigaction { handler: 1, ..DEFAULT });
        actions.replace(Signal::SIGCHLD, Sigaction { handler: 0x10, ..DEFAULT });
        assert!(actions.ignored().contains(Signal::SIGINT));
        assert!(!actions.ignored().contains(Signal::SIGCHLD));
    }
}
