//! Runs jobs in a Whelk machine and collects what they print.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use launch::{
    Acceleration, Board, Config, End, Host, Input, Job, Limits, Machine, Mode, Root, Stdin, StreamKind, Usage,
};

/// What all machines of a run have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The project's directory.
    pub project: PathBuf,
    /// Where things are built.
    pub target: PathBuf,
    /// The Whelk kernel that boots.
    pub kernel: PathBuf,
    /// The deterministic machine.
    pub exact: bool,
    pub acceleration: Acceleration,
    pub memory_bytes: u64,
    pub cpus: u32,
    pub board: Board,
    /// Further arguments of QEMU.
    pub extra: Vec<OsString>,
}

impl Settings {
    /// Its Whelk machine.
    pub(crate) fn machine(&self, mode: Mode) -> Machine {
        Machine {
            mode,
            acceleration: self.acceleration,
            memory_bytes: self.memory_bytes,
            cpus: self.cpus,
            board: self.board,
            exact: self.exact,
            extra: self.extra.clone(),
            ..Machine::new(self.kernel.clone())
        }
    }
}

/// A program's run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Raw wait status; `None` if it never ended.
    pub(crate) status: Option<u32>,
}

#[derive(Default)]
struct Collector {
    jobs: BTreeMap<u16, Outcome>,
    running: u16,
    started: Option<Instant>,
    first_output: Option<Duration>,
    usage: Usage,
}

impl Host for Collector {
    fn output(&mut self, job: u16, stream: u8, bytes: &[u8]) -> io::Result<()> {
        if self.first_output.is_none() {
            self.first_output = self.started.map(|started| started.elapsed());
        }
        let outcome = self.jobs.entry(job).or_default();
        let text = if stream == 2 { &mut outcome.stderr } else { &mut outcome.stdout };
        text.push_str(&String::from_utf8_lossy(bytes));
        Ok(())
    }

    fn exit(&mut self, job: u16, status: u32) {
        self.jobs.entry(job).or_default().status = Some(status);
        self.running = job + 1;
    }

    fn exec_failed(&mut self, job: u16, errno: u32, text: &str) {
        self.jobs.entry(job).or_default().stderr.push_str(&format!("{text} ({errno})"));
        self.running = job + 1;
    }

    fn notice(&mut self, _text: &str) {}

    fn usage(&mut self, usage: Usage) {
        self.usage = usage;
    }

    fn log(&mut self, _bytes: &[u8]) {}
}

/// A job: a program of the root, with arguments.
pub(crate) fn job<S: AsRef<str>>(words: &[S]) -> Job {
    let bytes = |word: &S| word.as_ref().as_bytes().to_vec();
    Job {
        path: words.first().map(bytes).unwrap_or_default(),
        argv: words.iter().map(bytes).collect(),
        env: vec![b"PATH=/bin".to_vec(), b"HOME=/".to_vec()],
        cwd: b"/".to_vec(),
        stdin: Stdin::Null,
    }
}

/// What one boot came to.
#[derive(Debug)]
pub(crate) struct Boot {
    /// Of the jobs that ended, and of the one that the machine ended in.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) end: End,
    pub(crate) usage: Usage,
    /// From the start of QEMU to the first byte that the program wrote.
    pub(crate) first_output: Option<Duration>,
    /// From the start of QEMU to its end.
    pub(crate) total: Duration,
}

/// Boots a machine with these jobs.
///
/// # Errors
/// QEMU could not be started.
pub(crate) fn boot(machine: &Machine, root: &Root, jobs: Vec<Job>, limit: Duration) -> Result<Boot> {
    let count = jobs.len();
    let config = Config {
        wall_ns: machine.wall_ns(),
        hostname: b"whelk".to_vec(),
        streams: [StreamKind::Pipe; 3],
        winsize: (24, 80),
        jobs,
    };
    let initrd = root.initrd(&config)?;
    let mut collector = Collector { started: Some(Instant::now()), ..Collector::default() };
    let limits = Limits { total: None, per_job: Some(limit) };
    let end = launch::run(machine, &initrd, Input::Empty, limits, &mut collector, |_| ())
        .context("running the guest")?;
    let ended = if end == End::Done { count } else { usize::from(collector.running) + 1 };
    let total = collector.started.map_or(Duration::ZERO, |started| started.elapsed());
    let outcomes = (0..ended.min(count)).map(|index| {
        u16::try_from(index).ok().and_then(|index| collector.jobs.remove(&index)).unwrap_or_default()
    });
    Ok(Boot {
        outcomes: outcomes.collect(),
        end,
        usage: collector.usage,
        first_output: collector.first_output,
        total,
    })
}

/// Runs jobs in one boot, or in as many as it takes if some take the machine down; what each printed, in their order.
///
/// # Errors
/// QEMU could not be started.
pub(crate) fn run(machine: &Machine, root: &Root, jobs: &[Job], limit: Duration) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    while let Some(left) = jobs.get(outcomes.len()..).filter(|left| !left.is_empty()) {
        let mut boot = boot(machine, root, left.to_vec(), limit)?;
        if boot.end != End::Done {
            let note = match &boot.end {
                End::Panic(log) => format!("the kernel panicked: {log}"),
                End::TimedOut => "it took too long".to_owned(),
                end => format!("the machine ended: {end:?}"),
            };
            if let Some(blamed) = boot.outcomes.last_mut() {
                blamed.stderr.push_str(&note);
                blamed.status = None;
            }
        }
        outcomes.append(&mut boot.outcomes);
    }
    Ok(outcomes)
}
