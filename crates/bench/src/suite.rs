//! The suites: what belongs to each, and how it is measured.

/// How a suite is measured unless something else is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Guest instructions, the same on every host.
    Exact,
    /// This host's time.
    Wall,
}

/// A suite.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    pub name: &'static str,
    pub about: &'static str,
    pub clock: Clock,
}

/// All of them, in the order of the tables.
pub const SUITES: [Suite; 7] = [
    Suite {
        name: "boot",
        about: "power-on to the program's first instruction, first output and end; memory and sizes",
        clock: Clock::Exact,
    },
    Suite {
        name: "syscall",
        about: "getppid, read and write of devices, clocks, open, stat, fcntl, poll, select and epoll of 1 to 1,000",
        clock: Clock::Exact,
    },
    Suite {
        name: "process",
        about: "threads, fork, exec, a shell, context switches, and what passes between threads and processes",
        clock: Clock::Exact,
    },
    Suite {
        name: "memory",
        about: "mmap, page faults, mprotect, brk, memcpy and memset, a malloc-heavy program, a walk over 1 GiB",
        clock: Clock::Exact,
    },
    Suite {
        name: "file",
        about: "tmpfs: create, read, write, unlink, directories, paths of depth 1, 8 and 32",
        clock: Clock::Exact,
    },
    Suite {
        name: "app",
        about: "programs: SQLite, a shell script with 1,000 forks, compression, Rust, Lua",
        clock: Clock::Wall,
    },
    Suite {
        name: "scale",
        about: "system calls, page faults, futexes and pipes on 1 and 2 processors at once, on 4 and 8 with --cpus",
        clock: Clock::Wall,
    },
];

/// How many processors a case of the `scale` suite wants, by its name.
pub(crate) fn processors(name: &str) -> u32 {
    let number = name.strip_suffix("cpu").and_then(|name| name.rsplit('_').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// The suite of that name.
#[must_use]
pub fn find(name: &str) -> Option<Suite> {
    SUITES.into_iter().find(|suite| suite.name == name)
}

/// Cases that say nothing in the exact machine, which has no memory to wait for.
const ONLY_WALL: [&str; 3] = ["memcpy_1m", "memset_1m", "tlb_walk_1g"];

/// Whether a case is measured by this clock.
pub(crate) fn is_measured(name: &str, clock: Clock) -> bool {
    clock == Clock::Wall || !ONLY_WALL.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_name_their_processors() {
        assert_eq!(processors("fault_8cpu"), 8);
        assert_eq!(processors("getppid_2cpu"), 2);
        assert_eq!(processors("null_getppid"), 1);
        assert_eq!(processors("cpu"), 1);
    }
}
