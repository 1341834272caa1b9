//! Which kernel functions the guest instructions of a case went to.
//!
//! QEMU translates and logs one instruction at a time in the exact machine, so nothing is sampled: every instruction of the measured loop is
//! counted, and the sum is what the measuring program measured.

mod log;
mod stack;
mod symbols;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use launch::{Machine, TempDir};
use nix::sys::stat;

use crate::app::Apps;
use crate::{guest, line, programs};
use stack::{Node, Stacks};
use symbols::Symbols;

/// Addresses from here on are the kernel's.
const KERNEL_HALF: u64 = 1 << 63;
const LIMIT: Duration = Duration::from_secs(1800);
/// The case that is the boot itself.
const BOOT: &str = "boot";

/// A function's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    /// Instructions of its own, in all rounds.
    pub own: u64,
    /// With those of what it called.
    pub with_callees: u64,
}

/// Where a case's instructions went.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `suite/name`.
    pub case: String,
    /// What the program measured, by the round.
    pub measured: u64,
    pub rounds: u64,
    /// Instructions of all rounds.
    pub total: u64,
    /// Of these, the program's own, or those before the kernel's own page tables.
    pub program: u64,
    /// Functions as the compiler made them, the dearest first.
    pub functions: Vec<Row>,
    /// Functions as they were written: inlined ones apart.
    pub written: Vec<Row>,
    /// `outer;inner;innermost count`, as flame-graph tools read it, of all rounds.
    pub folded: String,
}

/// What was executed in one repetition.
#[derive(Debug, Default)]
struct Counts {
    total: u64,
    program: u64,
    kernel: HashMap<(Node, u64), u64>,
}

/// Which instructions of the log count.
#[derive(Clone, Copy, Debug)]
enum Window {
    /// Those between the marks of the measuring program; the cheapest repetition.
    Marks { start: u64, stop: u64, repetition: u64 },
    /// Those before the program's first.
    Boot,
    /// Those from the program's first to the last of all.
    Whole,
}

fn no_such(case: &str) -> String {
    format!("{case}: no such case")
}

/// Runs `case` (`suite/name`, or `boot`) and counts. `kernel` has symbols.
///
/// # Errors
/// The case doesn't exist or fails, or a tool does.
pub fn profile(
    machine: &Machine,
    kernel: &Path,
    project: &Path,
    target: &Path,
    case: &str,
) -> Result<Profile> {
    let programs = programs::Programs::build(project, target)?;
    let mut root = programs.root()?;
    let name = case.rsplit('/').next().unwrap_or(case);
    let (window, job) = if name == BOOT {
        (Window::Boot, guest::job(&["/bin/hello"]))
    } else if case.starts_with("app/") {
        let apps = Apps::build(project, target, &mut Vec::new())?;
        apps.add_to(&mut root)?;
        let found = apps.work.into_iter().find(|work| work.name == name).with_context(|| no_such(case))?;
        (Window::Whole, guest::job(&found.words))
    } else {
        let found = programs.operations()?.into_iter().find(|operation| operation.name == name);
        let found = found.with_context(|| no_such(case))?;
        (marks(&found.file)?, guest::job(&found.words()))
    };

    let symbols = Symbols::read(kernel)?;
    let directory = TempDir::new()?;
    let fifo = directory.path().join("log");
    nix::unistd::mkfifo(&fifo, stat::Mode::S_IRWXU).context("mkfifo")?;
    let mut machine = machine.clone();
    machine.exact = true;
    machine.extra = ["-singlestep", "-d", "exec,nochain", "-D"].into_iter().map(Into::into).collect();
    machine.extra.push(fifo.clone().into_os_string());
    let (counted, outcomes) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_log(&fifo, window, &symbols));
        let outcomes = guest::run(&machine, &root, &[job], LIMIT);
        if outcomes.is_err() {
            // The reader may still be waiting for somebody to open the other end.
            drop(File::options().write(true).read(true).open(&fifo));
        }
        (reader.join(), outcomes)
    });
    let outcome = outcomes?.pop().unwrap_or_default();
    let Ok(counted) = counted else { bail!("reading QEMU's log failed") };
    let (counts, stacks) = counted?;
    let lines: Vec<line::Line> = outcome.stdout.lines().filter_map(line::parse).collect();
    let (case, measured, rounds) = match (&lines[..], window) {
        (_, Window::Boot) => (BOOT.to_owned(), counts.total, 1),
        ([line], _) => (format!("{}/{}", line.suite, line.name), line.ticks, line.rounds),
        ([], _) => bail!("{case} fails: {}", outcome.stderr.trim()),
        _ => bail!("{case}: the program ran several cases"),
    };
    let mut profile = Profile {
        case,
        measured,
        rounds,
        total: counts.total,
        program: counts.program,
        functions: Vec::new(),
        written: Vec::new(),
        folded: String::new(),
    };
    sum_up(&mut profile, &counts, &stacks, &symbols, kernel)?;
    Ok(profile)
}

fn marks(program: &Path) -> Result<Window> {
    let functions = symbols::functions(program)?;
    let find = |name: &str| {
        let found = functions.iter().find(|function| function.1 == name);
        found.map(|function| function.0).with_context(|| format!("the measuring program has no {name}"))
    };
    Ok(Window::Marks {
        start: find("mark_start")?,
        stop: find("mark_stop")?,
        repetition: find("mark_repetition")?,
    })
}

/// Reads the log to its end: the counts of the cheapest repetition.
fn read_log(fifo: &PathBuf, window: Window, symbols: &Symbols) -> Result<(Counts, Stacks)> {
    let mut log = BufReader::with_capacity(1 << 18, File::open(fifo).context("QEMU's log")?);
    let mut stacks = Stacks::new(symbols.find("switch_stacks"));
    let mut current = Counts::default();
    let mut best: Option<Counts> = None;
    let mut counting = matches!(window, Window::Boot);
    let mut in_high_half = false;
    let mut buffer = Vec::new();
    while {
        buffer.clear();
        log.read_until(b'\n', &mut buffer).context("QEMU's log")? > 0
    } {
        let Some(address) = log::program_counter(&buffer) else { continue };
        if address < KERNEL_HALF {
            stacks.program();
            match window {
                Window::Marks { start, .. } if address == start => counting = true,
                Window::Marks { stop, .. } if address == stop => counting = false,
                Window::Marks { repetition, .. } if address == repetition => {
                    let done = std::mem::take(&mut current);
                    if best.as_ref().is_none_or(|best| done.total < best.total) {
                        best = Some(done);
                    }
                }
                Window::Whole => counting |= in_high_half,
                Window::Boot if in_high_half && counting => {
                    counting = false;
                    best = Some(std::mem::take(&mut current));
                }
                _ => {}
            }
            if counting {
                current.total += 1;
                current.program += 1;
            }
            continue;
        }
        in_high_half = true;
        let node = stacks.kernel(address, |address| symbols.flow.get(&address).copied());
        if counting {
            current.total += 1;
            *current.kernel.entry((node, address)).or_default() += 1;
        }
    }
    if matches!(window, Window::Whole) {
        best = Some(current);
    }
    let counts = best.context("the program measured nothing")?;
    Ok((counts, stacks))
}

/// Shares by name, from stacks of names.
#[derive(Default)]
struct Shares(HashMap<String, (u64, u64)>);

impl Shares {
    fn add(&mut self, stack: &[&str], count: u64) {
        for name in stack.iter().copied().collect::<BTreeSet<_>>() {
            self.0.entry(name.to_owned()).or_default().1 += count;
        }
        if let Some(&innermost) = stack.last() {
            self.0.entry(innermost.to_owned()).or_default().0 += count;
        }
    }

    fn rows(self) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.0.into_iter().map(|(name, (own, with_callees))| Row { name, own, with_callees }).collect();
        rows.sort_by(|a, b| {
            b.own.cmp(&a.own).then(b.with_callees.cmp(&a.with_callees)).then(a.name.cmp(&b.name))
        });
        rows
    }
}

fn sum_up(
    profile: &mut Profile,
    counts: &Counts,
    stacks: &Stacks,
    symbols: &Symbols,
    kernel: &Path,
) -> Result<()> {
    let mut addresses = BTreeSet::new();
    for &(node, address) in counts.kernel.keys() {
        addresses.insert(address);
        addresses.extend(stacks.call_sites(node));
    }
    let inlined = symbols::inlined(kernel, &addresses.into_iter().collect::<Vec<_>>())?;
    let outer = |address: u64| symbols.function(address).map_or("?", |function| symbols.name(function));
    let (mut functions, mut written) = (Shares::default(), Shares::default());
    let mut folded: BTreeMap<String, u64> = BTreeMap::new();
    for (&(node, address), &count) in &counts.kernel {
        let mut sites = stacks.call_sites(node);
        sites.push(address);
        let stack: Vec<&str> = sites.iter().map(|&site| outer(site)).collect();
        functions.add(&stack, count);
        let mut stack: Vec<&str> = Vec::new();
        for &site in &sites {
            match inlined.get(&site) {
                Some(names) => stack.extend(names.iter().map(String::as_str)),
                None => stack.push(outer(site)),
            }
        }
        stack.dedup();
        written.add(&stack, count);
        *folded.entry(stack.join(";")).or_default() += count;
    }
    let own = if profile.case == BOOT { "(firmware, first steps)" } else { "(program)" };
    for shares in [&mut functions, &mut written] {
        shares.add(&[own], profile.program);
    }
    *folded.entry(own.to_owned()).or_default() += profile.program;
    profile.functions = functions.rows();
    profile.written = written.rows();
    profile.folded = folded.iter().map(|(stack, count)| format!("{stack} {count}\n")).collect();
    Ok(())
}

impl Profile {
    /// The tables, with so many rows each, in instructions by the round.
    #[must_use]
    pub fn table(&self, rows: usize) -> String {
        let by_round = |count: u64| {
            let tenths = (count * 10).div_ceil(self.rounds);
            if self.rounds == 1 { count.to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
        };
        let mut text = format!(
            "{}: {} instructions by the round (measured: {}), of them {} in the program; {} rounds\n",
            self.case,
            by_round(self.total),
            self.measured,
            by_round(self.program),
            self.rounds
        );
        for (title, list) in [
            ("as the compiler made them", &self.functions),
            ("as they were written: inlined ones apart", &self.written),
        ] {
            text.push_str(&format!("\n{:>10} {:>10} {:>6}  functions {title}\n", "own", "+callees", "own %"));
            for row in list.iter().take(rows) {
                let thousandths = row.own * 1000 / self.total.max(1);
                text.push_str(&format!(
                    "{:>10} {:>10} {:>4}.{}  {}\n",
                    by_round(row.own),
                    by_round(row.with_callees),
                    thousandths / 10,
                    thousandths % 10,
                    row.name
                ));
            }
        }
        text
    }
}
