//! `cargo xtask run`: one program in one machine, as if it had been started here.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use launch::{Acceleration, Config, End, Initrd, Input, Job, Machine, Root, Stdin, StreamKind};
use signal_hook::consts::SIGPIPE;

use crate::console::{self, Console, Keyboard, SIGNAL_EXIT_BASE, Shared};
use crate::install::{self, Policy};
use crate::options::{AccelArg, RunArgs};
use crate::terminal::say;
use crate::{build, demo, status, terminal};

/// Directories that the kernel brings along.
const BUILT_IN: [&str; 3] = ["/dev", "/proc", "/sys"];

/// `cargo xtask run`
pub(crate) fn run(args: &RunArgs) -> Result<u8> {
    let policy = Policy::new(args.no_install);
    let (root, program) = files(args, policy)?;
    install::ensure(install::RUN_NEEDS, policy)?;
    let acceleration = choose_acceleration(args)?;
    let kernel = build::given_or_built(args.kernel.as_deref(), policy)?;
    let machine = args.machine(kernel.stripped.clone(), acceleration);
    let config = config(args, &machine, &program)?;
    let initrd = root.initrd(&config)?;
    initrd.check_memory(args.memory)?;
    if args.print_qemu {
        return print_command(&machine, &initrd);
    }
    if let Some(port) = args.gdb {
        say(&format!(
            "whelk: waiting for gdb; start it with: gdb {} -ex 'target remote :{port}'\n",
            kernel.full.display()
        ));
    }
    converse(args, &machine, &initrd, &config, &kernel)
}

/// A program, found.
struct Program {
    /// Its file on this host.
    host: PathBuf,
    /// Where it is in the guest.
    guest: PathBuf,
    /// What it will be told it is called.
    argv0: Vec<u8>,
}

/// What the guest will see, and the program in it.
fn files(args: &RunArgs, policy: Policy) -> Result<(Root, Program)> {
    let mut root = Root::new();
    root.add_directory(Path::new("/tmp"), 0o1777);
    if let Some(directory) = &args.root {
        if !directory.is_dir() {
            bail!("--root {}: no such directory", directory.display());
        }
        root.add_tree(directory).context("--root")?;
    }
    let program = match args.command().0 {
        Some(program) => find_program(program, args, &root)?,
        None => Program { host: demo::demo(policy)?, guest: "/demo".into(), argv0: b"demo".to_vec() },
    };
    launch::check_program(&program.host, &root, args.memory)?;
    if root.resolve(&program.guest).is_none() {
        let bytes = std::fs::read(&program.host).with_context(|| program.host.display().to_string())?;
        root.add_bytes(&program.guest, 0o755, bytes);
    }
    let built_in = BUILT_IN.iter().any(|directory| launch::normalise(&args.cwd).starts_with(directory));
    if !built_in && !root.is_directory(&args.cwd) {
        bail!("--cwd {}: no such directory in the guest", args.cwd.display());
    }
    Ok((root, program))
}

/// Finds a program as chroot(8) would, in the directory that becomes the root; a name without a slash in the directories of the guest's
/// PATH. What isn't there is a file of this host, which the guest gets at the same path; one that lies in that directory stays where it is.
fn find_program(typed: &Path, args: &RunArgs, root: &Root) -> Result<Program> {
    let name = typed.as_os_str().as_bytes();
    if let Some(directory) = &args.root {
        let environment = environment(args)?;
        let path =
            environment.iter().find_map(|variable| variable.strip_prefix(b"PATH=")).unwrap_or_default();
        let cwd = Path::new("/").join(&args.cwd);
        let candidates: Vec<PathBuf> = if name.contains(&b'/') {
            vec![cwd.join(typed)]
        } else {
            path.split(|&byte| byte == b':').map(|dir| cwd.join(OsStr::from_bytes(dir)).join(typed)).collect()
        };
        for guest in candidates {
            let resolved = root.resolve(&guest).filter(|resolved| !root.is_directory(resolved));
            if let Some(resolved) = resolved {
                let host = directory.join(resolved.strip_prefix("/").unwrap_or(&resolved));
                return Ok(Program { host, guest, argv0: name.to_vec() });
            }
        }
        let inside = || {
            let (directory, program) = (directory.canonicalize().ok()?, typed.canonicalize().ok()?);
            Some(Path::new("/").join(program.strip_prefix(directory).ok()?))
        };
        if let Some(guest) = inside() {
            // It is called by the name that it has there: the one that was typed means nothing to it.
            let argv0 = guest.as_os_str().as_bytes().to_vec();
            return Ok(Program { host: typed.to_owned(), guest, argv0 });
        }
        if !typed.exists() {
            bail!("{}: no such file, neither in {} nor on this host", typed.display(), directory.display());
        }
    }
    let mut guest = launch::normalise(typed);
    // A root may have links where this host has directories.
    if let (Some(parent), Some(name)) =
        (guest.parent().and_then(|parent| root.resolve(parent)), guest.file_name())
    {
        guest = parent.join(name);
    }
    Ok(Program { host: typed.to_owned(), guest, argv0: name.to_vec() })
}

/// Chooses how to run instructions, and says in a line if that isn't what one would expect.
fn choose_acceleration(args: &RunArgs) -> Result<Acceleration> {
    if args.exact || args.accel == AccelArg::Tcg {
        return Ok(Acceleration::Tcg);
    }
    let found = launch::probe_kvm()?.acceleration(args.mode.into());
    let reason = match found.map(|acceleration| (acceleration, acceleration.drawback())) {
        Ok((acceleration, None)) => return Ok(acceleration),
        Ok((acceleration, Some(drawback))) if args.accel == AccelArg::Kvm => {
            say(&format!("whelk: {drawback}\n"));
            return Ok(acceleration);
        }
        Ok((_, Some(reason))) | Err(reason) => reason,
    };
    if args.accel == AccelArg::Kvm {
        bail!("{reason}: leave --accel kvm out");
    }
    say(&format!("whelk: {reason}: using QEMU's translator\n"));
    Ok(Acceleration::Tcg)
}

/// The program's environment: little is inherited, so that a program does the same on every host.
fn environment(args: &RunArgs) -> Result<Vec<Vec<u8>>> {
    let mut env: Vec<Vec<u8>> = vec![
        b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_vec(),
        b"HOME=/root".to_vec(),
    ];
    if let Some(term) = std::env::var_os("TERM") {
        env.push([b"TERM=", term.as_bytes()].concat());
    }
    for given in &args.env {
        let given = given.as_bytes();
        let (name, variable) = match given.iter().position(|&byte| byte == b'=') {
            Some(0) => bail!("--env {}: a variable has a name", OsStr::from_bytes(given).display()),
            Some(end) => (given.get(..end).unwrap_or_default(), Some(given.to_vec())),
            None => {
                let value = std::env::var_os(OsStr::from_bytes(given));
                (given, value.map(|value| [given, b"=", value.as_bytes()].concat()))
            }
        };
        env.retain(|other| other.strip_prefix(name).is_none_or(|rest| !rest.starts_with(b"=")));
        env.extend(variable);
    }
    Ok(env)
}

fn config(args: &RunArgs, machine: &Machine, program: &Program) -> Result<Config> {
    let streams = terminal::streams();
    // What comes over the channel comes at its own time.
    let stdin = if args.exact && streams[0] != StreamKind::Tty {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("standard input")?;
        Stdin::Bytes(bytes)
    } else {
        Stdin::Host
    };
    let mut argv = vec![program.argv0.clone()];
    argv.extend(args.command().1.iter().map(|arg| arg.as_bytes().to_vec()));
    let job = Job {
        path: program.guest.as_os_str().as_bytes().to_vec(),
        argv,
        env: environment(args)?,
        cwd: args.cwd.as_os_str().as_bytes().to_vec(),
        stdin,
    };
    Ok(Config {
        wall_ns: machine.wall_ns(),
        hostname: b"whelk".to_vec(),
        streams,
        winsize: terminal::size().unwrap_or((24, 80)),
        jobs: vec![job],
    })
}

/// Runs the machine on our streams. Our exit status.
fn converse(
    args: &RunArgs,
    machine: &Machine,
    initrd: &Initrd,
    config: &Config,
    kernel: &build::Kernel,
) -> Result<u8> {
    let shared = Shared::default();
    let mut console = Console {
        shared: shared.clone(),
        show_log: machine.log.is_some() || machine.strace,
        show_counters: args.verbose,
        ended: None,
    };
    let is_terminal = config.streams[0] == StreamKind::Tty;
    let raw = terminal::RawTerminal;
    if is_terminal {
        terminal::make_raw();
    }
    if let Some(limit) = args.timeout {
        console::enforce(limit);
    }
    let input = Input::Reader(Box::new(Keyboard { shared: shared.clone(), is_terminal }));
    let end = launch::run(machine, initrd, input, args.timeout, &mut console, |sender| {
        if let Err(error) = console::forward_signals(&shared, sender) {
            say(&format!("whelk: signals aren't passed on: {error}\n"));
        }
    });
    drop(raw);
    let end = match end {
        Ok(end) => end,
        // As for a program whose reader went away.
        Err(error) if is_broken_pipe(&error) => return Ok(SIGNAL_EXIT_BASE + u8::try_from(SIGPIPE)?),
        Err(error) => return Err(error),
    };
    match end {
        End::Done => console.ended.context("the machine ended without running the program"),
        End::Stopped => Ok(shared.stopped()),
        End::TimedOut => {
            let limit = args.timeout.unwrap_or_default().as_secs_f64();
            say(&format!("whelk: ended after {limit} seconds (--timeout)\n"));
            Ok(status::TIMEOUT)
        }
        End::Panic(log) => {
            console::report_panic(&log, kernel);
            Ok(status::PANIC)
        }
        // It said how it ended, and only then fell over.
        End::Died { .. } if console.ended.is_some() => Ok(console.ended.unwrap_or(status::LAUNCHER)),
        End::Died { status, message } => bail!("{}", died(status, &message, args.verbose)),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Words for a QEMU that ended before the program did.
fn died(status: Option<i32>, message: &str, verbose: bool) -> String {
    const KVM_GAVE_UP: &str = "KVM internal error";
    if message.contains(KVM_GAVE_UP) {
        let details = if verbose { message } else { "-v shows the details" };
        return format!(
            "this host's KVM came upon an instruction that it can't run; try --accel tcg\n{details}"
        );
    }
    match (status, message) {
        (Some(0), "") => "the machine reset itself before the program ended (a triple fault)".to_owned(),
        (None, "") => "QEMU was killed before the program ended (by a host without memory?)".to_owned(),
        (Some(status), "") => format!("QEMU ended with status {status} before the program did"),
        (_, message) => format!("QEMU ended before the program did: {message}"),
    }
}

/// Prints a command that a shell takes. It starts the same machine, with the frames of the program's streams on standard output and the
/// kernel's log on standard error. The initrd stays until the next such command.
fn print_command(machine: &Machine, initrd: &Initrd) -> Result<u8> {
    let directory = build::target_directory().join("whelk");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let path = directory.join("initrd");
    initrd.save(&path)?;
    let mut words = vec!["qemu-system-x86_64".to_owned()];
    for argument in machine.qemu_arguments(&path, "file,path=/dev/stdout", "file,path=/dev/stderr") {
        let word = argument.to_string_lossy().into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+%@".contains(c);
        words.push(if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        });
    }
    println!("{}", words.join(" "));
    Ok(0)
}
