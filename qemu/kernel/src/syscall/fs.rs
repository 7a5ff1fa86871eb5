//! System calls on descriptors.
//!
//! Each finds the open file and goes by its kind: kernel schemes answer at once or let the caller
//! wait; a file of a server becomes a message ([`Kernel::call_server`]).

use super::{Outcome, Stop};
use crate::arch::cpu::Cpu;
use crate::context::Context;
use crate::file::{Description, File, Position};
use crate::kernel::Kernel;
use crate::scheme::user::{Message, Then};
use crate::scheme::{debug, irq, memory, proc, sys, time, user};
use crate::vspace::user::UserSlice;
use kernel_logic::arena::Id;
use syscall::data::{GlobalSchemes, NewFdParams, Stat};
use syscall::error::{EBADF, EINVAL, ENAMETOOLONG, ENOENT, ENOSYS, EOPNOTSUPP, ESPIPE, Error, Result};
use syscall::flag::*;
use syscall::schemev2::Opcode;
use zerocopy::IntoBytes;

/// The longest name in a kernel scheme.
const NAME_MAX: usize = 256;

/// Where a read or a write is.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// At the open file's own position, which moves.
    Position,
    /// At an offset; the position stays.
    Offset {
        /// The offset.
        offset: u64,
        /// `O_` flags for this call.
        flags: usize,
    },
}

impl Place {
    /// From the arguments of READ2 and WRITE2; an offset of -1 means the position.
    pub fn of_call2(offset: usize, raw_flags: usize) -> Self {
        if offset == usize::MAX {
            return Self::Position;
        }
        let given = RwFlags::from_bits_truncate(if raw_flags == usize::MAX { 0 } else { raw_flags as u32 });
        let mut flags = 0;
        if given.contains(RwFlags::NONBLOCK) {
            flags |= O_NONBLOCK;
        }
        if given.contains(RwFlags::APPEND) {
            flags |= O_APPEND;
        }
        Self::Offset { offset: offset as u64, flags }
    }
}

/// READ, READ2.
pub fn read(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, buffer: UserSlice, place: Place) -> Outcome {
    let file = k.description(id, fd)?;
    match k.descriptions[file].file {
        File::Remote { socket, number } => {
            transfer(k, cpu, id, file, Message::new(Opcode::Read, socket, number, file).filled(buffer), place)
        }
        File::Socket(socket) => user::receive_by_read(k, cpu, id, socket, buffer),
        File::Debug => debug::read(k, cpu, id, file, buffer),
        File::Time(clock) => time::read(k, cpu, id, clock, buffer),
        File::Irq(gsi) => irq::read(k, cpu, id, gsi, buffer),
        File::Sys(_) => sys::read(k, cpu, id, file, buffer, place),
        File::Proc(_) => proc::read(k, cpu, id, file, buffer, place),
        File::Root(_) | File::SchemeCreation | File::Memory(_) => Err(Error::new(EBADF).into()),
    }
}

/// WRITE, WRITE2.
pub fn write(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, buffer: UserSlice, place: Place) -> Outcome {
    let file = k.description(id, fd)?;
    match k.descriptions[file].file {
        File::Remote { socket, number } => {
            transfer(k, cpu, id, file, Message::new(Opcode::Write, socket, number, file).emptied(buffer), place)
        }
        File::Socket(socket) => user::answer_by_write(k, cpu, id, socket, buffer),
        File::Debug => debug::write(k, cpu, id, buffer),
        File::Irq(gsi) => irq::write(k, cpu, id, gsi, buffer),
        File::Sys(_) => sys::write(k, cpu, id, file, buffer),
        File::Proc(_) => proc::write(k, cpu, id, file, buffer, place),
        File::Root(_) | File::SchemeCreation | File::Memory(_) | File::Time(_) => Err(Error::new(EBADF).into()),
    }
}

/// Read and Write = [number, buffer, length, offset, flags].
fn transfer(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    file: Id<Description>,
    message: Message,
    place: Place,
) -> Outcome {
    let description = &k.descriptions[file];
    let (offset, flags, then) = match (place, description.position) {
        (Place::Offset { offset, flags }, _) => (offset, description.flags | flags, Then::Result),
        (Place::Position, Position::Unkept) => (u64::MAX, description.flags, Then::Result),
        (Place::Position, Position::At(offset)) => (offset, description.flags, Then::Advance),
        // After an append: where the end is now, only the server knows.
        (Place::Position, Position::End) if message.is_append(description.flags) => {
            (0, description.flags, Then::Advance)
        }
        (Place::Position, Position::End) => return ask_size(k, cpu, id, file, Then::Locate),
    };
    k.call_server(cpu, id, message.with(3, offset).with(4, flags as u64), then)
}

fn ask_size(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, file: Id<Description>, then: Then) -> Outcome {
    let File::Remote { socket, number } = k.descriptions[file].file else {
        return Err(Error::new(ESPIPE).into());
    };
    k.call_server(cpu, id, Message::new(Opcode::Fsize, socket, number, file), then)
}

/// OPENAT_INTO; `flags` are those of the open and those of fcntl.
pub fn open(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    fd: usize,
    path: UserSlice,
    [flags, fcntl]: [usize; 2],
    out: usize,
) -> Outcome {
    let file = k.description(id, fd)?;
    k.check_number(id, out)?;
    match k.descriptions[file].file {
        File::Remote { socket, number } => {
            let message = Message::new(Opcode::OpenAt, socket, number, file)
                .emptied(path)
                .with(3, flags as u64)
                .with(4, (fcntl & O_FCNTL_MASK) as u64);
            k.call_server(cpu, id, message, Then::Open { out, flags: flags | fcntl & O_FCNTL_MASK })
        }
        File::Root(scheme) => {
            let mut name = [0; NAME_MAX];
            let name = read_name(k, cpu, id, path, &mut name)?;
            open_in_scheme(k, cpu, id, scheme, name, flags, out)
        }
        _ => Err(Error::new(EBADF).into()),
    }
}

fn open_in_scheme(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    scheme: GlobalSchemes,
    name: &str,
    flags: usize,
    out: usize,
) -> Outcome {
    let (file, position) = match scheme {
        GlobalSchemes::Debug => (debug::open(name)?, Position::Unkept),
        GlobalSchemes::Memory => (memory::open(name)?, Position::Unkept),
        GlobalSchemes::Time => (time::open(name)?, Position::Unkept),
        GlobalSchemes::Irq => (irq::open(k, cpu, name)?, Position::Unkept),
        GlobalSchemes::Sys => (sys::open(k, name)?, Position::At(0)),
        GlobalSchemes::Proc => return proc::open_root(k, cpu, id, name.as_bytes(), out),
        // These exist by name only: there is nothing in them.
        GlobalSchemes::Event
        | GlobalSchemes::Pipe
        | GlobalSchemes::Serio
        | GlobalSchemes::Acpi
        | GlobalSchemes::Dtb => return Err(Error::new(ENOENT).into()),
    };
    Ok(k.open_file(cpu, id, out, file, flags, position)?)
}

fn read_name<'a>(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    name: UserSlice,
    buffer: &'a mut [u8; NAME_MAX],
) -> core::result::Result<&'a str, Stop> {
    let bytes = buffer.get_mut(..name.len).ok_or(Error::new(ENAMETOOLONG))?;
    k.read_user(cpu, id, name, bytes)?;
    Ok(core::str::from_utf8(bytes).map_err(|_| Error::new(EINVAL))?)
}

/// DUP_INTO: the same file again (an empty `how`), or what the file makes of `how`.
pub fn dup(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, how: UserSlice, out: usize) -> Outcome {
    let file = k.description(id, fd)?;
    k.check_number(id, out)?;
    if how.len == 0 {
        k.retain_description(file);
        let inserted = k.insert_descriptor(id, out, file);
        if inserted.is_err() {
            k.release_description(cpu, file);
        }
        return Ok(inserted?);
    }
    let flags = k.descriptions[file].flags;
    match k.descriptions[file].file {
        File::Remote { socket, number } => {
            let message = Message::new(Opcode::Dup, socket, number, file).emptied(how);
            k.call_server(cpu, id, message, Then::Open { out, flags })
        }
        File::SchemeCreation => {
            let mut name = [0; NAME_MAX];
            match read_name(k, cpu, id, how, &mut name)? {
                "create-scheme" => user::create(k, cpu, id, out),
                _ => Err(Error::new(EINVAL).into()),
            }
        }
        File::Socket(socket) => {
            how.exact(size_of::<NewFdParams>())?;
            let [offset, number, flags, internal] = k.read_words::<4>(cpu, id, how.address)?;
            user::mint(k, cpu, id, socket, [offset, number, flags, internal], out)
        }
        File::Root(GlobalSchemes::Proc) => {
            let mut name = [0; NAME_MAX];
            let name = read_name(k, cpu, id, how, &mut name)?;
            proc::open_root(k, cpu, id, name.as_bytes(), out)
        }
        File::Proc(_) => {
            let mut name = [0; NAME_MAX];
            let name = read_name(k, cpu, id, how, &mut name)?;
            proc::dup(k, cpu, id, file, name.as_bytes(), out)
        }
        _ => Err(Error::new(EINVAL).into()),
    }
}

/// DUP2: as [`dup`], closing what was under the new number.
pub fn dup2(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, out: usize, how: UserSlice) -> Outcome {
    if fd == out {
        return Ok(out);
    }
    let file = k.description(id, fd)?;
    if how.len > 0 {
        // A server would have to be waited for with the old one already closed.
        if let File::Remote { .. } = k.descriptions[file].file {
            return Err(Error::new(EOPNOTSUPP).into());
        }
    }
    // Its absence is no error.
    let _ = k.close(cpu, id, out);
    dup(k, cpu, id, fd, how, out)
}

/// LSEEK.
pub fn seek(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, by: isize, whence: usize) -> Outcome {
    let file = k.description(id, fd)?;
    let base = match (whence, k.descriptions[file].position) {
        (_, Position::Unkept) => return Err(Error::new(ESPIPE).into()),
        (SEEK_SET, _) => 0,
        (SEEK_CUR, Position::At(offset)) => offset,
        (SEEK_CUR, Position::End) | (SEEK_END, _) => {
            if let File::Remote { .. } = k.descriptions[file].file {
                return ask_size(k, cpu, id, file, Then::Seek { by });
            }
            k.kernel_file_size(file)
        }
        _ => return Err(Error::new(EINVAL).into()),
    };
    Ok(k.set_position(file, base, by)?)
}

impl Kernel {
    /// The position becomes `base + by`.
    pub fn set_position(&mut self, file: Id<Description>, base: u64, by: isize) -> Result<usize> {
        let offset = base.checked_add_signed(by as i64).filter(|&offset| offset <= i64::MAX as u64);
        let offset = offset.ok_or(Error::new(EINVAL))?;
        self.descriptions[file].position = Position::At(offset);
        Ok(offset as usize)
    }

    fn kernel_file_size(&self, file: Id<Description>) -> u64 {
        match &self.descriptions[file].file {
            File::Sys(file) => file.len() as u64,
            _ => 0,
        }
    }
}

/// FSTAT = [number, buffer, length].
pub fn stat(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, buffer: UserSlice) -> Outcome {
    let file = k.description(id, fd)?;
    if let File::Remote { socket, number } = k.descriptions[file].file {
        let message = Message::new(Opcode::Fstat, socket, number, file).filled(buffer);
        return k.call_server(cpu, id, message, Then::Result);
    }
    let buffer = buffer.exact(size_of::<Stat>())?;
    let mode = match k.descriptions[file].file {
        File::Root(_) => MODE_DIR | 0o755,
        File::Debug => MODE_CHR | 0o666,
        _ => MODE_FILE | 0o600,
    };
    let stat = Stat { st_mode: mode, st_size: k.kernel_file_size(file), ..Stat::default() };
    k.write_user(cpu, id, buffer, &stat)?;
    Ok(0)
}

/// FSYNC = [number].
pub fn sync(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize) -> Outcome {
    let file = k.description(id, fd)?;
    match k.descriptions[file].file {
        File::Remote { socket, number } => {
            k.call_server(cpu, id, Message::new(Opcode::Fsync, socket, number, file), Then::Result)
        }
        _ => Ok(0),
    }
}

/// FCNTL: the flags are the kernel's, and go with every read and write.
pub fn control(k: &mut Kernel, id: Id<Context>, fd: usize, command: usize, argument: usize) -> Outcome {
    let file = k.description(id, fd)?;
    let description = &mut k.descriptions[file];
    match command {
        F_GETFD | F_SETFD => Ok(0),
        F_GETFL => Ok(description.flags),
        F_SETFL => {
            description.flags = description.flags & !O_FCNTL_MASK | argument & O_FCNTL_MASK;
            Ok(0)
        }
        _ => Err(Error::new(EINVAL).into()),
    }
}

/// FPATH = [number, buffer, length].
pub fn path(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, buffer: UserSlice) -> Outcome {
    let file = k.description(id, fd)?;
    let name: &[u8] = match k.descriptions[file].file {
        File::Remote { socket, number } => {
            let message = Message::new(Opcode::Fpath, socket, number, file).filled(buffer);
            return k.call_server(cpu, id, message, Then::Result);
        }
        File::Debug => b"/scheme/debug",
        File::Memory(_) => b"/scheme/memory",
        File::Proc(_) => b"/scheme/kernel.proc",
        File::Time(_) => b"/scheme/time",
        File::Irq(_) => b"/scheme/irq",
        File::Sys(_) => b"/scheme/sys",
        File::Root(_) | File::SchemeCreation | File::Socket(_) => b"/scheme",
    };
    let len = name.len().min(buffer.len);
    k.write_user(cpu, id, buffer.first(len), &name[..len])?;
    Ok(len)
}

/// FCHOWN = [number, uid, gid].
pub fn chown(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, uid: usize, gid: usize) -> Outcome {
    let message = remote(k, id, fd, Opcode::Fchown)?.with(1, uid as u64).with(2, gid as u64);
    k.call_server(cpu, id, message, Then::Result)
}

/// UNLINKAT = [directory's number, path, length, flags].
pub fn unlink(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, path: UserSlice, flags: usize) -> Outcome {
    let message = remote(k, id, fd, Opcode::UnlinkAt)?.emptied(path).with(3, flags as u64);
    k.call_server(cpu, id, message, Then::Result)
}

/// FLINK = [number, path, length].
pub fn link(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, path: UserSlice) -> Outcome {
    let message = remote(k, id, fd, Opcode::Flink)?.emptied(path);
    k.call_server(cpu, id, message, Then::Result)
}

/// FRENAME = [number, path, length].
pub fn rename(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, path: UserSlice) -> Outcome {
    let message = remote(k, id, fd, Opcode::Frename)?.emptied(path);
    k.call_server(cpu, id, message, Then::Result)
}

fn remote(k: &Kernel, id: Id<Context>, fd: usize, opcode: Opcode) -> Result<Message> {
    let file = k.description(id, fd)?;
    match k.descriptions[file].file {
        File::Remote { socket, number } => Ok(Message::new(opcode, socket, number, file)),
        _ => Err(Error::new(EBADF)),
    }
}

/// CALL: (descriptor, payload, length, count of metadata words and flags, metadata).
pub fn call(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, args: [usize; 5]) -> Outcome {
    /// The most metadata words; a server sees three of them.
    const WORDS: usize = 5;
    let [fd, payload, len, flags, pointer] = args;
    let (count, flags) = (flags & 0xff, CallFlags::from_bits_truncate(flags & !0xff));
    let file = k.description(id, fd)?;
    let payload = UserSlice::new(payload, len)?;
    if count > WORDS || flags.intersects(CallFlags::FD | CallFlags::MULTIPLE_FDS | CallFlags::CONSUME) {
        return Err(Error::new(EOPNOTSUPP).into());
    }
    let mut words = [0u64; WORDS];
    k.read_user(cpu, id, UserSlice::new(pointer, count * 8)?, words[..count].as_mut_bytes())?;
    match k.descriptions[file].file {
        File::Socket(socket) => user::socket_call(k, cpu, id, socket, payload, &words),
        File::Remote { socket, number } => {
            let opcode = if flags.contains(CallFlags::STD_FS) { Opcode::StdFsCall } else { Opcode::Call };
            let mut message = Message::new(opcode, socket, number, file);
            if len > 0 {
                message = message.buffered(payload, flags.contains(CallFlags::WRITE), flags.contains(CallFlags::READ));
            }
            let message = message.with(3, words[0]).with(4, words[1]).with(5, words[2]);
            k.call_server(cpu, id, message, Then::Result)
        }
        File::Memory(memory) => memory::call(k, cpu, id, memory, payload),
        File::Proc(_) => proc::call(k, cpu, id, file, payload, &words),
        _ => Err(Error::new(ENOSYS).into()),
    }
}
