//! Runs jobs in a Whelk machine and collects what they print.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use launch::{Config, End, Host, Input, Job, Machine, Root, Stdin, StreamKind};

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
    notices: String,
}

impl Host for Collector {
    fn output(&mut self, job: u16, stream: u8, bytes: &[u8]) -> io::Result<()> {
        let outcome = self.jobs.entry(job).or_default();
        let text = if stream == 2 { &mut outcome.stderr } else { &mut outcome.stdout };
        text.push_str(&String::from_utf8_lossy(bytes));
        Ok(())
    }

    fn exit(&mut self, job: u16, status: u32) {
        self.jobs.entry(job).or_default().status = Some(status);
    }

    fn exec_failed(&mut self, job: u16, errno: u32, text: &str) {
        self.jobs.entry(job).or_default().stderr.push_str(&format!("{text} ({errno})"));
    }

    fn notice(&mut self, text: &str) {
        self.notices.push_str(text);
    }

    fn log(&mut self, _bytes: &[u8]) {}
}

/// A job: a program of the root, with arguments.
pub(crate) fn job(words: &[&str]) -> Job {
    let bytes = |word: &&str| word.as_bytes().to_vec();
    Job {
        path: words.first().map(bytes).unwrap_or_default(),
        argv: words.iter().map(bytes).collect(),
        env: vec![b"PATH=/bin".to_vec(), b"HOME=/".to_vec()],
        cwd: b"/".to_vec(),
        stdin: Stdin::Null,
    }
}

/// Runs jobs in one boot; what each printed, in their order.
///
/// # Errors
/// The machine ended before the last job did.
pub(crate) fn run(machine: &Machine, root: &Root, jobs: Vec<Job>, limit: Duration) -> Result<Vec<Outcome>> {
    let count = jobs.len();
    let config = Config {
        wall_ns: machine.wall_ns(),
        hostname: b"whelk".to_vec(),
        streams: [StreamKind::Pipe; 3],
        winsize: (24, 80),
        jobs,
    };
    let initrd = root.initrd(&config)?;
    let mut collector = Collector::default();
    let end = launch::run(machine, &initrd, Input::Empty, Some(limit), &mut collector, |_| ())
        .context("running the guest")?;
    if end != End::Done {
        bail!("the machine ended: {end:?}\n{}", collector.notices);
    }
    Ok((0..count)
        .map(|index| {
            u16::try_from(index).ok().and_then(|index| collector.jobs.remove(&index)).unwrap_or_default()
        })
        .collect())
}
