//! The `boot` suite: how soon a program runs, and what the machine takes for it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use launch::{Board, End, Mode, Root, TempDir};

use crate::guest::{self, Outcome, Settings};
use crate::measure::{Bench, Guest, Privilege, to_float};
use crate::rival::Rival;
use crate::suite::Clock;
use crate::{line, linux, server};

const LIMIT: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;
/// Where guests' memory lies while its touched pages are counted.
const SHARED_MEMORY: &str = "/dev/shm";

/// What a boot said and used.
struct Booted {
    outcome: Outcome,
    first_output: Option<Duration>,
    total: Duration,
    cpu: Duration,
    resident_bytes: u64,
}

/// Measures what the clock of this run can.
pub(crate) fn measure(bench: &mut Bench<'_>, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let root = small_root(bench)?;
    let guests: Vec<Guest> =
        bench.guests.iter().copied().filter(|guest| *guest != Guest::Rival(Rival::Native)).collect();
    match bench.clock() {
        Clock::Exact => {
            for guest in guests {
                progress(&format!("boot: {}", guest.key()));
                exact(bench, guest, &root)?;
            }
        }
        Clock::Wall => {
            for run in 0..bench.plan.runs {
                progress(&format!("boot: run {} of {}", run + 1, bench.plan.runs));
                let floor = floor(&bench.plan.settings)?;
                for &guest in &guests {
                    wall(bench, guest, &root, floor)?;
                }
            }
        }
    }
    Ok(())
}

/// Nothing but the program, and what a Linux guest needs to show its output.
fn small_root(bench: &Bench<'_>) -> Result<Root> {
    let mut root = Root::new();
    root.add_host_file(Path::new("/bin/first"), &bench.programs.first)?;
    root.add_character_device(Path::new("/dev/console"), 0o600, (5, 1));
    Ok(root)
}

/// Boots the program that says when it runs.
fn boot(bench: &Bench<'_>, settings: &Settings, guest: Guest, root: &Root) -> Result<Booted> {
    match guest {
        Guest::Whelk(privilege) => {
            let mode = match privilege {
                Privilege::Flat => Mode::Flat,
                Privilege::Guarded => Mode::Guarded,
            };
            let jobs = vec![guest::job(&["/bin/first"])];
            let mut boot = guest::boot(&settings.machine(mode), root, jobs, LIMIT)?;
            ensure!(boot.end == End::Done, "the machine ended: {:?}", boot.end);
            Ok(Booted {
                outcome: boot.outcomes.pop().unwrap_or_default(),
                first_output: boot.first_output,
                total: boot.total,
                cpu: Duration::from_nanos(boot.usage.cpu_ns),
                resident_bytes: boot.usage.peak_resident_bytes,
            })
        }
        Guest::Rival(rival) => {
            let kernel = bench.kernels.get(&rival).context("a rival without a kernel")?;
            let line = linux::command_line(rival, settings.exact, "/bin/first");
            let started = Instant::now();
            let console = linux::boot(settings, &kernel.file, &line, root, LIMIT)?;
            let stdout = String::from_utf8_lossy(&console.text).replace('\r', "");
            Ok(Booted {
                outcome: Outcome { stdout, ..Outcome::default() },
                first_output: None,
                total: started.elapsed(),
                cpu: Duration::from_nanos(console.usage.cpu_ns),
                resident_bytes: console.usage.peak_resident_bytes,
            })
        }
    }
}

/// What the program printed: its lines' values.
fn ticks(outcome: &Outcome, name: &str) -> Option<u64> {
    outcome.stdout.lines().filter_map(line::parse).find(|line| line.name == name).map(|line| line.ticks)
}

fn exact(bench: &mut Bench<'_>, guest: Guest, root: &Root) -> Result<()> {
    let settings = Settings { memory_bytes: 256 * MIB, ..bench.plan.settings.clone() };
    // The first program of a Linux guest is the one that measures; its memory is backed by a file whose pages can be counted.
    let directory = TempDir::new()?;
    let memory = memory_file(&directory);
    let mut watched = settings.clone();
    let object = format!(
        "memory-backend-file,id=ram,size={},mem-path={},share=on",
        settings.memory_bytes,
        memory.display()
    );
    watched.extra = ["-object", &object, "-machine", "memory-backend=ram"].map(Into::into).to_vec();
    let booted = boot(bench, &watched, guest, root);
    let touched = memory.metadata().map(|metadata| std::os::unix::fs::MetadataExt::blocks(&metadata) * 512);
    let _ = std::fs::remove_file(&memory);
    let booted = booted?;
    for name in ["first_instruction", "first_output"] {
        match ticks(&booted.outcome, name) {
            Some(ticks) => bench.add(guest, "boot", name, "instructions", to_float(ticks)),
            None => bench.fail(guest, &format!("boot/{name}"), &booted.outcome.stdout),
        }
    }
    bench.add(guest, "boot", "memory_touched", "KiB", to_float(touched? / 1024));
    let q35 = Settings { board: Board::Q35, ..settings.clone() };
    match ticks(&boot(bench, &q35, guest, root)?.outcome, "first_instruction") {
        Some(ticks) => bench.add(guest, "boot", "first_instruction_q35", "instructions", to_float(ticks)),
        None => bench.fail(guest, "boot/first_instruction_q35", "nothing measured"),
    }
    let with = |mib: u64| Settings { memory_bytes: mib * MIB, ..settings.clone() };
    let least = least_memory(settings.memory_bytes / MIB, &|mib| {
        boot(bench, &with(mib), guest, root)
            .is_ok_and(|booted| ticks(&booted.outcome, "first_output").is_some())
    });
    add_least_memory(bench, guest, "least_memory_hello", least);
    let server_root = server::root(bench)?;
    let least = least_memory(settings.memory_bytes / MIB, &|mib| {
        server::serves(bench, &with(mib), guest, &server_root)
    });
    add_least_memory(bench, guest, "least_memory_redis", least);
    let kernel = match guest {
        Guest::Whelk(_) => settings.kernel.clone(),
        Guest::Rival(rival) => bench.kernels.get(&rival).context("a rival without a kernel")?.file.clone(),
    };
    let kernel_bytes = kernel.metadata()?.len();
    bench.add(guest, "boot", "kernel_file", "bytes", to_float(kernel_bytes));
    let image_bytes = kernel_bytes + root.archive()?.len() as u64;
    bench.add(guest, "boot", "image_hello", "bytes", to_float(image_bytes));
    Ok(())
}

fn memory_file(directory: &TempDir) -> PathBuf {
    // A file system in memory, so that nothing is written to a disk.
    let shared = Path::new(SHARED_MEMORY);
    let name = directory.path().file_name().unwrap_or_default();
    if shared.is_dir() { shared.join(name) } else { directory.path().join("memory") }
}

/// The least memory, in MiB, in which something runs that runs in `most`. Found by halving: what runs in some memory runs in more. `None` if it
/// doesn't.
fn least_memory(most: u64, runs_in: &dyn Fn(u64) -> bool) -> Option<u64> {
    if !runs_in(most) {
        return None;
    }
    let (mut too_little, mut enough) = (1, most);
    while enough - too_little > 1 {
        let middle = u64::midpoint(too_little, enough);
        if runs_in(middle) { enough = middle } else { too_little = middle }
    }
    Some(enough)
}

fn add_least_memory(bench: &mut Bench<'_>, guest: Guest, name: &str, least: Option<u64>) {
    match least {
        Some(mib) => bench.add(guest, "boot", name, "MiB", to_float(mib)),
        None => bench.fail(guest, &format!("boot/{name}"), "it doesn't run in any memory"),
    }
}

/// What a machine takes that has an empty kernel.
fn floor(settings: &Settings) -> Result<Duration> {
    let directory = TempDir::new()?;
    let kernel = directory.path().join("floor");
    std::fs::write(&kernel, launch::floor_kernel())?;
    let mut machine = settings.machine(Mode::Flat);
    machine.kernel = kernel;
    let config = launch::Config::default();
    let initrd = Root::new().initrd(&config)?;
    let started = Instant::now();
    let mut console = linux::Console::default();
    launch::run(&machine, &initrd, launch::Input::Empty, Some(LIMIT), &mut console, |_| ())?;
    Ok(started.elapsed())
}

fn wall(bench: &mut Bench<'_>, guest: Guest, root: &Root, floor: Duration) -> Result<()> {
    let settings = Settings { memory_bytes: 256 * MIB, cpus: 1, ..bench.plan.settings.clone() };
    let booted = boot(bench, &settings, guest, root)?;
    let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    bench.add(guest, "boot", "start_to_end", "ms", ms(booted.total));
    bench.add(guest, "boot", "start_to_end_above_floor", "ms", ms(booted.total.saturating_sub(floor)));
    if let Some(first) = booted.first_output {
        bench.add(guest, "boot", "start_to_first_output", "ms", ms(first));
    }
    bench.add(guest, "boot", "qemu_cpu", "ms", ms(booted.cpu));
    bench.add(guest, "boot", "qemu_peak_resident", "KiB", to_float(booted.resident_bytes / 1024));
    Ok(())
}
