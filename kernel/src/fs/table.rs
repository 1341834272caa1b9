//! A process's descriptors.
#![expect(
    unsafe_code,
    reason = "an open file is used without counting its users while nobody else can close it"
)]

use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};

use abi::Errno;
use fdmap::{FdError, FdMap, OnExec, Take};

use super::file::{Mode, OpenFile};
use super::poll::Events;
use crate::sync::SpinLock;
use crate::syscall::Fd;
use crate::task::current;
use crate::task::process::rlimit;

/// Most descriptors that a table can hold (`fs.nr_open`).
pub const MAX_FILES: usize = 1 << 20;

fn errno(error: FdError) -> Errno {
    match error {
        FdError::Full => Errno::EMFILE,
        FdError::NoMemory => Errno::ENOMEM,
    }
}

/// A descriptor's number as an index; negative ones are out of any table.
#[inline]
fn index(fd: Fd) -> usize {
    fd.0 as u32 as usize
}

/// RLIMIT_NOFILE.
fn limit() -> usize {
    usize::try_from(current().process.limit(rlimit::NOFILE)).unwrap_or(MAX_FILES).min(MAX_FILES)
}

/// Descriptor numbers to open files.
#[derive(Default)]
pub struct FileTable {
    map: SpinLock<FdMap<Arc<OpenFile>>>,
    /// More than one thread may change the table: set before the second one runs, and taken back when one is left (`Process::note_alone`).
    is_shared: AtomicBool,
}

/// An open file for the length of one system call.
pub struct FileRef {
    file: *const OpenFile,
    /// Whether this is one of the file's counted references.
    is_counted: bool,
}

impl Deref for FileRef {
    type Target = OpenFile;

    #[inline(always)]
    fn deref(&self) -> &OpenFile {
        // SAFETY: a counted reference keeps the file; an uncounted one was taken where the table keeps it (`get_any_ref`).
        unsafe { &*self.file }
    }
}

impl Drop for FileRef {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_counted {
            // SAFETY: the reference that `get_any_ref` took, dropped once.
            unsafe { Arc::decrement_strong_count(self.file) };
        }
    }
}

impl FileTable {
    pub const fn new() -> Self {
        Self { map: SpinLock::new(FdMap::new()), is_shared: AtomicBool::new(false) }
    }

    /// The open file, O_PATH ones included. EBADF.
    #[inline]
    pub fn get_any(&self, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
        self.map.lock().get(index(fd)).cloned().ok_or(Errno::EBADF)
    }

    /// Whether the descriptor is this open file.
    pub fn holds(&self, fd: Fd, file: &OpenFile) -> bool {
        self.map.lock().get(index(fd)).is_some_and(|now| core::ptr::eq(&raw const **now, file))
    }

    /// The open file, for everything but naming a place. EBADF for O_PATH too.
    #[inline]
    pub fn get(&self, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
        let file = self.get_any(fd)?;
        if file.mode.contains(Mode::PATH) { Err(Errno::EBADF) } else { Ok(file) }
    }

    /// As `get_any`, for the running process's own table and for as long as the system call lasts, in which the caller closes nothing:
    /// without locking or counting while this thread is the only one that can change the table.
    #[inline(always)]
    pub fn get_any_ref(&self, fd: Fd) -> Result<FileRef, Errno> {
        if self.is_shared.load(Ordering::Relaxed) {
            return Ok(FileRef { file: Arc::into_raw(self.get_any(fd)?), is_counted: true });
        }
        // SAFETY: only threads that use the table change it, and this is the only one; others (who look through /proc) only read.
        let map = unsafe { &*self.map.as_mut_ptr() };
        let file = map.get(index(fd)).ok_or(Errno::EBADF)?;
        Ok(FileRef { file: Arc::as_ptr(file), is_counted: false })
    }

    /// The open file, O_PATH ones included, under the same conditions, if this thread is the only one that can change the table.
    #[inline(always)]
    pub fn own(&self, fd: Fd) -> Option<&OpenFile> {
        if self.is_shared.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: as in `get_any_ref`.
        let map = unsafe { &*self.map.as_mut_ptr() };
        map.get(index(fd)).map(Arc::as_ref)
    }

    /// As `get_any_ref`, for everything but naming a place. EBADF for O_PATH too.
    #[inline(always)]
    pub fn get_ref(&self, fd: Fd) -> Result<FileRef, Errno> {
        let file = self.get_any_ref(fd)?;
        if file.mode.contains(Mode::PATH) { Err(Errno::EBADF) } else { Ok(file) }
    }

    /// One thread is left that changes the table; the caller sees to it that no second one is being made.
    pub fn unshare(&self) {
        self.is_shared.store(false, Ordering::Release);
    }

    /// From now on several threads change the table: before the second one starts.
    pub fn share(&self) {
        self.is_shared.store(true, Ordering::Release);
    }

    /// Looks at several files without taking references; `look` must not sleep nor use the table.
    #[inline]
    pub fn peek<T>(&self, look: impl FnOnce(Peek<'_>) -> T) -> T {
        look(Peek(&self.map.lock()))
    }

    /// Gives a file the lowest free number from `from` on. EMFILE.
    pub fn insert_from(&self, file: Arc<OpenFile>, from: usize, on_exec: OnExec) -> Result<Fd, Errno> {
        let limit = limit();
        match self.map.lock().insert(file, from, limit, on_exec) {
            Ok(fd) => Ok(Fd(fd as i32)),
            Err(error) => Err(errno(error)),
        }
    }

    /// Gives a file the lowest free number. EMFILE.
    #[inline]
    pub fn insert(&self, file: Arc<OpenFile>, on_exec: OnExec) -> Result<Fd, Errno> {
        self.insert_from(file, 0, on_exec)
    }

    /// EMFILE if no number is free: asked before an open has side effects.
    pub fn check_room(&self) -> Result<(), Errno> {
        let limit = limit();
        if self.map.lock().has_room(limit) { Ok(()) } else { Err(Errno::EMFILE) }
    }

    /// Gives a file this very number, closing what had it. EBADF beyond the limit.
    pub fn replace(&self, fd: Fd, file: Arc<OpenFile>, on_exec: OnExec) -> Result<(), Errno> {
        if index(fd) >= limit() {
            return Err(Errno::EBADF);
        }
        let old = self.map.lock().replace(index(fd), file, on_exec).map_err(errno)?;
        if let Some(old) = old {
            closed(&old);
        }
        Ok(())
    }

    /// Puts a file at a number, whatever the limit: standard input, output and error of a first process.
    pub fn install(&self, fd: usize, file: Arc<OpenFile>) {
        let old = self.map.lock().replace(fd, file, OnExec::Keep);
        drop(old);
    }

    /// EBADF.
    #[inline]
    pub fn close(&self, fd: Fd) -> Result<(), Errno> {
        let file = self.map.lock().remove(index(fd)).ok_or(Errno::EBADF)?;
        closed(&file);
        Ok(())
    }

    /// Closes all descriptors in `first..=last`, or those marked for exec.
    pub fn close_range(&self, first: usize, last: usize, which: Take) {
        let mut at = first;
        loop {
            let taken = self.map.lock().take_in(at..=last, which);
            let Some((fd, file)) = taken else { return };
            closed(&file);
            at = fd + 1;
        }
    }

    /// Marks all descriptors in `first..=last` close-on-exec.
    pub fn mark_range(&self, first: usize, last: usize) {
        self.map.lock().close_on_exec_in(first..=last);
    }

    /// At an exec.
    pub fn close_on_exec(&self) {
        self.close_range(0, usize::MAX, Take::CloseOnExec);
    }

    /// A copy for a child: the same open files under the same numbers. ENOMEM.
    pub fn fork(&self) -> Result<Self, Errno> {
        let copy = self.map.lock().try_clone(|_| true).map_err(errno)?;
        Ok(Self { map: SpinLock::new(copy), is_shared: AtomicBool::new(false) })
    }

    /// FD_CLOEXEC. EBADF.
    pub fn on_exec(&self, fd: Fd) -> Result<OnExec, Errno> {
        self.map.lock().on_exec(index(fd)).ok_or(Errno::EBADF)
    }

    pub fn set_on_exec(&self, fd: Fd, on_exec: OnExec) -> Result<(), Errno> {
        if self.map.lock().set_on_exec(index(fd), on_exec) { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// The first open descriptor from `from` on.
    pub fn next(&self, from: usize) -> Option<(usize, Arc<OpenFile>)> {
        self.map.lock().next(from).map(|(fd, file)| (fd, file.clone()))
    }

    /// How many descriptors are open.
    pub fn count(&self) -> usize {
        let map = self.map.lock();
        let mut from = 0;
        core::iter::from_fn(|| map.next(from).map(|(fd, _)| from = fd + 1)).count()
    }

    /// Numbers that there is room for without growing (`FDSize` of /proc/PID/status).
    pub fn capacity(&self) -> usize {
        self.map.lock().capacity()
    }
}

impl Drop for FileTable {
    /// At the end of the last process that uses it.
    fn drop(&mut self) {
        self.close_range(0, usize::MAX, Take::All);
    }
}

/// The table while it is locked.
pub struct Peek<'a>(&'a FdMap<Arc<OpenFile>>);

impl Peek<'_> {
    /// What is ready of the open file, O_PATH ones excluded.
    #[inline(always)]
    pub fn glance(&self, fd: i32) -> Option<Events> {
        let file = self.0.get(fd as u32 as usize)?;
        match file.readiness() {
            Some(readiness) => Some(readiness.get()),
            None => file.look(),
        }
    }
}

/// A descriptor of the file was closed: the process's record locks on it go, whichever descriptor they came through.
#[inline]
fn closed(file: &OpenFile) {
    super::mqueue::note_closed(file);
    if !file.mode.contains(Mode::PATH)
        && let Some(advisory) = file.inode().advisory()
    {
        advisory.release_process(current().process.pid);
    }
}
