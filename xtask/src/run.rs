//! `cargo xtask run`: one program in one machine, as if it had been started here.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use launch::{
    Acceleration, Board, Config, End, Host, Input, Job, KvmVerdict, LogLevel, Machine, Mode, Root, Sender,
    Stdin, StreamKind,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::install::{self, Policy};
use crate::{build, status, terminal};

/// The program that runs when none is named.
const DEMO: &str = include_str!("../demo/demo.c");
/// Two interrupts within this time, with nothing printed between them, end the machine when the guest has our terminal.
const DOUBLE_INTERRUPT: Duration = Duration::from_secs(1);
const CONTROL_C: u8 = 3;
const SIGNAL_EXIT_BASE: u32 = 128;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AccelArg {
    Auto,
    Kvm,
    Tcg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Flat,
    Guarded,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BoardArg {
    Microvm,
    Q35,
    Pc,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogArg {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// Memory of the machine: a number of bytes, or with K, M or G
    #[arg(long, default_value = "256M", value_parser = parse_size)]
    memory: u64,
    /// Processors of the machine
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// How guest instructions are run; auto tries out what KVM is good for here
    #[arg(long, value_enum, default_value = "auto")]
    accel: AccelArg,
    /// Privilege of the program: flat runs it beside the kernel, guarded behind it
    #[arg(long, value_enum, default_value = "flat")]
    mode: ModeArg,
    /// A variable of the program's environment; may be repeated. Nothing is inherited but TERM
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Directory in which the program starts
    #[arg(long, default_value = "/")]
    cwd: PathBuf,
    /// A directory that becomes the guest's root
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The machine type
    #[arg(long, value_enum, default_value = "microvm")]
    machine: BoardArg,
    /// End the machine after so many seconds, with exit status 124
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// The deterministic machine: one guest instruction is one nanosecond, every run is the same
    #[arg(long)]
    exact: bool,
    /// Print each system call on standard error
    #[arg(long)]
    strace: bool,
    /// Wait for gdb on port 1234 before the first instruction
    #[arg(long)]
    gdb: bool,
    /// Show QEMU's command line instead of running it
    #[arg(long)]
    print_qemu: bool,
    /// The kernel's log on standard error, from this level on
    #[arg(long, value_enum, value_name = "LEVEL")]
    log: Option<LogArg>,
    /// The same as --log info
    #[arg(short, long)]
    verbose: bool,
    /// Boot this kernel instead of building one
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Refuse to install missing packages; say the command instead
    #[arg(long)]
    no_install: bool,
    /// The program, an ELF file or a script; without one, a demonstration
    program: Option<PathBuf>,
    /// Its arguments
    #[arg(last = true)]
    args: Vec<std::ffi::OsString>,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1u64),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes >= 2 << 20 => Ok(bytes),
        Some(_) => Err("a machine has at least 2M of memory".to_owned()),
        None => Err(format!("{text:?} isn't a size; say something like 256M")),
    }
}

/// Chooses how to run instructions, and says in a line if that isn't what one would expect.
fn choose_acceleration(args: &RunArgs) -> Result<Acceleration> {
    if args.exact {
        return Ok(Acceleration::Tcg);
    }
    let flat = matches!(args.mode, ModeArg::Flat);
    match args.accel {
        AccelArg::Tcg => Ok(Acceleration::Tcg),
        AccelArg::Kvm => match launch::probe_kvm() {
            KvmVerdict::Full => Ok(Acceleration::Kvm),
            KvmVerdict::Ring0Emulated if !flat => Ok(Acceleration::Kvm),
            KvmVerdict::Ring0Emulated => {
                bail!("this host's KVM emulates ring 0: use --mode guarded, or --accel tcg")
            }
            KvmVerdict::Broken => bail!("this host's KVM doesn't run a simple kernel: use --accel tcg"),
            KvmVerdict::Absent => bail!("/dev/kvm isn't there or may not be opened: use --accel tcg"),
        },
        AccelArg::Auto => Ok(match launch::probe_kvm() {
            KvmVerdict::Full => Acceleration::Kvm,
            KvmVerdict::Ring0Emulated => {
                eprintln!("whelk: this host's KVM emulates ring 0 in software; using QEMU's translator");
                Acceleration::Tcg
            }
            KvmVerdict::Broken => {
                eprintln!("whelk: this host's KVM doesn't work; using QEMU's translator");
                Acceleration::Tcg
            }
            KvmVerdict::Absent => {
                eprintln!("whelk: no KVM here; using QEMU's translator");
                Acceleration::Tcg
            }
        }),
    }
}

/// Builds the bundled demonstration, as a static program.
fn demo(policy: Policy) -> Result<PathBuf> {
    install::ensure(&[install::Need { program: "musl-gcc", package: "musl-tools" }], policy)?;
    let directory = build::project().join("target").join("demo");
    std::fs::create_dir_all(&directory)?;
    let source = directory.join("demo.c");
    let program = directory.join("demo");
    if std::fs::read_to_string(&source).ok().as_deref() != Some(DEMO) || !program.exists() {
        std::fs::write(&source, DEMO)?;
        let status = std::process::Command::new("musl-gcc")
            .args(["-static", "-O2", "-o"])
            .args([&program, &source])
            .status()
            .context("musl-gcc")?;
        if !status.success() {
            bail!("the demonstration didn't build");
        }
    }
    Ok(program)
}

/// Where a program stands in the guest: in the root directory where it is, or at the path as typed.
fn guest_path(program: &Path, root: Option<&Path>) -> PathBuf {
    let inside = root.and_then(|root| {
        let root = root.canonicalize().ok()?;
        let program = program.canonicalize().ok()?;
        Some(Path::new("/").join(program.strip_prefix(root).ok()?))
    });
    inside.unwrap_or_else(|| launch::normalise(program))
}

/// `cargo xtask run`
pub(crate) fn run(args: &RunArgs) -> Result<u8> {
    let policy = if args.no_install { Policy::Refuse } else { Policy::Install };
    let (program, typed) = match &args.program {
        Some(program) => (program.clone(), program.as_os_str().as_bytes().to_vec()),
        None => (demo(policy)?, b"demo".to_vec()),
    };
    launch::check_program(&program, args.root.as_deref(), args.memory)?;

    let mut root = Root::new();
    root.add_directory(Path::new("/tmp"), 0o1777);
    if let Some(directory) = &args.root {
        root.add_tree(directory)?;
    }
    let path =
        if args.program.is_some() { guest_path(&program, args.root.as_deref()) } else { "/demo".into() };
    if !root.contains(&path) {
        let bytes = std::fs::read(&program).with_context(|| program.display().to_string())?;
        root.add_bytes(&path, 0o755, bytes);
    }

    let mut env: Vec<Vec<u8>> = vec![
        b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_vec(),
        b"HOME=/root".to_vec(),
    ];
    if let Some(term) = std::env::var_os("TERM") {
        env.push([b"TERM=", term.as_bytes()].concat());
    }
    for variable in &args.env {
        let Some((name, _)) = variable.split_once('=') else {
            bail!("--env {variable}: say NAME=VALUE");
        };
        env.retain(|other| !other.starts_with(format!("{name}=").as_bytes()));
        env.push(variable.as_bytes().to_vec());
    }
    let mut argv = vec![typed];
    argv.extend(args.args.iter().map(|arg| arg.as_bytes().to_vec()));
    let job = Job {
        path: path.as_os_str().as_bytes().to_vec(),
        argv,
        env,
        cwd: args.cwd.as_os_str().as_bytes().to_vec(),
        stdin: Stdin::Host,
    };

    install::ensure(install::RUN_NEEDS, policy)?;
    let acceleration = if args.print_qemu { Acceleration::Tcg } else { choose_acceleration(args)? };
    let kernel = build::given_or_built(args.kernel.as_deref(), policy)?;
    let log = match (args.log, args.verbose) {
        (Some(level), _) => Some(match level {
            LogArg::Error => LogLevel::Error,
            LogArg::Warn => LogLevel::Warn,
            LogArg::Info => LogLevel::Info,
            LogArg::Debug => LogLevel::Debug,
            LogArg::Trace => LogLevel::Trace,
        }),
        (None, true) => Some(LogLevel::Info),
        (None, false) => None,
    };
    let machine = Machine {
        board: match args.machine {
            BoardArg::Microvm => Board::Microvm,
            BoardArg::Q35 => Board::Q35,
            BoardArg::Pc => Board::Pc,
        },
        mode: match args.mode {
            ModeArg::Flat => Mode::Flat,
            ModeArg::Guarded => Mode::Guarded,
        },
        acceleration,
        memory_bytes: args.memory,
        cpus: args.cpus,
        exact: args.exact,
        log,
        strace: args.strace,
        gdb: args.gdb,
        ..Machine::new(kernel.stripped.clone())
    };
    let config = Config {
        wall_ns: machine.wall_ns(),
        hostname: b"whelk".to_vec(),
        streams: terminal::streams(),
        winsize: terminal::size().unwrap_or((24, 80)),
        jobs: vec![job],
    };
    if args.print_qemu {
        print_command(&machine);
        return Ok(0);
    }
    let initrd = root.initrd(&config)?;
    let has_terminal = config.streams[0] == StreamKind::Tty;
    let state = Arc::new(Mutex::new(Session::default()));
    let mut console =
        Console { state: Arc::clone(&state), show_log: log.is_some() || args.strace, ended: None };
    let raw = if has_terminal { terminal::RawTerminal::enter() } else { None };
    let keyboard = Keyboard { state: Arc::clone(&state) };
    let timeout = args.timeout.map(Duration::try_from_secs_f64).transpose().context("--timeout")?;
    let end =
        launch::run(&machine, &initrd, Input::Reader(Box::new(keyboard)), timeout, &mut console, |sender| {
            state.lock().unwrap_or_else(PoisonError::into_inner).sender = Some(sender.clone());
            if let Err(error) = forward_signals(sender) {
                eprintln!("whelk: signals aren't passed on: {error}");
            }
        });
    drop(raw);
    match end? {
        End::Done => Ok(console.ended.unwrap_or(status::LAUNCHER)),
        End::Stopped => Ok(u8::try_from(SIGNAL_EXIT_BASE)? + u8::try_from(SIGINT)?),
        End::TimedOut => {
            eprintln!("whelk: ended after {} seconds (--timeout)", args.timeout.unwrap_or(0.0));
            Ok(status::TIMEOUT)
        }
        End::Panic(log) => {
            eprintln!("whelk: the kernel panicked; please report this:");
            eprint!("{}", build::symbolise(&log, &kernel.full));
            Ok(status::PANIC)
        }
        End::Died { status, message } => match console.ended {
            Some(ended) => Ok(ended),
            None => bail!(
                "the machine ended before the program did (QEMU's exit status {}){}{message}",
                status.map_or("unknown".to_owned(), |status| status.to_string()),
                if message.is_empty() { "; too little --memory?" } else { ": " },
            ),
        },
    }
}

/// A command that a shell takes.
fn print_command(machine: &Machine) {
    let mut words = vec!["qemu-system-x86_64".to_owned()];
    for argument in machine.qemu_arguments(Path::new("initrd.img"), "socket,fd=3", "socket,fd=4") {
        let word = argument.to_string_lossy().into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+%@".contains(c);
        words.push(if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        });
    }
    println!("{}", words.join(" "));
}

/// What the threads around a machine share.
#[derive(Default)]
struct Session {
    sender: Option<Sender>,
    interrupted: Option<Instant>,
}

/// Standard input, watched for a double Ctrl-C when it is a raw terminal.
struct Keyboard {
    state: Arc<Mutex<Session>>,
}

impl io::Read for Keyboard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = io::stdin().lock().read(buffer)?;
        if buffer.get(..len).is_some_and(|bytes| bytes == [CONTROL_C]) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let again = state.interrupted.is_some_and(|before| before.elapsed() < DOUBLE_INTERRUPT);
            if again && let Some(sender) = &state.sender {
                sender.stop();
            }
            state.interrupted = Some(Instant::now());
        }
        Ok(len)
    }
}

/// Our standard output and error.
struct Console {
    state: Arc<Mutex<Session>>,
    show_log: bool,
    ended: Option<u8>,
}

impl Host for Console {
    fn output(&mut self, _job: u16, stream: u8, bytes: &[u8]) -> io::Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).interrupted = None;
        if stream == 2 {
            io::stderr().write_all(bytes)
        } else {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
    }

    fn exit(&mut self, _job: u16, raw: u32) {
        let signal = raw & 0x7f;
        let code = if signal == 0 { raw >> 8 & 0xff } else { SIGNAL_EXIT_BASE + signal };
        self.ended = Some(u8::try_from(code).unwrap_or(status::LAUNCHER));
    }

    fn exec_failed(&mut self, _job: u16, errno: u32, text: &str) {
        const ENOENT: u32 = 2;
        eprintln!("whelk: {text}");
        self.ended = Some(if errno == ENOENT { status::NOT_FOUND } else { status::CANNOT_EXECUTE });
    }

    fn notice(&mut self, text: &str) {
        eprint!("{text}");
    }

    fn log(&mut self, bytes: &[u8]) {
        if self.show_log {
            let _ = io::stderr().write_all(bytes);
        }
    }
}

/// SIGINT goes to the program, the second one ends the machine; other ends end it at once; a new window size is passed on.
fn forward_signals(sender: Sender) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])?;
    let interrupted = AtomicBool::new(false);
    std::thread::spawn(move || {
        for signal in &mut signals {
            match signal {
                SIGWINCH => {
                    if let Some((rows, cols)) = terminal::size() {
                        sender.resize(rows, cols);
                    }
                }
                SIGINT if !interrupted.swap(true, Ordering::SeqCst) => sender.signal(2),
                SIGTERM if !interrupted.swap(true, Ordering::SeqCst) => sender.signal(15),
                _ => sender.stop(),
            }
        }
    });
    Ok(())
}
