//! The soak: `tests/guest/soak.c` with one seed after the other in few boots, and the kernel's own count of what is left after each job.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use launch::{Config, Host, Input, Job, LogLevel, Machine, Mode, StreamKind};

use crate::{MEMORY, Options, Summary, programs, tree};

/// Jobs of one boot, and rounds of one job.
const JOBS: u16 = 24;
const ROUNDS: u32 = 150;
/// The first jobs fill caches that stay: the kernel's heap, whole paths.
const WARM_UP: u16 = 8;
/// Frames that may come and go with those caches.
const SLACK: i64 = 64;
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// What the kernel counts when a job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    frames_free: i64,
    processes: i64,
    threads: i64,
}

/// Reads the kernel's lines `job N ended: F frames free, P processes, T threads`.
fn parse(log: &str) -> Vec<Left> {
    let read = |line: &str| {
        let (_, counts) = line.split_once("ended: ")?;
        let mut numbers = counts.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
        Some(Left { frames_free: numbers.next()?, processes: numbers.next()?, threads: numbers.next()? })
    };
    log.lines().filter_map(read).collect()
}

/// What is wrong with the counts of a boot, if something is.
fn judge(left: &[Left]) -> Option<String> {
    if left.len() < usize::from(JOBS) {
        return Some(format!("{} of {JOBS} jobs ended", left.len()));
    }
    if let Some(bad) = left.iter().find(|left| left.processes != 0 || left.threads != 0) {
        return Some(format!("{} processes and {} threads stayed", bad.processes, bad.threads));
    }
    let (first, last) = (left.get(usize::from(WARM_UP))?, left.last()?);
    let lost = first.frames_free - last.frames_free;
    (lost > SLACK).then(|| format!("{lost} frames were lost in {} jobs", JOBS - WARM_UP))
}

#[derive(Default)]
struct Collector {
    log: Vec<u8>,
    output: Vec<u8>,
    failures: Vec<String>,
}

impl Host for Collector {
    fn output(&mut self, _job: u16, _stream: u8, bytes: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    fn exit(&mut self, job: u16, status: u32) {
        if status != 0 {
            self.failures.push(format!("job {job}: status {status:#x}"));
        }
    }

    fn exec_failed(&mut self, job: u16, _errno: u32, text: &str) {
        self.failures.push(format!("job {job}: {text}"));
    }

    fn notice(&mut self, text: &str) {
        self.failures.push(text.to_owned());
    }

    fn log(&mut self, bytes: &[u8]) {
        self.log.extend_from_slice(bytes);
    }
}

/// Runs the soak for so many minutes, in both modes in turn. Each boot counts as a test.
///
/// # Errors
/// The program didn't build, or a machine couldn't be started.
pub fn soak(options: &Options, minutes: u64) -> Result<Summary> {
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let programs = programs::build(&options.project)?;
    let tree = tree::Tree::build(&options.project, &programs, 1)?;
    let root = tree.root()?;
    let mut summary = Summary::default();
    let mut seed = 1u64;
    for mode in [Mode::Flat, Mode::Guarded].into_iter().cycle() {
        if Instant::now() >= end && summary.passed + summary.failed >= 2 {
            break;
        }
        let jobs = (0..u64::from(JOBS)).map(|job| Job {
            path: b"/t/bin/soak".to_vec(),
            argv: vec![
                b"soak".to_vec(),
                (seed + job).to_string().into_bytes(),
                ROUNDS.to_string().into_bytes(),
            ],
            env: Vec::new(),
            cwd: b"/tmp".to_vec(),
            stdin: launch::Stdin::Bytes(Vec::new()),
        });
        let machine = Machine {
            mode,
            memory_bytes: MEMORY,
            log: Some(LogLevel::Info),
            ..Machine::new(options.kernel.clone())
        };
        let config = Config {
            wall_ns: machine.wall_ns(),
            hostname: b"whelk".to_vec(),
            streams: [StreamKind::Pipe; 3],
            winsize: (24, 80),
            jobs: jobs.collect(),
        };
        let mut collector = Collector::default();
        let ended = launch::run(
            &machine,
            &root.initrd(&config)?,
            Input::Empty,
            Some(BOOT_LIMIT),
            &mut collector,
            |_| (),
        )
        .context("running the guest")?;
        if ended != launch::End::Done {
            collector.failures.push(format!("the machine ended: {ended:?}"));
        }
        let left = parse(&String::from_utf8_lossy(&collector.log));
        collector.failures.extend(judge(&left));
        let first = left.get(usize::from(WARM_UP)).map_or(0, |left| left.frames_free);
        let last = left.last().map_or(0, |left| left.frames_free);
        if collector.failures.is_empty() {
            summary.passed += 1;
        } else {
            summary.failed += 1;
            println!("FAILED soak: {}", collector.failures.join("; "));
            println!("{}", String::from_utf8_lossy(&collector.output));
        }
        println!(
            "soak: {mode:?}, seeds from {seed}: frames free after job {WARM_UP} {first}, at the end {last}"
        );
        seed += u64::from(JOBS);
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::{JOBS, Left, judge, parse};

    #[test]
    fn losses_are_seen() {
        let log = "[info] job 3 ended: 120 frames free, 0 processes, 1 threads\nother\n";
        assert_eq!(parse(log), [Left { frames_free: 120, processes: 0, threads: 1 }]);
        let good = Left { frames_free: 5000, processes: 0, threads: 0 };
        let mut all = vec![good; usize::from(JOBS)];
        assert_eq!(judge(&all), None);
        all[20].threads = 1;
        assert!(judge(&all).is_some());
        all[20].threads = 0;
        all.last_mut().unwrap().frames_free = 4000;
        assert!(judge(&all).is_some());
        assert!(judge(&all[..3]).is_some());
    }
}
