//! Starting programs: from a path to a process that is ready to run its first instruction.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::Errno;
use loader::stack::StackError;
use loader::{Kind, script, stack};

use super::process::{self, Cred, Process, rlimit};
use super::rseq::Registration;
use super::signal::{self, ProcessSignals};
use super::thread::{Thread, work};
use super::{exit, sched};
use crate::arch::TrapFrame;
use crate::arch::x86_64::{cpu, fpu, vdso};
use crate::config::{self, Job};
use crate::fs::{self, ExeFile};
use crate::mm::address_space::{Layout, Place};
use crate::mm::fault::FaultError;
use crate::mm::object::{self, MemoryObject};
use crate::mm::regions::{Backing, RegionFlags};
use crate::mm::{AddressSpace, PAGE_SIZE, USER_TOP, page_ceil, page_floor};
use crate::sync::SpinLock;
use crate::syscall::{Fd, SysResult};
use crate::{console, entropy};

/// The job's first process: everything else descends from it, and ends with it.
pub const FIRST_PID: u32 = 1;

/// Bits of randomness (in pages), as Linux has them by default on x86_64.
const MMAP_RANDOM_BITS: u32 = 28;
const STACK_RANDOM_BITS: u32 = 22;
const BRK_RANDOM_BITS: u32 = 13;
/// Where position-independent programs with an interpreter are loaded, before randomisation (ELF_ET_DYN_BASE).
const DYN_BASE: usize = 0x5555_5555_4000;
/// Room between mmap's top and the stack: the stack's limit within these bounds.
const MIN_STACK_GAP: usize = 128 << 20;
const MAX_STACK_GAP: usize = USER_TOP / 6 * 5;
/// Stack that is mapped at the start beyond what the arguments take (`stack_expand` of Linux).
const INITIAL_STACK: usize = 128 << 10;
/// Interpreters of interpreters (exec's recursion limit).
const MAX_SCRIPTS: usize = 5;
/// `personality(2)`: no randomisation.
const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;

/// An executable's bytes, for the loader.
struct ObjectSource<'a>(&'a dyn MemoryObject);

impl loader::Source for ObjectSource<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<usize, loader::ReadError> {
        object::read_at(self.0, offset, dst).map_err(|_| loader::ReadError)
    }
}

impl From<FaultError> for Errno {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::OutOfMemory => Self::ENOMEM,
            FaultError::BeyondFile | FaultError::NotMapped | FaultError::NotAllowed => Self::EFAULT,
        }
    }
}

/// What a program is started with.
pub struct Arguments {
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
    /// As the caller named it (AT_EXECFN, `comm`), also if that is a script.
    pub filename: Vec<u8>,
    /// That name goes through a descriptor which is closed by then: no script can be started so.
    pub is_closing: bool,
}

/// An image ready to run.
struct Image {
    space: Arc<AddressSpace>,
    entry: usize,
    stack: usize,
    exe: ExeFile,
    filename: Vec<u8>,
    cred: Cred,
    /// The program should distrust its environment.
    secure: bool,
}

/// Source of address randomisation, for one image.
struct Randomness {
    words: [u32; 4],
    next: usize,
    on: bool,
}

impl Randomness {
    fn new(on: bool) -> Self {
        let mut bytes = [0u8; 16];
        let on = on && entropy::fill(&mut bytes).is_ok();
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*chunk);
        }
        Self { words, next: 0, on }
    }

    /// A random number of bytes, whole pages, below `2^bits` pages.
    fn pages(&mut self, bits: u32) -> usize {
        let word = self.words.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        if self.on { (word & ((1 << bits) - 1)) as usize * PAGE_SIZE } else { 0 }
    }
}

/// Why there is no image.
enum Failure {
    /// exec returns this.
    Refused(Errno),
    /// Linux has given up the old program by then: the process ends by SIGSEGV.
    Fatal(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// A program and what loads it, found and planned.
struct Plan {
    exe: ExeFile,
    elf: loader::Image,
    interpreter: Option<(ExeFile, loader::Image)>,
    arguments: Arguments,
}

/// Loads a program into a new address space. The caller's own stays as it is, whatever happens.
fn load(exe: ExeFile, arguments: Arguments, process: &Process) -> Result<Image, Failure> {
    build(find(exe, arguments)?, process).map_err(|errno| match errno {
        Errno::E2BIG | Errno::EAGAIN => Failure::Refused(errno),
        _ => Failure::Fatal(errno),
    })
}

/// Follows `#!` lines to a program, and that to its interpreter.
fn find(mut exe: ExeFile, mut arguments: Arguments) -> Result<Plan, Failure> {
    let mut depth = 0;
    // What the next interpreter is given to read: the script, then the interpreter that is a script itself.
    let mut script_path = None;
    let elf = loop {
        let object = exe.object();
        let mut head = [0u8; script::HEAD_SIZE];
        let len = object::read_at(&*object, 0, &mut head).map_err(Errno::from)?;
        match script::parse(head.get(..len).unwrap_or_default()) {
            None => break loader::plan(&ObjectSource(&*object)).map_err(loader_failure)?,
            Some(Err(_)) => return Err(Errno::ENOEXEC.into()),
            Some(Ok(found)) => {
                depth += 1;
                if depth > MAX_SCRIPTS {
                    return Err(Errno::ELOOP.into());
                }
                if arguments.is_closing {
                    return Err(Errno::ENOENT.into());
                }
                // interpreter [argument] script-path args…
                let mut argv = alloc::vec![found.interpreter.to_vec()];
                argv.extend(found.argument.map(<[u8]>::to_vec));
                argv.push(
                    script_path
                        .replace(found.interpreter.to_vec())
                        .unwrap_or_else(|| arguments.filename.clone()),
                );
                argv.try_reserve(arguments.argv.len()).map_err(|_| Errno::ENOMEM)?;
                argv.extend(arguments.argv.into_iter().skip(1));
                arguments.argv = argv;
                exe = fs::open_executable(Fd::CWD, found.interpreter, 0)?;
            }
        }
    };
    let interpreter = match &elf.interpreter {
        None => None,
        Some(path) => {
            let file = fs::open_executable(Fd::CWD, path, 0)?;
            let plan = loader::plan(&ObjectSource(&*file.object())).map_err(|_| Errno::ELIBBAD)?;
            Some((file, plan))
        }
    };
    Ok(Plan { exe, elf, interpreter, arguments })
}

/// Maps what was planned, and builds the initial stack.
fn build(plan: Plan, process: &Process) -> Result<Image, Errno> {
    let Plan { exe, elf, interpreter, mut arguments } = plan;
    let randomise = process.personality.load(Ordering::Relaxed) & ADDR_NO_RANDOMIZE == 0;
    let mut random = Randomness::new(randomise);
    let stack_limit = process.limit(rlimit::STACK);
    let stack_top = USER_TOP - random.pages(STACK_RANDOM_BITS);
    let gap = usize::try_from(stack_limit).unwrap_or(MAX_STACK_GAP).clamp(MIN_STACK_GAP, MAX_STACK_GAP)
        + (16 << 20);
    let mmap_top = page_floor(stack_top.saturating_sub(gap) - random.pages(MMAP_RANDOM_BITS));
    let layout = Layout { mmap_top, stack_top, brk_start: 0 };
    let space = AddressSpace::new(layout, usize::try_from(stack_limit).unwrap_or(usize::MAX))?;

    let dyn_random = random.pages(MMAP_RANDOM_BITS);
    let bias = match (elf.kind, &interpreter) {
        (Kind::Fixed, _) => 0,
        (Kind::Relocatable, Some(_)) => {
            let align = elf.align as usize;
            ((DYN_BASE + dyn_random) & !(align - 1)).wrapping_sub(elf.low as usize)
        }
        (Kind::Relocatable, None) => reserve(&space, &elf)?,
    };
    map_segments(&space, &elf, bias, &exe.object())?;
    let mut entry = (elf.entry as usize).wrapping_add(bias);
    let mut base = 0;
    if let Some((file, plan)) = &interpreter {
        base = reserve(&space, plan)?;
        map_segments(&space, plan, base, &file.object())?;
        entry = (plan.entry as usize).wrapping_add(base);
    }

    let brk_random = random.pages(BRK_RANDOM_BITS);
    let program_end = page_ceil((elf.brk as usize).wrapping_add(bias)).ok_or(Errno::ENOMEM)?;
    // A static position-independent program lies among the mappings; its heap goes where others have theirs.
    let brk_base =
        if elf.kind == Kind::Relocatable && interpreter.is_none() { DYN_BASE } else { program_end };
    let brk_start = brk_base + brk_random;
    space.with(|inner| {
        inner.layout.brk_start = brk_start;
        inner.brk = brk_start;
    });

    crate::time::refresh();
    let vdso_base = vdso::map(&space)?;
    let mut random_bytes = [0u8; 16];
    entropy::fill(&mut random_bytes).map_err(|_| Errno::EAGAIN)?;
    let mut cred = process.cred.lock().clone();
    let secure = {
        let place = exe.path();
        let inode = place.inode();
        let is_trusted = place.mount.flags() & fs::mount::flag::NOSUID == 0
            && !process.no_new_privs.load(Ordering::Relaxed);
        cred.exec(if is_trusted { inode.mode() } else { 0 }, inode.uid(), inode.gid())
    };
    let aux = stack::Aux {
        vdso: vdso_base as u64,
        min_signal_stack: signal::min_signal_stack() as u64,
        hwcap: u64::from(cpu::cpuid(1, 0).3),
        hwcap2: if cpu::features().contains(cpu::Features::FSGSBASE) { 2 } else { 0 },
        phdr: if elf.phdr == 0 { 0 } else { elf.phdr.wrapping_add(bias as u64) },
        phent: u64::from(elf.phent),
        phnum: u64::from(elf.phnum),
        base: base as u64,
        entry: elf.entry.wrapping_add(bias as u64),
        uid: u64::from(cred.uid),
        euid: u64::from(cred.euid),
        gid: u64::from(cred.gid),
        egid: u64::from(cred.egid),
        secure,
        random: random_bytes,
    };
    // Linux gives a program without arguments an empty argv[0].
    if arguments.argv.is_empty() {
        arguments.argv.push(Vec::new());
    }
    let Arguments { argv, env, filename, .. } = &arguments;
    let initial = stack::build(stack_top as u64, argv, env, filename, &aux, stack_limit)
        .map_err(|error| if error == StackError::TooLong { Errno::E2BIG } else { Errno::ENOMEM })?;
    let stack_bottom = page_floor((initial.rsp as usize).saturating_sub(INITIAL_STACK));
    let mut flags = RegionFlags::READ
        | RegionFlags::WRITE
        | RegionFlags::MAY_ALL
        | RegionFlags::GROWS_DOWN
        | RegionFlags::STACK;
    flags.set(RegionFlags::EXECUTE, elf.stack_executable == Some(true));
    let stack_len = stack_top - stack_bottom;
    space.map(Place::Fixed(stack_bottom), stack_len, PAGE_SIZE, flags, Backing::Anonymous, usize::MAX)?;
    space.write_initial(initial.rsp as usize, &initial.bytes)?;
    space.with(|inner| {
        inner.args = initial.args.0 as usize..initial.args.1 as usize;
        inner.env = initial.env.0 as usize..initial.env.1 as usize;
        inner.auxv = initial.auxv.0 as usize..initial.auxv.1 as usize;
    });
    Ok(Image { space, entry, stack: initial.rsp as usize, exe, filename: arguments.filename, cred, secure })
}

fn loader_failure(error: loader::ElfError) -> Failure {
    log::info!("exec: {error}");
    let errno = Errno::from_raw(error.errno().unsigned_abs() as u16);
    if error.is_late() { Failure::Fatal(errno) } else { Failure::Refused(errno) }
}

/// Finds room for a relocatable image among the mappings. Returns its load bias.
fn reserve(space: &AddressSpace, elf: &loader::Image) -> Result<usize, Errno> {
    if elf.kind == Kind::Fixed {
        return Ok(0);
    }
    let len = (elf.high - elf.low) as usize;
    let at = space
        .with(|inner| inner.regions.find_free(len, inner.layout.mmap_top, elf.align as usize))
        .ok_or(Errno::ENOMEM)?;
    Ok(at.wrapping_sub(elf.low as usize))
}

fn map_segments(
    space: &AddressSpace,
    elf: &loader::Image,
    bias: usize,
    object: &Arc<dyn MemoryObject>,
) -> Result<(), Errno> {
    for segment in &elf.segments {
        let at = |address: u64| (address as usize).wrapping_add(bias);
        let (start, file_end, end) = (at(segment.start), at(segment.file_end), at(segment.end));
        if end > USER_TOP || start > end {
            return Err(Errno::ENOMEM);
        }
        let mut flags = RegionFlags::MAY_ALL;
        flags.set(RegionFlags::READ, segment.readable);
        flags.set(RegionFlags::WRITE, segment.writable);
        flags.set(RegionFlags::EXECUTE, segment.executable);
        if file_end > start {
            let backing = Backing::Object(object.clone(), segment.offset / PAGE_SIZE as u64);
            space.map(Place::Fixed(start), file_end - start, PAGE_SIZE, flags, backing, usize::MAX)?;
            let tail = (segment.zero_end - segment.zero_start) as usize;
            if tail > 0 && segment.writable {
                space.zero_initial(at(segment.zero_start), tail)?;
            }
        }
        if end > file_end {
            space.map(
                Place::Fixed(file_end),
                end - file_end,
                PAGE_SIZE,
                flags,
                Backing::Anonymous,
                usize::MAX,
            )?;
        }
    }
    Ok(())
}

/// execve(2) and execveat(2), after the strings were read.
pub fn execute(dir: Fd, path: &[u8], at_flags: u32, arguments: Arguments) -> SysResult {
    let thread = sched::current();
    let process = &thread.process;
    let exe = fs::open_executable(dir, path, at_flags)?;
    const SIGSEGV: u8 = 11;
    let image = match load(exe, arguments, process) {
        Ok(image) => image,
        Err(Failure::Refused(errno)) => return Err(errno.into()),
        Err(Failure::Fatal(_)) => {
            exit::end_on_return(exit::Status::Killed { signal: SIGSEGV, core: false });
            return Ok(0);
        }
    };

    // The new program's only thread has the process's number: if that isn't the caller's, another thread takes over.
    let frame = TrapFrame::start(crate::mode(), image.entry as u64, image.stack as u64);
    let leader = if thread.tid == process.pid {
        None
    } else {
        let state = fpu::State::initial().ok_or(Errno::ENOMEM)?;
        Some(Thread::new(process.pid, process.clone(), frame, state).ok_or(Errno::ENOMEM)?)
    };

    // From here on nothing fails: the other threads end, and the process becomes the new program.
    if !exit::become_single_threaded() {
        drop((image, leader));
        exit::exit_thread(0);
    }
    process.files_unshare_for_exec();
    signal::exec_reset();
    process.set_name(&image.filename);
    *process.exe.lock() = Some(image.exe);
    process.has_execed.store(true, Ordering::Relaxed);
    let differs = image.cred.uid != image.cred.euid || image.cred.gid != image.cred.egid;
    process.dumpable.store(u32::from(!differs), Ordering::Relaxed);
    if image.secure {
        process.death_signal.store(0, Ordering::Relaxed);
    }
    *process.cred.lock() = image.cred;
    exit::leave_futexes();
    thread.left_locks.store(false, Ordering::Release);
    thread.clear_child_tid.set(0);
    thread.rseq.set(Registration::default());
    exit::leave_address_space(Some(image.space));
    exit::release_parent(process);
    let Some(leader) = leader else {
        cpu::set_fs_base(0);
        cpu::set_user_gs_base(0);
        fpu::reset();
        *thread.frame() = frame;
        thread.add_work(work::FULL_RETURN);
        return Ok(0);
    };
    // The caller goes without a trace.
    leader.adopt_address_space();
    leader.priorities.inherit(&thread.priorities);
    leader.affinity.store(thread.affinity.load(Ordering::Relaxed), Ordering::Relaxed);
    signal::inherit(thread, &leader, false);
    process::register_thread(&leader);
    signal::hand_private(&leader);
    // The caller may have been told what it doesn't live to see.
    leader.add_work(work::SIGNAL);
    exit::leave_early();
    process::unregister_thread(thread);
    sched::enqueue(leader);
    sched::die()
}

/// Starts the launcher's next job, or ends the machine.
pub fn start_next_job() {
    loop {
        let Some(job) = config::next_job() else { exit::shut_down() };
        console::begin_job(job.index);
        // A program that never prints anything may still be sent signals.
        console::open();
        if let Err(errno) = start(&job) {
            let path = alloc::string::String::from_utf8_lossy(&job.path).into_owned();
            let name = errno.name().unwrap_or("error");
            console::exec_failed(job.index, errno, &alloc::format!("cannot run {path}: {name}"));
            continue;
        }
        return;
    }
}

fn start(job: &Job) -> Result<(), Errno> {
    process::reset_pids();
    // Paths are looked up by the thread that runs this: the last one of the job before, which may have changed its root and its identity.
    let starter = &sched::current().process;
    let _left = core::mem::replace(&mut *starter.fs.lock(), fs::FsContext::root());
    *starter.cred.lock() = Cred::default();
    let pid = process::allocate_pid().ok_or(Errno::EAGAIN)?;
    let context = fs::FsContext::for_job(&job.cwd)?;
    let files = Arc::new(fs::FileTable::for_job(job)?);
    let context = Arc::new(SpinLock::new(context));
    let process = Arc::new(Process::new(pid, job.index, files, context, ProcessSignals::default()));
    let exe = fs::open_executable(Fd::CWD, &job.path, 0)?;
    let arguments = Arguments {
        argv: job.argv.clone(),
        env: job.env.clone(),
        filename: job.path.clone(),
        is_closing: false,
    };
    let image = load(exe, arguments, &process).map_err(|failure| match failure {
        Failure::Refused(errno) | Failure::Fatal(errno) => errno,
    })?;
    process.set_name(&image.filename);
    *process.exe.lock() = Some(image.exe);
    *process.cred.lock() = image.cred;
    process.set_space(Some(image.space));
    let frame = TrapFrame::start(crate::mode(), image.entry as u64, image.stack as u64);
    let state = fpu::State::initial().ok_or(Errno::ENOMEM)?;
    let thread = Thread::new(pid, process.clone(), frame, state).ok_or(Errno::ENOMEM)?;
    process::register(&process);
    process::register_thread(&thread);
    sched::enqueue(thread);
    Ok(())
}

/// A job's first process has ended.
pub fn job_finished(job: u16, status: u32) {
    console::exit(job, status);
    let (processes, threads) = process::counts();
    log::info!(
        "job {job} ended: {} frames free, {processes} processes, {threads} threads",
        crate::mm::frame::usage().free
    );
    start_next_job();
}
