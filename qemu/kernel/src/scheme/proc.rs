//! Contexts, vspaces and descriptor tables, as files.
//!
//! DUP_INTO makes one from another (the forms are Redox's; those marked + are ours):
//!
//! | of | how | gives |
//! |---|---|---|
//! | root (9) | `cur-context`, `new-context` | a context |
//! | a context | `addrspace`, `filetable` | its vspace, its table |
//! | | `current-addrspace` | write [vspace, stack, instruction (, first argument)], close: it starts there |
//! | | `current-filetable` | write [table], close: it uses that |
//! | | `regs/env`, `regs/int` | its registers |
//! | | `attrs` | `ProcSchemeAttrs`: whom it acts for; root may change it |
//! | | `start` | write anything: it runs |
//! | | `exit-status` + | read: waits for its end, gives `pager_abi::exit::ExitStatus` |
//! | a vspace | `empty`, `exclusive` | a new one; a copy (fork) |
//! | | `mem` + | its memory, by offset |
//! | | `mmap-min-addr` | write [address]: mappings begin there |
//! | a table | `copy`, `empty` + | a new one with the same open files, or none |
//!
//! Writing [usize::MAX] to a context ends it; [usize::MAX, code] to one's own is its exit code.
//! Writing [op, ..] to a vspace maps, unmaps, protects or moves memory (`ADDRSPACE_OP_*`).
//! CALL of a table with `FileTableVerb::Close` and a number as payload closes that descriptor.

mod memory;
mod registers;

use crate::arch::cpu::Cpu;
use crate::arch::heap;
use crate::context::{Context, State, Wait};
use crate::file::{Description, File, FileTable, Position};
use crate::kernel::Kernel;
use crate::syscall::fs::Place;
use crate::syscall::{Outcome, Stop};
use crate::vspace::user::UserSlice;
use crate::vspace::{MAP_END, USER_END, Vspace};
use alloc::string::String;
use core::fmt::Write;
use kernel_logic::arena::Id;
use kernel_logic::slots::Slots;
use memory::operate;
use pager_abi::exit::ExitStatus;
use pager_abi::fault::Access;
use registers::{int_registers, set_int_registers};
use syscall::data::{Map, ProcSchemeAttrs};
use syscall::error::{EBADF, EBUSY, EFAULT, EINVAL, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP, EPERM, Error, Result};
use syscall::flag::FileTableVerb;
use syscall::{EnvRegisters, IntRegisters, PAGE_SIZE};

/// The most words of a command.
const WORDS: usize = 8;

/// Something of a context. Each holds what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcFile {
    /// A context.
    Context(Id<Context>),
    /// A vspace.
    Vspace(Id<Vspace>),
    /// The memory of a vspace.
    Memory(Id<Vspace>),
    /// Where a vspace's mappings begin.
    MapMin(Id<Vspace>),
    /// A table of descriptors.
    Table(Id<FileTable>),
    /// Which vspace a context starts in.
    SelectVspace(Id<Context>, Option<Start>),
    /// Which table it uses.
    SelectTable(Id<Context>, Option<Id<FileTable>>),
    /// Lets it run.
    Start(Id<Context>),
    /// Its thread pointer.
    Env(Id<Context>),
    /// Its registers.
    Registers(Id<Context>),
    /// Whom it acts for.
    Attributes(Id<Context>),
    /// How it ended.
    ExitStatus(Id<Context>),
}

/// Where a context begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    vspace: Id<Vspace>,
    stack: usize,
    instruction: usize,
    argument: usize,
}

/// DUP_INTO of the root.
pub fn open_root(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, how: &[u8], out: usize) -> Outcome {
    let file = match how {
        b"cur-context" => {
            k.contexts[id].refs += 1;
            ProcFile::Context(id)
        }
        b"new-context" if heap::is_short() => return Err(Error::new(ENOMEM).into()),
        b"new-context" => {
            let context = Context { credentials: k.contexts[id].credentials, ..Context::new() };
            ProcFile::Context(k.contexts.insert(context).ok_or(Error::new(ENOMEM))?)
        }
        _ => return Err(Error::new(ENOENT).into()),
    };
    Ok(k.open_file(cpu, id, out, File::Proc(file), 0, Position::Unkept)?)
}

/// DUP_INTO of a file of this scheme.
pub fn dup(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, file: Id<Description>, how: &[u8], out: usize) -> Outcome {
    let (file, position) = match (proc_file(k, file)?, how) {
        (ProcFile::Context(context), how) => of_context(k, context, how)?,
        (ProcFile::Vspace(_), b"empty") => {
            let vspace = Vspace::new(&mut k.frames)?;
            (ProcFile::Vspace(k.vspaces.insert(vspace).ok_or(Error::new(ENOMEM))?), Position::Unkept)
        }
        (ProcFile::Vspace(vspace), b"exclusive") => (ProcFile::Vspace(k.fork_vspace(cpu, vspace)?), Position::Unkept),
        (ProcFile::Vspace(vspace), b"mem") => {
            k.retain_vspace(vspace);
            (ProcFile::Memory(vspace), Position::At(0))
        }
        (ProcFile::Vspace(vspace), b"mmap-min-addr") => {
            k.retain_vspace(vspace);
            (ProcFile::MapMin(vspace), Position::Unkept)
        }
        (ProcFile::Table(table), b"copy") => (ProcFile::Table(k.copy_table(table)?), Position::At(0)),
        (ProcFile::Table(_), b"empty") => {
            let table = FileTable { slots: Slots::default(), users: 0, refs: 1 };
            (ProcFile::Table(k.files.insert(table).ok_or(Error::new(ENOMEM))?), Position::At(0))
        }
        _ => return Err(Error::new(EINVAL).into()),
    };
    Ok(k.open_file(cpu, id, out, File::Proc(file), 0, position)?)
}

fn of_context(k: &mut Kernel, context: Id<Context>, how: &[u8]) -> Result<(ProcFile, Position)> {
    match how {
        b"addrspace" => {
            let vspace = k.contexts[context].vspace.ok_or(Error::new(ENOENT))?;
            k.retain_vspace(vspace);
            return Ok((ProcFile::Vspace(vspace), Position::Unkept));
        }
        b"filetable" => {
            let table = k.contexts[context].files.ok_or(Error::new(ENOENT))?;
            k.files[table].refs += 1;
            return Ok((ProcFile::Table(table), Position::At(0)));
        }
        _ => {}
    }
    let file = match how {
        b"current-addrspace" => ProcFile::SelectVspace(context, None),
        b"current-filetable" => ProcFile::SelectTable(context, None),
        b"start" => ProcFile::Start(context),
        b"regs/env" => ProcFile::Env(context),
        b"regs/int" => ProcFile::Registers(context),
        b"attrs" => ProcFile::Attributes(context),
        b"exit-status" => ProcFile::ExitStatus(context),
        _ => return Err(Error::new(EINVAL)),
    };
    k.contexts[context].refs += 1;
    Ok((file, Position::Unkept))
}

fn proc_file(k: &Kernel, file: Id<Description>) -> Result<ProcFile> {
    match k.descriptions[file].file {
        File::Proc(file) => Ok(file),
        _ => Err(Error::new(EBADF)),
    }
}

/// READ.
pub fn read(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    file: Id<Description>,
    buffer: UserSlice,
    place: Place,
) -> Outcome {
    match proc_file(k, file)? {
        ProcFile::ExitStatus(context) => {
            let buffer = buffer.exact(ExitStatus::WORDS * 8)?;
            k.prefault(cpu, id, buffer, Access::Write)?;
            match k.contexts[context].state {
                State::Dead(status) => Ok(k.write_exit_status(id, buffer.address, status)?),
                _ if context == id => Err(Error::new(EBUSY).into()),
                _ => {
                    k.retain_description(file);
                    let wait = Wait::Exit { context, buffer: buffer.address, description: file };
                    k.contexts[id].state = State::Waiting(wait);
                    Err(Stop::Wait)
                }
            }
        }
        ProcFile::Env(context) => {
            let registers = EnvRegisters { fsbase: k.contexts[context].fs_base, gsbase: 0 };
            let buffer = buffer.exact(registers.len())?;
            k.write_user(cpu, id, buffer, &registers)?;
            Ok(buffer.len)
        }
        ProcFile::Registers(context) => {
            let registers = int_registers(k, context)?;
            let buffer = buffer.exact(registers.len())?;
            k.write_user(cpu, id, buffer, &registers)?;
            Ok(buffer.len)
        }
        ProcFile::Attributes(context) => {
            let credentials = k.contexts[context].credentials;
            let (euid, egid) = (credentials as u32, (credentials >> 32) as u32);
            let attributes = ProcSchemeAttrs { pid: context.raw(), euid, egid, ..ProcSchemeAttrs::default() };
            let buffer = buffer.exact(attributes.len())?;
            k.write_user(cpu, id, buffer, &attributes)?;
            Ok(buffer.len)
        }
        ProcFile::Table(table) => {
            let mut text = String::new();
            for (number, _) in k.files[table].slots.iter() {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{number}");
            }
            let offset = offset_of(k, file, place);
            let rest = text.as_bytes().get(offset..).unwrap_or(&[]);
            let count = rest.len().min(buffer.len);
            k.write_user(cpu, id, buffer.first(count), &rest[..count])?;
            advance(k, file, place, offset + count);
            Ok(count)
        }
        ProcFile::Memory(vspace) => {
            let offset = offset_of(k, file, place);
            let count = k.copy_memory(cpu, id, vspace, offset, buffer, Access::Read)?;
            advance(k, file, place, offset + count);
            Ok(count)
        }
        _ => Err(Error::new(EBADF).into()),
    }
}

/// WRITE.
pub fn write(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    file: Id<Description>,
    buffer: UserSlice,
    place: Place,
) -> Outcome {
    let proc = proc_file(k, file)?;
    match proc {
        ProcFile::Memory(vspace) => {
            let offset = offset_of(k, file, place);
            let count = k.copy_memory(cpu, id, vspace, offset, buffer, Access::Write)?;
            advance(k, file, place, offset + count);
            return Ok(count);
        }
        ProcFile::Start(context) => return start(k, context).map(|()| buffer.len).map_err(Stop::from),
        ProcFile::Registers(context) => {
            let mut registers = IntRegisters::default();
            k.read_user(cpu, id, buffer.exact(registers.len())?, &mut registers)?;
            set_int_registers(k, context, &registers)?;
            return Ok(buffer.len);
        }
        ProcFile::Attributes(context) => {
            let mut attributes = ProcSchemeAttrs::default();
            k.read_user(cpu, id, buffer.exact(attributes.len())?, &mut attributes)?;
            let credentials = u64::from(attributes.euid) | u64::from(attributes.egid) << 32;
            // Only root becomes, or makes others, somebody else.
            if k.contexts[id].credentials as u32 != 0 && credentials != k.contexts[context].credentials {
                return Err(Error::new(EPERM).into());
            }
            k.contexts[context].credentials = credentials;
            return Ok(buffer.len);
        }
        _ => {}
    }
    let mut words = [0; WORDS];
    let words = read_words(k, cpu, id, buffer, &mut words)?;
    match (proc, words) {
        (ProcFile::Context(context), [usize::MAX, rest @ ..]) => {
            if context == id {
                let code = rest.first().copied().unwrap_or(0) as u64;
                k.end(cpu, id, ExitStatus::Exited { code });
                return Err(Stop::Wait);
            }
            k.end(cpu, context, ExitStatus::Killed);
        }
        (ProcFile::SelectVspace(context, _), &[fd, stack, instruction, ref rest @ ..]) => {
            let ProcFile::Vspace(vspace) = proc_file(k, k.description(id, fd)?)? else {
                return Err(Error::new(EBADF).into());
            };
            if instruction >= USER_END || stack > USER_END {
                return Err(Error::new(EFAULT).into());
            }
            must_be_new(k, context)?;
            k.retain_vspace(vspace);
            let argument = rest.first().copied().unwrap_or(0);
            let start = Start { vspace, stack, instruction, argument };
            let before = replace(k, file, ProcFile::SelectVspace(context, Some(start)));
            if let ProcFile::SelectVspace(_, Some(before)) = before {
                k.release_vspace(cpu, before.vspace);
            }
        }
        (ProcFile::SelectTable(context, _), &[fd]) => {
            let ProcFile::Table(table) = proc_file(k, k.description(id, fd)?)? else {
                return Err(Error::new(EBADF).into());
            };
            must_be_new(k, context)?;
            k.files[table].refs += 1;
            let before = replace(k, file, ProcFile::SelectTable(context, Some(table)));
            if let ProcFile::SelectTable(_, Some(before)) = before {
                k.release_table(cpu, before);
            }
        }
        (ProcFile::Env(context), &[fs_base, 0]) if fs_base < USER_END => {
            match k.contexts[context].state {
                State::Running(_) if context != id => return Err(Error::new(EBUSY).into()),
                State::Running(_) => cpu.set_fs_base(fs_base as u64),
                _ => {}
            }
            k.contexts[context].fs_base = fs_base as u64;
        }
        (ProcFile::MapMin(vspace), &[address]) if address.is_multiple_of(PAGE_SIZE) && address <= MAP_END => {
            k.vspaces[vspace].map_min = address.max(PAGE_SIZE);
        }
        (ProcFile::Vspace(vspace), words) => return operate(k, cpu, id, vspace, words),
        _ => return Err(Error::new(EINVAL).into()),
    }
    Ok(buffer.len)
}

/// FMAP of a vspace's descriptor: borrowing another's memory is not offered.
pub fn map(k: &Kernel, _cpu: &Cpu, file: Id<Description>, _into: Id<Vspace>, _map: &Map) -> Result<usize> {
    match proc_file(k, file)? {
        ProcFile::Vspace(_) => Err(Error::new(EOPNOTSUPP)),
        _ => Err(Error::new(ENODEV)),
    }
}

/// CALL of a table: `FileTableVerb`.
pub fn call(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    file: Id<Description>,
    payload: UserSlice,
    words: &[u64],
) -> Outcome {
    let ProcFile::Table(table) = proc_file(k, file)? else { return Err(Error::new(EBADF).into()) };
    match FileTableVerb::try_from_raw(words[0] as u8) {
        Some(FileTableVerb::Close) => {
            payload.exact(8)?;
            let [number] = k.read_words::<1>(cpu, id, payload.address)?;
            let description = k.files[table].slots.remove(number).ok_or(Error::new(EBADF))?;
            k.release_description(cpu, description);
            Ok(0)
        }
        _ => Err(Error::new(EOPNOTSUPP).into()),
    }
}

fn start(k: &mut Kernel, context: Id<Context>) -> Result<()> {
    must_be_new(k, context)?;
    if k.contexts[context].vspace.is_none() || k.contexts[context].files.is_none() {
        return Err(Error::new(EINVAL));
    }
    k.contexts[context].refs += 1;
    k.make_ready(context);
    Ok(())
}

fn must_be_new(k: &Kernel, context: Id<Context>) -> Result<()> {
    match k.contexts[context].state {
        State::New => Ok(()),
        _ => Err(Error::new(EBUSY)),
    }
}

fn replace(k: &mut Kernel, file: Id<Description>, new: ProcFile) -> ProcFile {
    match core::mem::replace(&mut k.descriptions[file].file, File::Proc(new)) {
        File::Proc(old) => old,
        _ => unreachable!("the caller saw a file of this scheme"),
    }
}

fn read_words<'a>(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    from: UserSlice,
    words: &'a mut [usize; WORDS],
) -> core::result::Result<&'a [usize], Stop> {
    if !from.len.is_multiple_of(8) || from.len > WORDS * 8 {
        return Err(Error::new(EINVAL).into());
    }
    let mut bytes = [[0; 8]; WORDS];
    let count = from.len / 8;
    k.read_user(cpu, id, from, bytes[..count].as_flattened_mut())?;
    for (word, bytes) in words.iter_mut().zip(bytes) {
        *word = usize::from_ne_bytes(bytes);
    }
    Ok(&words[..count])
}

fn offset_of(k: &Kernel, file: Id<Description>, place: Place) -> usize {
    match (place, k.descriptions[file].position) {
        (Place::Offset { offset, .. }, _) | (Place::Position, Position::At(offset)) => offset as usize,
        (Place::Position, _) => 0,
    }
}

fn advance(k: &mut Kernel, file: Id<Description>, place: Place, to: usize) {
    if let Place::Position = place {
        k.descriptions[file].position = Position::At(to as u64);
    }
}

impl Kernel {
    /// A file of this scheme is closed: a selection takes effect, and what it holds is let go.
    pub fn close_proc(&mut self, cpu: &Cpu, file: ProcFile) {
        match file {
            ProcFile::Context(context)
            | ProcFile::Start(context)
            | ProcFile::Env(context)
            | ProcFile::Registers(context)
            | ProcFile::Attributes(context)
            | ProcFile::ExitStatus(context) => self.release_context(cpu, context),
            ProcFile::Vspace(vspace) | ProcFile::Memory(vspace) | ProcFile::MapMin(vspace) => {
                self.release_vspace(cpu, vspace)
            }
            ProcFile::Table(table) => self.release_table(cpu, table),
            ProcFile::SelectVspace(context, start) => {
                if let Some(start) = start {
                    self.select_vspace(cpu, context, start);
                }
                self.release_context(cpu, context);
            }
            ProcFile::SelectTable(context, table) => {
                if let Some(table) = table {
                    self.select_table(cpu, context, table);
                }
                self.release_context(cpu, context);
            }
        }
    }

    fn select_vspace(&mut self, cpu: &Cpu, id: Id<Context>, start: Start) {
        let context = &mut self.contexts[id];
        let unused = match context.state {
            State::New => {
                let registers = context.registers.get_mut();
                registers.set_start(start.instruction, start.stack);
                registers.rdi = start.argument;
                context.vspace.replace(start.vspace)
            }
            // It was started in between: too late.
            _ => Some(start.vspace),
        };
        if let Some(unused) = unused {
            self.release_vspace(cpu, unused);
        }
    }

    fn select_table(&mut self, cpu: &Cpu, id: Id<Context>, table: Id<FileTable>) {
        if let State::New = self.contexts[id].state {
            self.use_table(table);
            if let Some(old) = self.contexts[id].files.replace(table) {
                self.leave_table(cpu, old);
            }
        }
        self.release_table(cpu, table);
    }

    /// Gives the status to context `id`, which waited for it or asks now.
    pub fn write_exit_status(&mut self, id: Id<Context>, buffer: usize, status: ExitStatus) -> Result<usize> {
        let vspace = self.contexts[id].vspace.ok_or(Error::new(EFAULT))?;
        let words = status.to_words().map(u64::to_ne_bytes);
        let bytes = words.as_flattened();
        if self.write_foreign(vspace, buffer, bytes) == bytes.len() { Ok(bytes.len()) } else { Err(Error::new(EFAULT)) }
    }
}
