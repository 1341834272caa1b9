//! Guest tests. The oracle is Linux: each case is an ordinary Linux program that runs on this host first; then the same bytes and the same
//! wait status must come out of Whelk, in both modes and on two machine types. Many cases share a boot.

mod cases;
mod native;
mod programs;
mod soak;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use launch::{
    Acceleration, Board, Config, End, Host, Input, Job, Limits, Machine, Mode, Root, Stdin, StreamKind,
};

pub use soak::soak;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kernel that boots.
    pub kernel: PathBuf,
    /// The project's directory.
    pub project: PathBuf,
    /// Only cases whose names contain this.
    pub filter: Option<String>,
    /// Only machines whose names contain one of these; all if there are none.
    pub on: Vec<String>,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub passed: u64,
    pub failed: u64,
}

/// A program's run, natively or in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Raw wait status; `None` if the machine ended before the program.
    pub(crate) status: Option<u32>,
}

/// One case: a command line, run in a directory of its own.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) scope: Scope,
}

/// Where a case applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everywhere,
    /// What needs ring 3: privileged instructions end in signals only there.
    GuardedOnly,
}

const ENVIRONMENT: [&str; 4] = ["PATH=/bin:/t/bin:/usr/bin", "HOME=/", "LC_ALL=C", "TZ=UTC"];
const MEMORY: u64 = 1 << 30;
/// For one case. The longest take some ten seconds; a busy host takes several times as long as a quiet one.
const CASE_LIMIT: Duration = Duration::from_secs(240);

/// Modes, machine types and numbers of CPUs, by name.
const MATRIX: [(&str, Mode, Board, u32); 6] = [
    ("flat/microvm", Mode::Flat, Board::Microvm, 1),
    ("guarded/microvm", Mode::Guarded, Board::Microvm, 1),
    ("flat/microvm-smp2", Mode::Flat, Board::Microvm, 2),
    ("guarded/microvm-smp2", Mode::Guarded, Board::Microvm, 2),
    ("flat/q35", Mode::Flat, Board::Q35, 1),
    ("guarded/q35", Mode::Guarded, Board::Q35, 1),
];

/// Under KVM, where it is good for something: what depends on the processor most.
const KVM_MACHINES: [(&str, Mode); 2] =
    [("guarded/microvm-kvm", Mode::Guarded), ("flat/microvm-kvm", Mode::Flat)];
const KVM_CASES: [&str; 11] = [
    "hello",
    "faults",
    "guarded_",
    "usercopy",
    "memory_calls",
    "rust_std",
    "lua",
    "busybox:/bin/busybox sh",
    // From here on with XSAVE, which a KVM that emulates ring 0 doesn't have.
    "torture",
    "sigframes",
    "floats",
];
const CASES_WITHOUT_XSAVE: usize = 8;

/// The beginnings of the names of the cases that run with an acceleration; `None` for all.
fn smoke_cases(acceleration: Acceleration) -> Option<&'static [&'static str]> {
    match acceleration {
        Acceleration::Tcg => None,
        Acceleration::Kvm => Some(&KVM_CASES),
        Acceleration::KvmEmulated => Some(KVM_CASES.split_at(CASES_WITHOUT_XSAVE).0),
    }
}

fn directory_of(index: usize) -> String {
    format!("/t/{index:03}")
}

/// Runs the guest tests.
///
/// # Errors
/// Something around the tests went wrong: a program didn't build, the native runs couldn't be set up.
pub fn run(options: &Options) -> Result<Summary> {
    let programs = programs::build(&options.project)?;
    let mut cases = cases::all(&options.project, &programs)?;
    if let Some(filter) = &options.filter {
        cases.retain(|case| case.name.contains(filter.as_str()));
        ensure!(!cases.is_empty(), "no case's name contains {filter:?}");
    }
    check_machines(&options.on)?;
    let tree = tree::Tree::build(&options.project, &programs, cases.len())?;
    let mut summary = Summary::default();
    let mut fail = |text: String| {
        println!("FAILED {text}");
        summary.failed += 1;
    };
    println!("guest: {} cases, natively first", cases.len());
    let mut expected = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        // Twice: what isn't the same natively can't be compared.
        let first = native::run(&tree, case, index)?;
        tree.reset(index)?;
        let second = native::run(&tree, case, index)?;
        tree.reset(index)?;
        if first != second {
            fail(format!("{}: two native runs differ\n{}", case.name, difference(&first, &second)));
            expected.push(None);
        } else {
            expected.push(Some(first));
        }
    }
    let root = tree.root()?;
    let mut passed = 0;
    let chosen =
        |name: &str| options.on.is_empty() || options.on.iter().any(|part| name.contains(part.as_str()));
    let machine = |mode, board, cpus| Machine {
        mode,
        board,
        cpus,
        memory_bytes: MEMORY,
        ..Machine::new(options.kernel.clone())
    };
    let mut machines: Vec<(&str, Machine)> = MATRIX
        .into_iter()
        .filter(|(name, ..)| chosen(name))
        .map(|(name, mode, board, cpus)| (name, machine(mode, board, cpus)))
        .collect();
    let under_kvm = KVM_MACHINES.into_iter().filter(|(name, _)| chosen(name));
    if under_kvm.clone().next().is_some() {
        let verdict = launch::probe_kvm()?;
        for (name, mode) in under_kvm {
            match verdict.acceleration(mode) {
                Err(reason) => println!("guest: {name}: not run, since {reason}"),
                Ok(acceleration) => {
                    machines.push((name, Machine { acceleration, ..machine(mode, Board::Microvm, 1) }));
                }
            }
        }
    }
    for (name, machine) in machines {
        let smoke = smoke_cases(machine.acceleration);
        let wanted: Vec<usize> = (0..cases.len())
            .filter(|&index| expected.get(index).is_some_and(Option::is_some))
            .filter(|&index| {
                cases.get(index).is_some_and(|case| {
                    (case.scope == Scope::Everywhere || machine.mode == Mode::Guarded)
                        && smoke.is_none_or(|names| names.iter().any(|start| case.name.starts_with(start)))
                })
            })
            .collect();
        let mut good = 0;
        let outcomes = run_in_guest(&machine, &root, &cases, &wanted)?;
        for &index in &wanted {
            let (Some(case), Some(Some(native))) = (cases.get(index), expected.get(index)) else { continue };
            match outcomes.get(&index) {
                Some((outcome, _)) if outcome == native => good += 1,
                Some((outcome, note)) => {
                    fail(format!("{name} {}{note}\n{}", case.name, difference(native, outcome)));
                }
                None => fail(format!("{name} {}: it never ran", case.name)),
            }
        }
        let how = machine.acceleration.drawback().map_or(String::new(), |drawback| format!(" ({drawback})"));
        println!("guest: {name}: {good} of {} as natively{how}", wanted.len());
        passed += good;
    }
    summary.passed = passed;
    Ok(summary)
}

/// Whether each name that was asked for is part of a machine's. What compares nothing must not pass.
fn check_machines(wanted: &[String]) -> Result<()> {
    let names = || MATRIX.iter().map(|&(name, ..)| name).chain(KVM_MACHINES.iter().map(|&(name, _)| name));
    for part in wanted {
        let all: Vec<&str> = names().collect();
        ensure!(
            all.iter().any(|name| name.contains(part.as_str())),
            "--on {part}: not part of any of {}",
            all.join(", ")
        );
    }
    Ok(())
}

/// Outcome of each case, with a remark for the report.
type Outcomes = BTreeMap<usize, (Outcome, String)>;

/// Collects what a boot's jobs say.
#[derive(Default)]
struct Collector {
    jobs: BTreeMap<u16, Outcome>,
    running: u16,
    notices: String,
}

impl Host for Collector {
    fn output(&mut self, job: u16, stream: u8, bytes: &[u8]) -> io::Result<()> {
        self.running = job;
        let outcome = self.jobs.entry(job).or_default();
        if stream == 2 { &mut outcome.stderr } else { &mut outcome.stdout }.extend_from_slice(bytes);
        Ok(())
    }

    fn exit(&mut self, job: u16, status: u32) {
        self.jobs.entry(job).or_default().status = Some(status);
        self.running = job + 1;
    }

    fn exec_failed(&mut self, job: u16, errno: u32, text: &str) {
        let outcome = self.jobs.entry(job).or_default();
        outcome.stderr.extend_from_slice(format!("could not be started: {text} ({errno})").as_bytes());
        self.running = job + 1;
    }

    fn notice(&mut self, text: &str) {
        self.notices.push_str(text);
    }

    fn log(&mut self, _bytes: &[u8]) {}
}

/// Runs cases in as few boots as it takes: one, unless a case takes the machine down.
fn run_in_guest(machine: &Machine, root: &Root, cases: &[Case], wanted: &[usize]) -> Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    let mut left = wanted.to_vec();
    while !left.is_empty() {
        let jobs = left.iter().filter_map(|&index| Some(job(cases.get(index)?, index))).collect();
        let config = Config {
            wall_ns: machine.wall_ns(),
            hostname: b"whelk".to_vec(),
            streams: [StreamKind::Pipe; 3],
            winsize: (24, 80),
            jobs,
        };
        let initrd = root.initrd(&config)?;
        let mut collector = Collector::default();
        let limits = Limits { total: None, per_job: Some(CASE_LIMIT) };
        let end = launch::run(machine, &initrd, Input::Empty, limits, &mut collector, |_| ())
            .context("running the guest")?;
        let blamed = usize::from(collector.running);
        let remark = || match &end {
            End::TimedOut => format!(": it didn't end within {} seconds", CASE_LIMIT.as_secs()),
            end => format!(": the machine ended: {end:?}"),
        };
        for (position, &index) in left.iter().enumerate() {
            let Some(outcome) = u16::try_from(position).ok().and_then(|job| collector.jobs.remove(&job))
            else {
                continue;
            };
            let done = position < blamed || end == End::Done;
            let note = if done { String::new() } else { remark() };
            outcomes.insert(index, (outcome, note));
        }
        if end == End::Done {
            break;
        }
        if let Some(&index) = left.get(blamed) {
            outcomes.entry(index).or_insert_with(|| (Outcome::default(), remark()));
        }
        left = left.get(blamed + 1..).unwrap_or_default().to_vec();
    }
    Ok(outcomes)
}

fn job(case: &Case, index: usize) -> Job {
    Job {
        path: case.argv.first().cloned().unwrap_or_default(),
        argv: case.argv.clone(),
        env: ENVIRONMENT.iter().map(|variable| variable.as_bytes().to_vec()).collect(),
        cwd: directory_of(index).into_bytes(),
        stdin: Stdin::Bytes(case.stdin.clone()),
    }
}

/// The first lines in which two runs differ.
fn difference(expected: &Outcome, found: &Outcome) -> String {
    const LINES: usize = 6;
    let mut text = String::new();
    if expected.status != found.status {
        let show = |status: Option<u32>| status.map_or("none".to_owned(), |status| format!("{status:#x}"));
        text.push_str(&format!(
            "  wait status: natively {}, here {}\n",
            show(expected.status),
            show(found.status)
        ));
    }
    for (name, ours, theirs) in
        [("stdout", &expected.stdout, &found.stdout), ("stderr", &expected.stderr, &found.stderr)]
    {
        if ours == theirs {
            continue;
        }
        let (ours, theirs) = (String::from_utf8_lossy(ours), String::from_utf8_lossy(theirs));
        let (mut ours, mut theirs) = (ours.lines(), theirs.lines());
        let mut shown = 0;
        text.push_str(&format!("  {name}:\n"));
        loop {
            let (a, b) = (ours.next(), theirs.next());
            if (a.is_none() && b.is_none()) || shown == LINES {
                break;
            }
            if a != b {
                text.push_str(&format!("    natively {a:?}\n    here     {b:?}\n"));
                shown += 1;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests_of_choice {
    #[test]
    fn machines_that_do_not_exist_are_refused() {
        let check = |names: &[&str]| {
            super::check_machines(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert!(check(&[]).is_ok());
        assert!(check(&["flat/microvm", "kvm"]).is_ok());
        assert!(
            check(&["flat", "flat/pc"])
                .unwrap_err()
                .to_string()
                .starts_with("--on flat/pc: not part of any of flat/microvm, ")
        );
    }
}
