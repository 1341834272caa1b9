//! Measures suites in Whelk and beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use launch::{Board, Mode, Root};

use crate::app::Apps;
use crate::guest::{self, Outcome, Settings};
use crate::programs::{Operation, Programs};
use crate::results::{Case, Environment, Results};
use crate::rival::Rival;
use crate::suite::{Clock, Suite};
use crate::work::Work;
use crate::{boot, line, linux, stats, suite};

/// For one job; for all of a Linux guest's.
const JOB_LIMIT: Duration = Duration::from_secs(300);
const LINUX_LIMIT: Duration = Duration::from_secs(1800);
/// Processors of a machine of the `scale` suite, if nobody wants more.
const SCALE_CPUS: u32 = 2;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub settings: Settings,
    pub suites: Vec<Suite>,
    pub modes: Vec<Mode>,
    /// Beside which others, now.
    pub rivals: Vec<Rival>,
    /// Times that each is run, in turn with the others. The exact machine needs one.
    pub runs: u32,
}

/// Something that runs programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guest {
    Whelk(Privilege),
    Rival(Rival),
}

/// A mode that can be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Privilege {
    Flat,
    Guarded,
}

impl Privilege {
    const fn mode(self) -> Mode {
        match self {
            Self::Flat => Mode::Flat,
            Self::Guarded => Mode::Guarded,
        }
    }

    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Guarded => "guarded",
        }
    }
}

impl From<Mode> for Privilege {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Flat => Self::Flat,
            Mode::Guarded => Self::Guarded,
        }
    }
}

impl Guest {
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Whelk(privilege) => privilege.key(),
            Self::Rival(rival) => rival.key(),
        }
    }
}

/// Values by case (`suite`, `name`, `unit`) and guest, one for each run.
pub(crate) type Values = BTreeMap<(usize, String, String), BTreeMap<Guest, Vec<f64>>>;

/// Everything that measuring needs.
pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) programs: Programs,
    pub(crate) root: Root,
    pub(crate) kernels: BTreeMap<Rival, linux::Kernel>,
    pub(crate) guests: Vec<Guest>,
    pub(crate) values: Values,
    failed: Vec<String>,
}

/// Measures. `progress` gets a line whenever something takes its time.
///
/// # Errors
/// A machine could not be set up, or what a rival needs.
pub fn measure(plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<Results> {
    let programs = Programs::build(&plan.settings.project, &plan.settings.target)?;
    let mut root = programs.root()?;
    root.add_host_file(Path::new("/init"), &programs.init)?;
    root.add_host_file(Path::new("/bin/first"), &programs.first)?;
    root.add_character_device(Path::new("/dev/console"), 0o600, (5, 1));
    let mut kernels = BTreeMap::new();
    for &rival in plan.rivals.iter().filter(|rival| **rival != Rival::Native) {
        progress(&format!("kernel of {rival}"));
        kernels.insert(rival, linux::kernel(rival, &plan.settings)?);
    }
    let guests = plan.modes.iter().map(|&mode| Guest::Whelk(mode.into()));
    let guests = guests.chain(plan.rivals.iter().map(|&rival| Guest::Rival(rival))).collect();
    let mut bench =
        Bench { plan, programs, root, kernels, guests, values: Values::new(), failed: Vec::new() };
    let operations = bench.programs.operations()?;
    for suite in &plan.suites {
        if suite.name == "boot" {
            boot::measure(&mut bench, progress)?;
            continue;
        }
        let work = bench.work(suite.name, &operations)?;
        for run in 0..plan.runs {
            // In turn, so that a noisy machine hurts all alike.
            for guest in bench.guests.clone() {
                progress(&format!("{}: {} (run {} of {})", suite.name, guest.key(), run + 1, plan.runs));
                bench.run(guest, suite.name, &work)?;
            }
        }
    }
    bench.results()
}

impl Bench<'_> {
    pub(crate) const fn clock(&self) -> Clock {
        if self.plan.settings.exact { Clock::Exact } else { Clock::Wall }
    }

    pub(crate) fn add(&mut self, guest: Guest, suite: &str, name: &str, unit: &str, value: f64) {
        let position = suite::SUITES.iter().position(|known| known.name == suite).unwrap_or(usize::MAX);
        let case = self.values.entry((position, name.to_owned(), unit.to_owned())).or_default();
        case.entry(guest).or_default().push(value);
    }

    pub(crate) fn fail(&mut self, guest: Guest, case: &str, why: &str) {
        let why: Vec<&str> = why.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
        self.failed.push(format!("{} {case}: {}", guest.key(), why.join("; ")));
    }

    /// What belongs to a suite. Its programs are put where they are run.
    fn work(&mut self, suite: &str, operations: &[Operation]) -> Result<Vec<Work>> {
        if suite == "app" {
            let settings = &self.plan.settings;
            let apps = Apps::build(&settings.project, &settings.target, &mut self.failed)?;
            apps.add_to(&mut self.root)?;
            if self.guests.contains(&Guest::Rival(Rival::Native)) {
                apps.install(&settings.target)?;
            }
            return Ok(apps.work);
        }
        let (clock, most) = (self.clock(), self.plan.settings.cpus.max(SCALE_CPUS));
        let chosen = operations.iter().filter(|operation| {
            operation.suite == suite
                && suite::is_measured(&operation.name, clock)
                && suite::processors(&operation.name) <= most
        });
        Ok(chosen.map(|operation| operation.work(&self.programs)).collect())
    }

    /// Runs each case once.
    fn run(&mut self, guest: Guest, suite: &str, work: &[Work]) -> Result<()> {
        let mut settings = self.plan.settings.clone();
        if suite == "scale" {
            settings.cpus = settings.cpus.max(SCALE_CPUS);
            // Linux finds a microvm's second processor only through ACPI, which its translator can't have.
            settings.board = Board::Q35;
            if guest == Guest::Rival(Rival::LinuxTiny) {
                // Built for one processor.
                return Ok(());
            }
        }
        let words: Vec<Vec<String>> = work.iter().map(|work| work.words.clone()).collect();
        let outcomes = if guest == Guest::Rival(Rival::Native) {
            let words = work.iter().filter_map(|work| work.native.as_ref());
            words.map(|words| native(words)).collect::<Result<_>>()?
        } else {
            self.jobs(guest, &settings, &self.root, &words, JOB_LIMIT)?
        };
        for (work, outcome) in work.iter().zip(outcomes) {
            let found = outcome.stdout.lines().filter_map(line::parse).find(|line| line.name == work.name);
            match found {
                Some(line) if outcome.status == Some(0) => {
                    let (value, unit) = self.convert(guest, suite, line.ticks);
                    self.add(guest, suite, &work.name, unit, value);
                }
                _ => {
                    let said = format!("{}\n{}", outcome.stderr, outcome.stdout);
                    self.fail(guest, &format!("{suite}/{}", work.name), &said);
                }
            }
        }
        Ok(())
    }

    /// Runs command lines in a machine, each for so long at most. What each printed.
    pub(crate) fn jobs(
        &self,
        guest: Guest,
        settings: &Settings,
        root: &Root,
        words: &[Vec<String>],
        limit: Duration,
    ) -> Result<Vec<Outcome>> {
        match guest {
            Guest::Whelk(privilege) => {
                let jobs: Vec<_> = words.iter().map(|words| guest::job(words)).collect();
                guest::run(&settings.machine(privilege.mode()), root, &jobs, limit)
            }
            Guest::Rival(rival) => {
                let kernel = self.kernels.get(&rival).context("a rival without a kernel")?;
                linux::jobs(rival, settings, &kernel.file, root, words, LINUX_LIMIT)
            }
        }
    }

    /// A number of ticks in the unit of this run; what runs on this host itself is measured in time, and stands beside instructions.
    fn convert(&self, guest: Guest, suite: &str, ticks: u64) -> (f64, &'static str) {
        let ticks = to_float(ticks);
        let ns = || (ticks * 1e7 / to_float(launch::tsc_khz())).round() / 10.0;
        match (self.clock(), guest) {
            (Clock::Exact, Guest::Rival(Rival::Native)) => (ns(), "instructions"),
            (Clock::Exact, _) => (ticks, "instructions"),
            (Clock::Wall, _) if suite == "app" => ((ns() / 1e4).round() / 100.0, "ms"),
            (Clock::Wall, _) => (ns(), "ns"),
        }
    }

    fn results(self) -> Result<Results> {
        let mut cases = Vec::new();
        for ((position, name, unit), by_guest) in &self.values {
            for &mode in &self.plan.modes {
                let privilege = Privilege::from(mode);
                let Some(ours) = by_guest.get(&Guest::Whelk(privilege)) else { continue };
                let Some(whelk) = stats::median(ours) else { continue };
                let mut case = Case {
                    suite: suite::SUITES.get(*position).map_or("?", |suite| suite.name).to_owned(),
                    name: name.clone(),
                    unit: unit.clone(),
                    mode: privilege.key().to_owned(),
                    whelk,
                    spread: stats::spread(ours).filter(|_| ours.len() > 1),
                    ..Case::default()
                };
                for (guest, theirs) in by_guest {
                    let Guest::Rival(rival) = guest else { continue };
                    if let Some(median) = stats::median(theirs) {
                        case.rivals.insert(rival.key().to_owned(), median);
                    }
                    if theirs.len() > 1
                        && let Some(ratio) = stats::pairwise_ratio(theirs, ours)
                    {
                        case.pairwise.insert(rival.key().to_owned(), ratio);
                    }
                }
                cases.push(case);
            }
        }
        Ok(Results { command: String::new(), environment: self.environment()?, cases, failed: self.failed })
    }

    fn environment(&self) -> Result<Environment> {
        let settings = &self.plan.settings;
        let mut environment = Environment {
            qemu: qemu_version()?,
            accelerator: linux::acceleration_name(settings.exact, settings.acceleration).to_owned(),
            host_cpu: host_cpu(),
            host_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            runs: self.plan.runs,
            ..Environment::default()
        };
        let words = |arguments: Vec<std::ffi::OsString>| {
            let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            format!("qemu-system-x86_64 {}", words.join(" "))
        };
        for &mode in &self.plan.modes {
            let machine = settings.machine(mode);
            let arguments = machine.qemu_arguments(Path::new("INITRD"), "CHANNEL", "SERIAL");
            environment.command_lines.insert(Privilege::from(mode).key().to_owned(), words(arguments));
        }
        for (rival, kernel) in &self.kernels {
            let line = linux::command_line(*rival, settings.exact, "/init");
            let arguments =
                linux::qemu_arguments(settings, &kernel.file, &line, Path::new("INITRD"), "SERIAL");
            environment.command_lines.insert(rival.key().to_owned(), words(arguments));
            environment.kernels.insert(rival.key().to_owned(), kernel.version.clone());
        }
        if self.plan.rivals.contains(&Rival::Native) {
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            environment.kernels.insert(Rival::Native.key().to_owned(), release.trim().to_owned());
        }
        Ok(environment)
    }
}

/// Runs a command line on this host.
fn native(words: &[String]) -> Result<Outcome> {
    let (program, arguments) = words.split_first().context("no program")?;
    let output = Command::new(program).args(arguments).output().with_context(|| program.clone())?;
    Ok(Outcome {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status.code().and_then(|code| u32::try_from(code).ok()),
    })
}

/// Ticks, bytes and the like are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "figures are far below 2^53")]
pub(crate) const fn to_float(number: u64) -> f64 {
    number as f64
}

fn qemu_version() -> Result<String> {
    let output =
        Command::new("qemu-system-x86_64").arg("--version").output().context("qemu-system-x86_64")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim_start_matches("QEMU emulator version ").to_owned())
}

fn host_cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    model.and_then(|line| line.split_once(": ")).map_or_else(|| "?".to_owned(), |(_, name)| name.to_owned())
}
