//! Pipes, event counters, and copies between files inside the kernel: splice, tee, vmsplice, sendfile, copy_file_range.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::{Errno, IoVec, OpenFlags};

use super::file::{IoVecs, on_exec};
use super::{Failure, Fd, SysError, SysResult};
use crate::fs;
use crate::fs::eventfd::{self, Taking};
use crate::fs::file::{MAX_OFFSET, Mode, OpenFile};
use crate::fs::inode::FileKind;
use crate::fs::notify;
use crate::fs::pipe::{self, PipeEnd, Slot, SlotPage};
use crate::mm::user::MAX_IO;
use crate::mm::{Frame, PAGE_SIZE, Sink, Source, UserPtr};
use crate::net::{self, Socket};

/// pipe2(2).
pub fn pipe2(fds: UserPtr<[i32; 2]>, flags: u32) -> SysResult {
    let allowed = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT;
    let flags = OpenFlags::from_bits(flags).filter(|&f| allowed.contains(f)).ok_or(Errno::EINVAL)?;
    let (reader, writer) = pipe::new(flags & !OpenFlags::CLOEXEC);
    let files = fs::files();
    let first = files.insert(reader, on_exec(flags))?;
    let second = match files.insert(writer, on_exec(flags)) {
        Ok(fd) => fd,
        Err(error) => {
            files.close(first)?;
            return Err(error.into());
        }
    };
    if let Err(error) = fds.write(&[first.0, second.0]) {
        files.close(first)?;
        files.close(second)?;
        return Err(error.into());
    }
    Ok(0)
}

/// pipe(2).
pub fn pipe(fds: UserPtr<[i32; 2]>) -> SysResult {
    pipe2(fds, 0)
}

/// eventfd2(2).
pub fn eventfd2(initial: u32, flags: u32) -> SysResult {
    const SEMAPHORE: u32 = 1;
    let taking = if flags & SEMAPHORE != 0 { Taking::One } else { Taking::All };
    let allowed = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK;
    let flags =
        OpenFlags::from_bits(flags & !SEMAPHORE).filter(|&f| allowed.contains(f)).ok_or(Errno::EINVAL)?;
    let file = eventfd::new(initial, taking, flags & OpenFlags::NONBLOCK);
    Ok(fs::files().insert(file, on_exec(flags))?.0 as usize)
}

/// eventfd(2).
pub fn eventfd(initial: u32) -> SysResult {
    eventfd2(initial, 0)
}

/// An offset that a program passes by address, or the file's own.
struct Position {
    user: UserPtr<i64>,
    at: Option<u64>,
}

impl Position {
    /// ESPIPE for an address where the file has no offsets; EINVAL for a negative one; EFAULT.
    fn read(user: UserPtr<i64>, file: &OpenFile) -> Result<Self, Errno> {
        let at = match user.non_null() {
            None => None,
            Some(_) if !file.mode.contains(Mode::PLACED) => return Err(Errno::ESPIPE),
            Some(user) => Some(u64::try_from(user.read()?).map_err(|_| Errno::EINVAL)?),
        };
        Ok(Self { user, at })
    }

    fn get(&self, file: &OpenFile) -> u64 {
        self.at.unwrap_or_else(|| file.position())
    }

    fn read_from(&mut self, file: &OpenFile, dst: &mut Sink<'_>) -> SysResult {
        match &mut self.at {
            None => file.read(dst),
            Some(at) => {
                let done = file.read_at(*at, dst)?;
                *at += done as u64;
                Ok(done)
            }
        }
    }

    fn write_to(&mut self, file: &OpenFile, src: &mut Source<'_>) -> SysResult {
        match &mut self.at {
            None => file.write(src),
            Some(at) => {
                let done = file.write_at(*at, src)?;
                *at += done as u64;
                Ok(done)
            }
        }
    }

    /// Bytes that were read but could not be written are to be read again.
    fn take_back(&mut self, file: &OpenFile, count: usize) {
        match &mut self.at {
            None => file.set_position(file.position().saturating_sub(count as u64)),
            Some(at) => *at -= count as u64,
        }
    }

    fn advance(&mut self, file: &OpenFile, count: usize) {
        match &mut self.at {
            None => file.set_position(file.position() + count as u64),
            Some(at) => *at += count as u64,
        }
    }

    /// Tells the program where it ended.
    fn finish(&self) -> Result<(), Errno> {
        match (self.user.non_null(), self.at) {
            (Some(user), Some(at)) => user.write(&at.cast_signed()),
            _ => Ok(()),
        }
    }
}

/// Bytes moved at a time between two files.
const CHUNK: usize = 16 * PAGE_SIZE;

/// Moves up to `len` bytes through a kernel buffer. An error counts only if nothing was moved.
fn copy(
    input: (&OpenFile, &mut Position),
    output: (&OpenFile, &mut Position),
    len: usize,
) -> Result<usize, SysError> {
    let mut buffer = Vec::new();
    let size = len.min(CHUNK);
    buffer.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    buffer.resize(size, 0u8);
    let mut done = 0;
    while done < len {
        let want = (len - done).min(size);
        let got =
            match input.1.read_from(input.0, &mut Sink::kernel(buffer.get_mut(..want).unwrap_or_default())) {
                Ok(0) => break,
                Ok(got) => got,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
        let put = output.1.write_to(output.0, &mut Source::kernel(buffer.get(..got).unwrap_or_default()));
        let moved = *put.as_ref().unwrap_or(&0);
        done += moved;
        if moved < got {
            input.1.take_back(input.0, got - moved);
            match put {
                Err(error) if done == 0 => return Err(error),
                _ => break,
            }
        }
        if got < want {
            break;
        }
    }
    Ok(done)
}

/// sendfile(2).
pub fn sendfile(out_fd: Fd, in_fd: Fd, offset: UserPtr<i64>, count: usize) -> SysResult {
    let files = fs::files();
    let input = files.get(in_fd)?;
    if !input.mode.contains(Mode::READ) {
        return Err(Errno::EBADF.into());
    }
    let mut from = Position::read(offset, &input)?;
    let output = files.get(out_fd)?;
    if !output.mode.contains(Mode::WRITE) {
        return Err(Errno::EBADF.into());
    }
    if from.get(&input).saturating_add(count as u64) > MAX_OFFSET {
        return Err(Errno::EINVAL.into());
    }
    let count = count.min(MAX_IO);
    if let Some(target) = pipe::of(&output) {
        let done = splice_in((&input, &mut from), (&output, target), count, 0)?;
        from.finish()?;
        return Ok(done);
    }
    // What is read and can't be written must be readable again.
    let is_refused = |file: &OpenFile| count > 0 && !file.ops.can_splice();
    if output.flags().contains(OpenFlags::APPEND) || !input.mode.contains(Mode::LSEEK) || is_refused(&input) {
        return Err(Errno::EINVAL.into());
    }
    let mut to = Position { user: UserPtr::new(0), at: None };
    let done = copy((&input, &mut from), (&output, &mut to), count)?;
    from.finish()?;
    Ok(done)
}

/// copy_file_range(2).
pub fn copy_file_range(
    in_fd: Fd,
    in_offset: UserPtr<i64>,
    out_fd: Fd,
    out_offset: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult {
    let files = fs::files();
    let input = files.get(in_fd)?;
    let output = files.get(out_fd)?;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    for file in [&input, &output] {
        match file.inode().kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    if !input.mode.contains(Mode::READ)
        || !output.mode.contains(Mode::WRITE)
        || output.flags().contains(OpenFlags::APPEND)
    {
        return Err(Errno::EBADF.into());
    }
    // An offset and length that wrap around are told before an offset that is merely negative.
    for at in [in_offset, out_offset] {
        if let Some(at) = at.non_null()
            && at.read()?.cast_unsigned().checked_add(len as u64).is_none()
        {
            return Err(Errno::EOVERFLOW.into());
        }
    }
    let mut from = Position::read(in_offset, &input)?;
    let mut to = Position::read(out_offset, &output)?;
    let (start, target) = (from.get(&input), to.get(&output));
    let rest = input.inode().size().saturating_sub(start);
    let len = usize::try_from(rest).map_or(len, |rest| rest.min(len)).min(MAX_IO);
    if core::ptr::eq(input.inode(), output.inode())
        && target < start.saturating_add(len as u64)
        && start < target.saturating_add(len as u64)
    {
        return Err(Errno::EINVAL.into());
    }
    let done = copy((&input, &mut from), (&output, &mut to), len)?;
    from.finish()?;
    to.finish()?;
    Ok(done)
}

/// `SPLICE_F_*`
mod splice_flag {
    pub(super) const NONBLOCK: u32 = 2;
    pub(super) const ALL: u32 = 15;
}

fn waits(end: &OpenFile, flags: u32) -> bool {
    flags & splice_flag::NONBLOCK == 0 && !end.is_nonblocking()
}

/// From one pipe to another: pages change hands.
fn splice_pipes(from: (&OpenFile, &PipeEnd), to: (&OpenFile, &PipeEnd), len: usize, flags: u32) -> SysResult {
    if Arc::ptr_eq(&from.1.pipe, &to.1.pipe) {
        return Err(Errno::EINVAL.into());
    }
    let has_more = from.1.pipe.wait_readable(waits(from.0, flags))?;
    // A pipe that nobody reads is an error even if there is nothing to put into it.
    to.1.pipe.wait_writable(waits(to.0, flags))?;
    let mut done = 0;
    while has_more && done < len && to.1.pipe.has_room() {
        let Some(slot) = from.1.pipe.take(len - done) else { break };
        done += slot.len;
        // Nobody but a racing writer can have taken the room; then the bytes wait for more.
        let mut slot = Some(slot);
        while let Some(piece) = slot.take() {
            slot = to.1.pipe.put(piece);
            if let Some(left) = slot.take() {
                match to.1.pipe.wait_writable(true) {
                    Ok(()) => slot = Some(left),
                    Err(error) => {
                        from.1.pipe.put_back(left);
                        return Err(error);
                    }
                }
            }
        }
    }
    Ok(done)
}

/// From a pipe into a file.
fn splice_out(
    from: (&OpenFile, &PipeEnd),
    to: (&OpenFile, &mut Position),
    len: usize,
    flags: u32,
) -> SysResult {
    if !from.1.pipe.wait_readable(waits(from.0, flags))? {
        return Ok(0);
    }
    let mut done = 0;
    while done < len {
        let Some(slot) = from.1.pipe.take(len - done) else { break };
        // A socket makes a message of each write: a slot goes in one.
        let mut bytes = Vec::new();
        let size = if net::of(to.0).is_ok() { slot.len } else { slot.len.min(512) };
        if bytes.try_reserve_exact(size).is_err() {
            from.1.pipe.put_back(slot);
            return if done > 0 { Ok(done) } else { Err(Errno::ENOMEM.into()) };
        }
        bytes.resize(size, 0);
        let mut moved = 0;
        while moved < slot.len {
            let step = (slot.len - moved).min(bytes.len());
            let piece = bytes.get_mut(..step).unwrap_or_default();
            slot.frame.read(slot.offset + moved, piece);
            match to.1.write_to(to.0, &mut Source::kernel(piece)) {
                Ok(count) => {
                    moved += count;
                    if count < step {
                        break;
                    }
                }
                Err(_) if done + moved > 0 => break,
                Err(error) => {
                    from.1.pipe.put_back(Slot { ..slot });
                    return Err(error);
                }
            }
        }
        done += moved;
        if moved < slot.len {
            from.1.pipe.put_back(Slot { offset: slot.offset + moved, len: slot.len - moved, ..slot });
            break;
        }
    }
    Ok(done)
}

/// A page of a file's contents at an offset: the file's own frame where it has one. `None` at the end.
fn file_slot(file: &OpenFile, at: u64, max: usize) -> Result<Option<Slot>, Errno> {
    let inode = file.inode();
    let within = (at % PAGE_SIZE as u64) as usize;
    let Some(rest) = inode.size().checked_sub(at).filter(|&rest| rest > 0) else { return Ok(None) };
    let len = usize::try_from(rest).unwrap_or(usize::MAX).min(PAGE_SIZE - within).min(max);
    let frame = match inode.ops().cached_page(inode, at / PAGE_SIZE as u64) {
        Some(frame) => frame,
        None => Frame::zeroed()?,
    };
    Ok(Some(Slot { frame, offset: within, len, page: SlotPage::Shared }))
}

/// A page that bytes of some other file were read into. `None` at the end.
fn read_slot(from: (&OpenFile, &mut Position), max: usize) -> Result<Option<Slot>, SysError> {
    let frame = Frame::uninit()?;
    let mut buffer = [0; 512];
    let want = max.min(PAGE_SIZE);
    let mut filled = 0;
    while filled < want {
        let step = (want - filled).min(buffer.len());
        let piece = buffer.get_mut(..step).unwrap_or_default();
        let got = match from.1.read_from(from.0, &mut Sink::kernel(piece)) {
            Ok(got) => got,
            Err(error) if filled == 0 => return Err(error),
            Err(_) => 0,
        };
        frame.write(filled, piece.get(..got).unwrap_or_default());
        filled += got;
        if got < step {
            break;
        }
    }
    Ok((filled > 0).then_some(Slot { frame, offset: 0, len: filled, page: SlotPage::Shared }))
}

/// A page that a socket's bytes were received into; one message, if it has messages. `None` at the end.
fn receive_slot(socket: &Socket, max: usize, flags: u32) -> Result<Option<Slot>, SysError> {
    let mut buffer = Vec::new();
    let size = max.min(PAGE_SIZE);
    buffer.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    buffer.resize(size, 0u8);
    let len = socket.ops.receive(&mut Sink::kernel(&mut buffer), flags, None)?;
    let frame = Frame::uninit()?;
    frame.write(0, buffer.get(..len).unwrap_or_default());
    Ok((len > 0).then_some(Slot { frame, offset: 0, len, page: SlotPage::Shared }))
}

/// From a file into a pipe, as much as fits.
fn splice_in(
    from: (&OpenFile, &mut Position),
    to: (&OpenFile, &PipeEnd),
    len: usize,
    flags: u32,
) -> SysResult {
    let pipe = &to.1.pipe;
    pipe.wait_writable(waits(to.0, flags))?;
    if len == 0 {
        return Ok(0);
    }
    // A pipe as the source comes here from sendfile alone.
    if !from.0.ops.can_splice() || pipe::of(from.0).is_some() {
        return Err(Errno::EINVAL.into());
    }
    let has_pages = from.0.inode().ops().is_mappable();
    let socket = net::of(from.0).ok();
    let len = len.min(pipe.free_slots() * PAGE_SIZE);
    let mut done = 0;
    while done < len && pipe.has_room() {
        let slot = if has_pages {
            let at = from.1.get(from.0);
            let slot = file_slot(from.0, at, len - done)?;
            from.1.advance(from.0, slot.as_ref().map_or(0, |slot| slot.len));
            slot
        } else {
            let got = match socket {
                // What is there already, once there is something.
                Some(socket) if done == 0 && waits(from.0, flags) => receive_slot(socket, len, 0),
                Some(socket) if done == 0 || socket.ops.kind() == net::Kind::Stream => {
                    receive_slot(socket, len - done, net::msg::DONTWAIT)
                }
                Some(_) => break,
                None => read_slot((from.0, &mut *from.1), len - done),
            };
            match got {
                Ok(slot) => slot,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        };
        let Some(slot) = slot else { break };
        let count = slot.len;
        if pipe.put(slot).is_some() {
            // Another writer was faster.
            from.1.take_back(from.0, count);
            break;
        }
        done += count;
    }
    if has_pages {
        from.0.inode().touch_accessed();
        notify::note_moved(&from.0.path.dentry, &Ok(done), notify::event::ACCESS);
    }
    Ok(done)
}

/// splice(2).
pub fn splice(
    in_fd: Fd,
    in_offset: UserPtr<i64>,
    out_fd: Fd,
    out_offset: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult {
    if len == 0 {
        return Ok(0);
    }
    if flags & !splice_flag::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let files = fs::files();
    let input = files.get(in_fd)?;
    let output = files.get(out_fd)?;
    if !input.mode.contains(Mode::READ) || !output.mode.contains(Mode::WRITE) {
        return Err(Errno::EBADF.into());
    }
    let len = len.min(MAX_IO);
    let (source, target) = (pipe::of(&input), pipe::of(&output));
    if (source.is_some() && !in_offset.is_null()) || (target.is_some() && !out_offset.is_null()) {
        return Err(Errno::ESPIPE.into());
    }
    match (source, target) {
        (Some(source), Some(target)) => splice_pipes((&input, source), (&output, target), len, flags),
        (Some(source), None) => {
            if output.flags().contains(OpenFlags::APPEND) || !output.ops.can_splice() {
                return Err(Errno::EINVAL.into());
            }
            let mut to = Position::read(out_offset, &output)?;
            let done = splice_out((&input, source), (&output, &mut to), len, flags)?;
            to.finish()?;
            Ok(done)
        }
        (None, Some(target)) => {
            let mut from = Position::read(in_offset, &input)?;
            let done = splice_in((&input, &mut from), (&output, target), len, flags)?;
            from.finish()?;
            Ok(done)
        }
        (None, None) => Err(Errno::EINVAL.into()),
    }
}

/// tee(2).
pub fn tee(in_fd: Fd, out_fd: Fd, len: usize, flags: u32) -> SysResult {
    if flags & !splice_flag::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let files = fs::files();
    let input = files.get(in_fd)?;
    let output = files.get(out_fd)?;
    if !input.mode.contains(Mode::READ) || !output.mode.contains(Mode::WRITE) {
        return Err(Errno::EBADF.into());
    }
    let (Some(source), Some(target)) = (pipe::of(&input), pipe::of(&output)) else {
        return Err(Errno::EINVAL.into());
    };
    if Arc::ptr_eq(&source.pipe, &target.pipe) {
        return Err(Errno::EINVAL.into());
    }
    if !source.pipe.wait_readable(waits(&input, flags))? {
        return Ok(0);
    }
    target.pipe.wait_writable(waits(&output, flags))?;
    let (mut done, mut nth) = (0, 0);
    while done < len {
        let Some(slot) = source.pipe.look(nth, len - done) else { break };
        let count = slot.len;
        if target.pipe.put(slot).is_some() {
            break;
        }
        done += count;
        nth += 1;
    }
    Ok(done)
}

/// vmsplice(2): the bytes are copied, which a program can't tell from pages that were lent and not written to.
pub fn vmsplice(fd: Fd, vectors: UserPtr<IoVec>, count: usize, flags: u32) -> SysResult {
    if flags & !splice_flag::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = fs::files().get(fd)?;
    let end = pipe::of(&file).ok_or(Errno::EBADF)?;
    let vectors = IoVecs::read(vectors, count)?;
    let wait = waits(&file, flags);
    if file.mode.contains(Mode::WRITE) {
        let mut src = Source::iovecs(vectors.all());
        if src.remaining() == 0 {
            return Ok(0);
        }
        // Waits for some room, then fills what there is: a caller that drains the pipe itself takes the rest later.
        loop {
            end.pipe.wait_writable(wait)?;
            match end.pipe.write(&mut src, false, false) {
                Err(error) if wait && error.failure() == Failure::Errno(Errno::EAGAIN) => {}
                result => return result,
            }
        }
    } else {
        end.pipe.read(&mut Sink::iovecs(vectors.all()), wait)
    }
}
