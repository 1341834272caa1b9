//! `cargo xtask bench`: Whelk beside Linux guests, in one table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bench::{Baseline, Clock, Plan, Results, Rival, Rivals, SUITES, Settings, Suite, Targets};
use launch::{Acceleration, Board, Mode};

use crate::build::{self, project, target_directory};
use crate::install::{self, Need, Policy};
use crate::options::{AccelArg, ModeArg};
use crate::terminal::say;

const NEEDS: &[Need] = &[
    Need { program: "musl-gcc", package: "musl-tools" },
    Need { program: "/bin/busybox", package: "busybox-static" },
];
/// What the programs of the `app` suite are built with.
pub(crate) const APP_NEEDS: &[Need] = &[
    Need { program: "gcc", package: "gcc" },
    Need { program: "/usr/lib/x86_64-linux-gnu/libc.a", package: "libc6-dev" },
    Need { program: "/usr/include/sqlite3.h", package: "libsqlite3-dev" },
    Need { program: "/usr/include/lua5.4/lua.h", package: "liblua5.4-dev" },
    Need { program: "go", package: "golang-go" },
];
/// The server of the `boot` suite.
const BOOT_NEEDS: &[Need] = &[
    Need { program: "redis-server", package: "redis-server" },
    Need { program: "redis-cli", package: "redis-tools" },
];
/// What fetching Debian's kernel takes.
const CLOUD_NEEDS: &[Need] = &[Need { program: "dpkg", package: "dpkg" }];
/// What building Linux-tiny takes.
const TINY_NEEDS: &[Need] = &[
    Need { program: "make", package: "make" },
    Need { program: "flex", package: "flex" },
    Need { program: "bison", package: "bison" },
    Need { program: "bc", package: "bc" },
    Need { program: "xz", package: "xz-utils" },
    Need { program: "/usr/include/libelf.h", package: "libelf-dev" },
    Need { program: "/usr/include/openssl/ssl.h", package: "libssl-dev" },
];

const BASELINE: &str = "bench/baseline.json";
const TARGETS: &str = "bench/targets.json";
const RIVALS: &str = "bench/linux-6.1.json";
const DOCUMENT: &str = "docs/BENCHMARKS.md";
/// What `--check` looks at if nothing else is named.
const CHECKED: [&str; 3] = ["boot", "syscall", "process"];
/// A Linux guest and a walk over 1 GiB fit into it.
const MEMORY: u64 = 2 << 30;
const WALL_RUNS: u32 = 5;

#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// Suites; all without (--list names them)
    suites: Vec<String>,
    /// Measure time with this acceleration; without, guest instructions
    #[arg(long, value_enum, value_name = "HOW")]
    accel: Option<AccelArg>,
    /// Privileges of the program
    #[arg(long, value_enum, value_delimiter = ',', default_value = "flat,guarded")]
    mode: Vec<ModeArg>,
    /// Runs of each guest, in turn, when time is measured
    #[arg(long, value_name = "N", default_value_t = WALL_RUNS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Count guest instructions, also in suites that are measured in time otherwise
    #[arg(long, conflicts_with = "accel")]
    exact: bool,
    /// Beside which others, measured now: linux, linux-tuned, linux-tiny, native, or a file that --json wrote
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    against: Vec<String>,
    /// Write the results here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the ratios here, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Name the suites, and what belongs to them
    #[arg(long)]
    list: bool,
    /// Compare with bench/baseline.json, and fail if something costs over 3% more
    #[arg(long)]
    check: bool,
    /// Write the figures into bench/baseline.json
    #[arg(long)]
    update_baseline: bool,
    /// Write the figures of the Linux guests into bench/linux-6.1.json
    #[arg(long)]
    update_rivals: bool,
    /// Write docs/BENCHMARKS.md
    #[arg(long)]
    update_docs: bool,
    /// Processors of the machines
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Measure this kernel instead of building one
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Refuse to install missing packages; say the command instead
    #[arg(long)]
    no_install: bool,
}

/// `cargo xtask bench`
pub(crate) fn bench(args: &BenchArgs) -> Result<u8> {
    if args.list {
        for suite in SUITES {
            println!("{:8} {}", suite.name, suite.about);
        }
        return Ok(0);
    }
    let policy = Policy::new(args.no_install);
    install::ensure(install::RUN_NEEDS, policy)?;
    install::ensure(NEEDS, policy)?;
    let (rivals, earlier) = against(args, policy)?;
    let kernel = build::given_or_built(args.kernel.as_deref(), policy)?;
    let suites = suites(args)?;
    for (suite, needs) in [("app", APP_NEEDS), ("boot", BOOT_NEEDS)] {
        if suites.iter().any(|known| known.name == suite) {
            install::ensure(needs, policy)?;
        }
    }
    let modes: Vec<Mode> = args.mode.iter().map(|&mode| mode.into()).collect();
    let acceleration = acceleration(args.accel.unwrap_or(AccelArg::Tcg))?;
    let settings = Settings {
        project: project(),
        target: target_directory(),
        kernel: kernel.stripped,
        exact: true,
        acceleration,
        memory_bytes: MEMORY,
        cpus: args.cpus,
        board: Board::Microvm,
        extra: Vec::new(),
    };
    let clock = |suite: &Suite| {
        if args.exact || args.check || args.update_baseline {
            Clock::Exact
        } else if args.accel.is_some() {
            Clock::Wall
        } else {
            suite.clock
        }
    };
    let mut results: Option<Results> = None;
    for wanted in [Clock::Exact, Clock::Wall] {
        let exact = wanted == Clock::Exact;
        let plan = Plan {
            settings: Settings { exact, cpus: if exact { 1 } else { args.cpus }, ..settings.clone() },
            suites: suites.iter().copied().filter(|suite| clock(suite) == wanted).collect(),
            modes: modes.clone(),
            rivals: rivals.clone(),
            runs: if exact { 1 } else { args.runs },
        };
        if plan.suites.is_empty() {
            continue;
        }
        let mut found = bench::measure(&plan, &mut |line| say(&format!("bench: {line}\n")))?;
        if exact {
            complete(&mut found)?;
        }
        match &mut results {
            None => results = Some(found),
            Some(results) => {
                results.cases.append(&mut found.cases);
                results.failed.append(&mut found.failed);
            }
        }
    }
    let mut results = results.context("no suite was chosen")?;
    results.command = command_line();
    for (name, before) in earlier {
        for case in &mut results.cases {
            let matching = before
                .cases
                .iter()
                .find(|old| old.key() == case.key() && old.mode == case.mode && old.unit == case.unit);
            if let Some(old) = matching {
                case.rivals.insert(name.clone(), old.whelk);
            }
        }
    }
    finish(args, &results, &suites)
}

/// Counts system calls in the exact machine twice: how many figures were the same.
///
/// # Errors
/// One wasn't.
pub(crate) fn same_twice(kernel: PathBuf) -> Result<usize> {
    let settings = Settings {
        project: project(),
        target: target_directory(),
        kernel,
        exact: true,
        acceleration: Acceleration::Tcg,
        memory_bytes: MEMORY,
        cpus: 1,
        board: Board::Microvm,
        extra: Vec::new(),
    };
    let suites = bench::find_suite("syscall").into_iter().collect();
    let plan = Plan { settings, suites, modes: vec![Mode::Flat, Mode::Guarded], rivals: Vec::new(), runs: 1 };
    let [first, second] = [bench::measure(&plan, &mut |_| ())?, bench::measure(&plan, &mut |_| ())?];
    ensure!(!first.cases.is_empty(), "nothing was measured: {:?}", first.failed);
    for (one, other) in first.cases.iter().zip(&second.cases) {
        ensure!(one == other, "two runs differ: {one:?} and {other:?}");
    }
    ensure!(first.cases.len() == second.cases.len(), "two runs have different cases");
    Ok(first.cases.len())
}

fn finish(args: &BenchArgs, results: &Results, suites: &[Suite]) -> Result<u8> {
    print!("{}\n{}", bench::render(results), bench::render_environment(results));
    if let Some(file) = &args.json {
        bench::save(file, results)?;
    }
    if let Some(file) = &args.plot {
        for (index, mode) in args.mode.iter().enumerate() {
            // The first mode has the name, further ones their own beside it.
            let name = mode_name(*mode);
            let file = if index == 0 { file.clone() } else { file.with_extension(format!("{name}.svg")) };
            bench::plot(results, name, &file)?;
        }
    }
    if args.update_rivals {
        update_rivals(results)?;
    }
    if args.update_docs {
        write_document(results)?;
    }
    let path = project().join(BASELINE);
    if args.update_baseline {
        let mut baseline: Baseline = bench::load(&path).unwrap_or_default();
        baseline.update(results);
        bench::save(&path, &baseline)?;
        println!("wrote {BASELINE}");
    } else if args.check {
        return check(&bench::load(&path)?, results, suites, &args.mode);
    }
    Ok(0)
}

fn check(baseline: &Baseline, results: &Results, suites: &[Suite], modes: &[ModeArg]) -> Result<u8> {
    let suites: Vec<&str> = suites.iter().map(|suite| suite.name).collect();
    let modes: Vec<&str> = modes.iter().map(|&mode| mode_name(mode)).collect();
    let (worse, better) = baseline.compare(results, &suites, &modes)?;
    for line in &better {
        println!("better: {line}");
    }
    for line in &worse {
        println!("WORSE: {line}");
    }
    println!("{} worse, {} better than {BASELINE}", worse.len(), better.len());
    if !better.is_empty() {
        println!("keep what got better: cargo xtask bench --update-baseline {}", suites.join(" "));
    }
    Ok(u8::from(!worse.is_empty()))
}

const fn mode_name(mode: ModeArg) -> &'static str {
    match mode {
        ModeArg::Flat => "flat",
        ModeArg::Guarded => "guarded",
    }
}

fn suites(args: &BenchArgs) -> Result<Vec<Suite>> {
    let checking = args.check || args.update_baseline;
    if args.suites.is_empty() {
        return Ok(SUITES.into_iter().filter(|suite| !checking || CHECKED.contains(&suite.name)).collect());
    }
    let find = |name: &String| {
        bench::find_suite(name).with_context(|| format!("{name}: no such suite; --list names them"))
    };
    args.suites.iter().map(find).collect()
}

/// The rivals to measure, and earlier results to show beside ours.
fn against(args: &BenchArgs, policy: Policy) -> Result<(Vec<Rival>, BTreeMap<String, Results>)> {
    let (mut rivals, mut earlier) = (Vec::new(), BTreeMap::new());
    for what in &args.against {
        if let Ok(rival) = what.parse::<Rival>() {
            rivals.push(rival);
        } else if Path::new(what).is_file() {
            let name = Path::new(what).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            earlier.insert(name, bench::load(Path::new(what))?);
        } else {
            let names: Vec<_> = Rival::ALL.iter().map(|rival| rival.key()).collect();
            bail!("--against {what}: neither one of {} nor a file", names.join(", "));
        }
    }
    rivals.sort_unstable();
    rivals.dedup();
    if rivals.iter().any(|rival| *rival != Rival::Native) {
        install::ensure(CLOUD_NEEDS, policy)?;
    }
    if rivals.contains(&Rival::LinuxTiny) {
        install::ensure(TINY_NEEDS, policy)?;
    }
    Ok((rivals, earlier))
}

fn acceleration(wanted: AccelArg) -> Result<Acceleration> {
    if wanted == AccelArg::Tcg {
        return Ok(Acceleration::Tcg);
    }
    // Whatever the mode: where ring 0 is emulated, neither rivals run nor says a time anything.
    match (launch::probe_kvm()?.acceleration(Mode::Flat), wanted) {
        (Ok(acceleration), _) => Ok(acceleration),
        (Err(_), AccelArg::Auto) => Ok(Acceleration::Tcg),
        (Err(reason), _) => bail!("{reason}: leave --accel kvm out"),
    }
}

/// Adds what is checked in: the gates, and the figures of rivals that weren't measured now.
fn complete(results: &mut Results) -> Result<()> {
    let targets: Targets = bench::load(&project().join(TARGETS))?;
    let known: Rivals = bench::load(&project().join(RIVALS)).unwrap_or_default();
    let by_key: BTreeMap<&str, &BTreeMap<String, f64>> =
        known.cases.iter().map(|(key, figures)| (key.as_str(), figures)).collect();
    for case in &mut results.cases {
        let key = case.key();
        if let Some(target) = targets.get(&key) {
            (case.gate, case.moonshot) = (Some(target.gate), Some(target.moonshot));
        }
        for (rival, &figure) in by_key.get(key.as_str()).into_iter().copied().flatten() {
            case.rivals.entry(rival.clone()).or_insert(figure);
        }
    }
    for (rival, version) in &known.kernels {
        let note = format!("{version} (figures of {RIVALS}, QEMU {})", known.qemu);
        results.environment.kernels.entry(rival.clone()).or_insert(note);
    }
    for (rival, line) in &known.command_lines {
        results.environment.command_lines.entry(rival.clone()).or_insert(line.clone());
    }
    Ok(())
}

/// Keeps the Linux guests' figures: they depend on the versions of their kernels and of QEMU alone.
fn update_rivals(results: &Results) -> Result<()> {
    let path = project().join(RIVALS);
    let mut known: Rivals = bench::load(&path).unwrap_or_default();
    known.qemu.clone_from(&results.environment.qemu);
    let is_linux = |rival: &str| rival != Rival::Native.key() && rival.parse::<Rival>().is_ok();
    for case in results.cases.iter().filter(|case| case.unit != "ns" && case.unit != "ms") {
        let figures = known.cases.entry(case.key()).or_default();
        figures.extend(
            case.rivals
                .iter()
                .filter(|(rival, _)| is_linux(rival))
                .map(|(rival, value)| (rival.clone(), *value)),
        );
    }
    let target = target_directory().display().to_string();
    for (rival, line) in results.environment.command_lines.iter().filter(|(rival, _)| is_linux(rival)) {
        known.command_lines.insert(rival.clone(), line.replace(&target, "target"));
        if let Some(version) = results.environment.kernels.get(rival) {
            known.kernels.insert(rival.clone(), version.clone());
        }
    }
    bench::save(&path, &known)?;
    println!("wrote {RIVALS}");
    Ok(())
}

/// As it can be typed again.
fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" "))
}

/// Keeps what people wrote below this line.
const NOTES: &str = "## Notes";

fn write_document(results: &Results) -> Result<()> {
    let path = project().join(DOCUMENT);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let notes = old.find(NOTES).and_then(|at| old.get(at..)).unwrap_or("## Notes\n");
    let target = target_directory().display().to_string();
    let environment = bench::render_environment(results).replace(&target, "target");
    let text = format!(
        "# Benchmarks\n\nThe last full run, written by `{}`.\n\n\
         Instructions are guest instructions in the exact machine (`-icount shift=0`): the same on every host, to the digit. `native` is this host without a\n\
         machine, in ns. \"better\" is how many times more the rival takes.\n\n{}\n```\n{environment}```\n\n{notes}",
        results.command,
        bench::render(results),
    );
    std::fs::write(&path, text).with_context(|| path.display().to_string())
}
