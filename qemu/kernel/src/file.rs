//! Descriptors, the files behind them, and tables of descriptors.
//!
//! A descriptor is a number in a [`FileTable`]; it names a [`Description`] (Redox's word for an open
//! file), which is counted: descriptors hold it, and system calls that wait in it.

use crate::arch::cpu::Cpu;
use crate::arch::heap;
use crate::context::Context;
use crate::kernel::Kernel;
use crate::scheme::memory::MemoryFile;
use crate::scheme::proc::ProcFile;
use crate::scheme::sys::SysFile;
use crate::scheme::user::Socket;
use kernel_logic::arena::Id;
use kernel_logic::slots::{Refused, Slots};
use syscall::data::GlobalSchemes;
use syscall::error::{EBADF, EEXIST, EMFILE, ENFILE, Error, Result};
use syscall::schemev2::{Opcode, Sqe, SqeFlags};

/// The most open files.
pub const DESCRIPTIONS_MAX: usize = 64 * 1024;

/// The most tables.
pub const TABLES_MAX: usize = 1024;

/// An open file.
pub struct Description {
    /// What it is.
    pub file: File,
    /// Redox's `O_` flags, as it was opened.
    pub flags: usize,
    /// Where the next read or write is, if the kernel keeps that.
    pub position: Position,
    /// Descriptors and waiting system calls.
    pub refs: u32,
}

/// Where the next read or write of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The file keeps it itself, or has none.
    Unkept,
    /// At this offset.
    At(u64),
    /// At the end: an append was the last thing that happened.
    End,
}

/// What a descriptor can name.
#[derive(Clone, Debug)]
pub enum File {
    /// The root of a kernel scheme.
    Root(GlobalSchemes),
    /// The right to make schemes.
    SchemeCreation,
    /// The console.
    Debug,
    /// Memory.
    Memory(MemoryFile),
    /// Something of a context.
    Proc(ProcFile),
    /// A clock (`CLOCK_*`).
    Time(usize),
    /// A device's interrupt.
    Irq(u32),
    /// What the kernel tells of itself, and its switches.
    Sys(SysFile),
    /// The server's end of a scheme.
    Socket(Id<Socket>),
    /// A file of a server.
    Remote {
        /// The server.
        socket: Id<Socket>,
        /// The server's number for it.
        number: u64,
    },
}

/// A table of descriptors, shared by threads.
pub struct FileTable {
    /// The descriptors.
    pub slots: Slots<Id<Description>>,
    /// Contexts that use it: when the last one ends, everything is closed, even if a descriptor in the table
    /// names the table itself.
    pub users: u32,
    /// Contexts, and descriptors that name it.
    pub refs: u32,
}

fn refused(why: Refused) -> Error {
    match why {
        Refused::BadNumber => Error::new(EMFILE),
        Refused::Taken => Error::new(EEXIST),
    }
}

impl Kernel {
    /// The open file behind descriptor `number` of context `id`.
    #[inline]
    pub fn description(&self, id: Id<Context>, number: usize) -> Result<Id<Description>> {
        let table = self.contexts[id].files.ok_or(Error::new(EBADF))?;
        self.files[table].slots.get(number).ok_or(Error::new(EBADF))
    }

    /// Whether a new descriptor can have this number; before a server is asked.
    pub fn check_number(&self, id: Id<Context>, number: usize) -> Result<()> {
        let table = self.contexts[id].files.ok_or(Error::new(EBADF))?;
        if number == usize::MAX { Ok(()) } else { self.files[table].slots.check_free(number).map_err(refused) }
    }

    /// A new open file under descriptor `number` (`usize::MAX`: the lowest that is free) of context `id`.
    pub fn open_file(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        number: usize,
        file: File,
        flags: usize,
        position: Position,
    ) -> Result<usize> {
        let description = self.new_description(cpu, file, flags, position)?;
        let inserted = self.insert_descriptor(id, number, description);
        if inserted.is_err() {
            self.release_description(cpu, description);
        }
        inserted
    }

    /// A new open file with one reference.
    pub fn new_description(
        &mut self,
        cpu: &Cpu,
        file: File,
        flags: usize,
        position: Position,
    ) -> Result<Id<Description>> {
        if self.descriptions.len() >= DESCRIPTIONS_MAX || heap::is_short() {
            self.drop_file(cpu, file);
            return Err(Error::new(ENFILE));
        }
        let description = Description { file, flags, position, refs: 1 };
        self.descriptions.insert(description).ok_or(Error::new(ENFILE))
    }

    /// Puts an open file (with a reference for it) under descriptor `number`.
    pub fn insert_descriptor(&mut self, id: Id<Context>, number: usize, file: Id<Description>) -> Result<usize> {
        let table = self.contexts[id].files.ok_or(Error::new(EBADF))?;
        let slots = &mut self.files[table].slots;
        let number = if number == usize::MAX { slots.lowest_free() } else { number };
        slots.insert(number, file).map_err(refused)?;
        Ok(number)
    }

    /// CLOSE.
    pub fn close(&mut self, cpu: &Cpu, id: Id<Context>, number: usize) -> Result<()> {
        let table = self.contexts[id].files.ok_or(Error::new(EBADF))?;
        let description = self.files[table].slots.remove(number).ok_or(Error::new(EBADF))?;
        self.release_description(cpu, description);
        Ok(())
    }

    /// One holder more.
    #[inline]
    pub fn retain_description(&mut self, id: Id<Description>) {
        self.descriptions[id].refs += 1;
    }

    /// One holder less; the last one closes the file.
    #[inline]
    pub fn release_description(&mut self, cpu: &Cpu, id: Id<Description>) {
        let description = &mut self.descriptions[id];
        description.refs -= 1;
        if description.refs == 0 {
            let description = self.descriptions.remove(id);
            self.drop_file(cpu, description.file);
        }
    }

    /// An open file is no more: whoever serves it hears of it, and what it held is let go.
    fn drop_file(&mut self, cpu: &Cpu, file: File) {
        match file {
            File::Root(_) | File::SchemeCreation | File::Debug | File::Memory(_) | File::Time(_) | File::Sys(_) => {}
            File::Irq(gsi) => self.close_interrupt(gsi),
            File::Proc(file) => self.close_proc(cpu, file),
            File::Socket(socket) => self.close_socket(cpu, socket),
            File::Remote { socket, number } => {
                let sqe = Sqe {
                    opcode: Opcode::CloseMsg as u8,
                    sqe_flags: SqeFlags::ONEWAY,
                    args: [number, 0, 0, 0, 0, 0],
                    ..Sqe::default()
                };
                self.notify_server(cpu, socket, sqe);
                self.release_socket(socket);
            }
        }
    }

    /// A table with the same open files.
    pub fn copy_table(&mut self, from: Id<FileTable>) -> Result<Id<FileTable>> {
        if heap::is_short() {
            return Err(Error::new(ENFILE));
        }
        let slots = self.files[from].slots.clone();
        let copied: alloc::vec::Vec<_> = slots.iter().map(|(_, description)| description).collect();
        let table = self.files.insert(FileTable { slots, users: 0, refs: 1 }).ok_or(Error::new(ENFILE))?;
        copied.into_iter().for_each(|description| self.retain_description(description));
        Ok(table)
    }

    /// A context begins to use a table.
    pub fn use_table(&mut self, id: Id<FileTable>) {
        self.files[id].users += 1;
        self.files[id].refs += 1;
    }

    /// A context uses it no longer.
    pub fn leave_table(&mut self, cpu: &Cpu, id: Id<FileTable>) {
        self.files[id].users -= 1;
        if self.files[id].users == 0 {
            self.close_all(cpu, id);
        }
        self.release_table(cpu, id);
    }

    /// One holder less; the last one closes everything.
    pub fn release_table(&mut self, cpu: &Cpu, id: Id<FileTable>) {
        let table = &mut self.files[id];
        table.refs -= 1;
        if table.refs == 0 {
            self.close_all(cpu, id);
            self.files.remove(id);
        }
    }

    fn close_all(&mut self, cpu: &Cpu, id: Id<FileTable>) {
        let slots = core::mem::take(&mut self.files[id].slots);
        for (_, description) in slots.iter() {
            self.release_description(cpu, description);
        }
    }
}
