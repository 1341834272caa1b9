//! What Whelk is measured beside.

use std::fmt;
use std::str::FromStr;

/// Another way to run the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rival {
    /// Debian's cloud kernel with its default command line.
    Linux,
    /// The same, with what makes it boot faster.
    LinuxTuned,
    /// The smallest 6.1 that runs servers: `bench/linux-tiny.config`.
    LinuxTiny,
    /// This host, without a machine.
    Native,
}

impl Rival {
    pub const ALL: [Self; 4] = [Self::Linux, Self::LinuxTuned, Self::LinuxTiny, Self::Native];

    /// Its key in JSON and on the command line.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::LinuxTuned => "linux-tuned",
            Self::LinuxTiny => "linux-tiny",
            Self::Native => "native",
        }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl FromStr for Rival {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|rival| rival.key() == text).ok_or(())
    }
}
