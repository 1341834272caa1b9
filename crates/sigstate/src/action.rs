//! What a process does with each signal (sigaction(2)).

use crate::{SigSet, Signal};

bitflags::bitflags! {
    /// `sa_flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SaFlags: u64 {
        const NOCLDSTOP = 1;
        const NOCLDWAIT = 2;
        const SIGINFO = 4;
        const EXPOSE_TAGBITS = 0x800;
        const RESTORER = 0x0400_0000;
        const ONSTACK = 0x0800_0000;
        const RESTART = 0x1000_0000;
        const NODEFER = 0x4000_0000;
        const RESETHAND = 0x8000_0000;
    }
}

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

/// One entry, as the program set it but for what `Actions::replace` sanitises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// SIG_DFL 0, SIG_IGN 1, or an address.
    pub handler: u64,
    pub flags: SaFlags,
    pub restorer: u64,
    pub mask: SigSet,
}

impl Action {
    pub const DEFAULT: Self = Self { handler: 0, flags: SaFlags::empty(), restorer: 0, mask: SigSet::EMPTY };

    pub const fn disposition(&self) -> Disposition {
        match self.handler {
            0 => Disposition::Default,
            1 => Disposition::Ignore,
            address => Disposition::Handler(address),
        }
    }

    /// Whether the signal, when it isn't blocked, goes by without a trace.
    pub const fn ignores(&self, signal: Signal) -> bool {
        match self.disposition() {
            Disposition::Default => Fate::of(signal).is_nothing(),
            Disposition::Ignore => true,
            Disposition::Handler(_) => false,
        }
    }
}

/// The table of a process's actions.
#[derive(Clone, Debug)]
pub struct Actions([Action; Signal::LAST as usize]);

impl Default for Actions {
    fn default() -> Self {
        Self([Action::DEFAULT; Signal::LAST as usize])
    }
}

impl Actions {
    #[inline]
    pub fn get(&self, signal: Signal) -> &Action {
        // The index is in range for every Signal; `% 64` lets the compiler see it.
        &self.0[usize::from(signal.number() - 1) % 64]
    }

    #[inline]
    fn get_mut(&mut self, signal: Signal) -> &mut Action {
        &mut self.0[usize::from(signal.number() - 1) % 64]
    }

    /// Sets an action, without unknown flags (so that a program can find out which are known) and without SIGKILL and SIGSTOP in its
    /// mask; gives the old one. The caller refuses SIGKILL and SIGSTOP, and drops what is pending if the signal is ignored now.
    #[inline]
    pub fn replace(&mut self, signal: Signal, new: Action) -> Action {
        let new = Action {
            flags: SaFlags::from_bits_truncate(new.flags.bits()),
            mask: new.mask.blockable(),
            ..new
        };
        core::mem::replace(self.get_mut(signal), new)
    }

    /// The action that a signal being delivered runs; SA_RESETHAND puts the default back.
    #[inline]
    pub fn begin(&mut self, signal: Signal) -> Action {
        let entry = self.get_mut(signal);
        let action = *entry;
        if action.flags.contains(SaFlags::RESETHAND)
            && matches!(action.disposition(), Disposition::Handler(_))
        {
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
        self.select(|signal, action| action.ignores(signal))
    }

    /// Signals whose action meets a condition.
    pub fn select(&self, condition: impl Fn(Signal, &Action) -> bool) -> SigSet {
        SigSet::from_bits(u64::MAX).iter().filter(|&signal| condition(signal, self.get(signal))).collect()
    }

    /// exec(2): handlers become the default, SIG_IGN stays, flags and masks are forgotten.
    pub fn exec(&mut self) {
        for action in &mut self.0 {
            let handler = u64::from(matches!(action.disposition(), Disposition::Ignore));
            *action = Action { handler, ..Action::DEFAULT };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_flags_and_unblockable_signals_are_dropped() {
        let mut actions = Actions::default();
        let wild = Action {
            handler: 0x1000,
            flags: SaFlags::from_bits_retain(u64::MAX),
            restorer: 5,
            mask: SigSet::from_bits(u64::MAX),
        };
        assert_eq!(actions.replace(Signal::SIGUSR1, wild), Action::DEFAULT);
        let kept = actions.replace(Signal::SIGUSR1, Action::DEFAULT);
        assert_eq!(kept.flags, SaFlags::all());
        assert_eq!(kept.mask, SigSet::from_bits(u64::MAX).difference(SigSet::UNBLOCKABLE));
        assert_eq!((kept.handler, kept.restorer), (0x1000, 5));
    }

    #[test]
    fn exec_keeps_only_what_is_ignored() {
        let mut actions = Actions::default();
        actions.replace(Signal::SIGHUP, Action { handler: 1, mask: SigSet::from_bits(4), ..Action::DEFAULT });
        actions.replace(Signal::SIGINT, Action { handler: 0x1234, ..Action::DEFAULT });
        actions.exec();
        assert_eq!(*actions.get(Signal::SIGHUP), Action { handler: 1, ..Action::DEFAULT });
        assert_eq!(*actions.get(Signal::SIGINT), Action::DEFAULT);
    }

    #[test]
    fn resethand_resets_once() {
        let mut actions = Actions::default();
        let once = Action { handler: 0x1234, flags: SaFlags::RESETHAND, ..Action::DEFAULT };
        actions.replace(Signal::SIGINT, once);
        assert_eq!(actions.begin(Signal::SIGINT), once);
        assert_eq!(actions.begin(Signal::SIGINT).disposition(), Disposition::Default);
    }

    #[test]
    fn ignored_by_default_or_by_choice() {
        let mut actions = Actions::default();
        assert_eq!(
            actions.ignored(),
            SigSet::of(&[Signal::SIGCHLD, Signal::SIGCONT, Signal::SIGURG, Signal::SIGWINCH])
        );
        actions.replace(Signal::SIGINT, Action { handler: 1, ..Action::DEFAULT });
        actions.replace(Signal::SIGCHLD, Action { handler: 0x10, ..Action::DEFAULT });
        assert!(actions.ignored().contains(Signal::SIGINT));
        assert!(!actions.ignored().contains(Signal::SIGCHLD));
    }
}
