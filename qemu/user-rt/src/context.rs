//! The `proc` scheme: contexts (threads), their address spaces and file tables.
//!
//! A context is put together from parts and then started, as on Redox; what it adds is the
//! `exit-status` file and an exit code (see [`pager_abi::exit`]).

use crate::{
    descriptor::{Descriptor, Fd},
    kernel_scheme,
};
use pager_abi::exit::ExitStatus;
use syscall::{
    ADDRSPACE_OP_TRANSFER, CallFlags, EIO, EnvRegisters, Error, FileTableVerb, MapFlags, Result, data::GlobalSchemes,
};

/// A context's descriptor.
#[derive(Debug)]
pub struct Context(Descriptor);

impl Context {
    /// The calling thread's own.
    pub fn current() -> Result<Self> {
        kernel_scheme::root(GlobalSchemes::Proc).dup(b"cur-context").map(Self)
    }

    /// A new one, with nothing in it.
    pub fn new() -> Result<Self> {
        kernel_scheme::root(GlobalSchemes::Proc).dup(b"new-context").map(Self)
    }

    /// Its descriptor's number.
    pub fn fd(&self) -> Fd {
        self.0.fd()
    }

    /// Leaves its descriptor open for good.
    pub fn leak(self) -> Fd {
        self.0.leak()
    }

    /// Gives it an address space, a first stack pointer and a first instruction.
    pub fn set_address_space(&self, space: &AddressSpace, stack: usize, instruction: usize) -> Result<()> {
        self.fd().dup(b"current-addrspace")?.fd().write_words(&[space.0.fd().0, stack, instruction]).map(|_| ())
    }

    /// Gives it a file table.
    pub fn set_file_table(&self, table: &FileTable) -> Result<()> {
        self.fd().dup(b"current-filetable")?.fd().write_words(&[table.0.fd().0]).map(|_| ())
    }

    /// Sets FS, where the thread block is found.
    pub fn set_thread_pointer(&self, address: usize) -> Result<()> {
        set_thread_pointer(self.fd(), address)
    }

    /// Lets it run.
    pub fn start(&self) -> Result<()> {
        self.fd().dup(b"start")?.fd().write(b"1").map(|_| ())
    }

    /// Waits for its end.
    pub fn wait(&self) -> Result<ExitStatus> {
        let file = self.fd().dup(b"exit-status")?;
        let mut bytes = [0; ExitStatus::WORDS * 8];
        let count = file.fd().read(&mut bytes)?;
        let mut words = [0; ExitStatus::WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        ExitStatus::from_words(words).filter(|_| count == bytes.len()).ok_or(Error::new(EIO))
    }

    /// Ends it from outside.
    pub fn kill(&self) -> Result<()> {
        kill(self.fd())
    }
}

/// Ends the context behind `context`.
pub(crate) fn kill(context: Fd) -> Result<()> {
    context.write_words(&[usize::MAX]).map(|_| ())
}

/// Sets FS of the context behind `context`.
pub(crate) fn set_thread_pointer(context: Fd, address: usize) -> Result<()> {
    let registers = EnvRegisters { fsbase: address as u64, gsbase: 0 };
    context.dup(b"regs/env")?.fd().write(&registers).map(|_| ())
}

/// An address space's descriptor.
#[derive(Debug)]
pub struct AddressSpace(Descriptor);

impl AddressSpace {
    /// The one that the context behind `context` runs in.
    pub fn of(context: Fd) -> Result<Self> {
        context.dup(b"addrspace").map(Self)
    }

    /// A new one without any mapping.
    pub fn empty_like(&self) -> Result<Self> {
        self.0.fd().dup(b"empty").map(Self)
    }

    /// A new one with the same contents: shared mappings shared, private ones copied.
    pub fn fork(&self) -> Result<Self> {
        self.0.fd().dup(b"exclusive").map(Self)
    }

    /// Moves whole pages at `source` in `from` to `destination` here.
    ///
    /// # Safety
    /// If `from` is the caller's own address space, nothing uses those pages any more.
    pub unsafe fn transfer(
        &self,
        from: &Self,
        source: usize,
        destination: usize,
        size: usize,
        flags: MapFlags,
    ) -> Result<()> {
        let flags = flags | MapFlags::MAP_FIXED_NOREPLACE | MapFlags::MAP_PRIVATE;
        let words = [ADDRSPACE_OP_TRANSFER, from.0.fd().0, source, destination, size, flags.bits()];
        self.0.fd().write_words(&words).map(|_| ())
    }
}

/// A file table's descriptor.
#[derive(Debug)]
pub struct FileTable(Descriptor);

impl FileTable {
    /// The one that the context behind `context` uses.
    pub fn of(context: Fd) -> Result<Self> {
        context.dup(b"filetable").map(Self)
    }

    /// A new one with the same descriptors.
    pub fn copy(&self) -> Result<Self> {
        self.0.fd().dup(b"copy").map(Self)
    }

    /// Closes `fd` in this table.
    pub fn close(&self, fd: Fd) -> Result<()> {
        let verb = [FileTableVerb::Close as u64];
        syscall::call_wo(self.0.fd().0, &fd.0.to_ne_bytes(), CallFlags::empty(), &verb).map(|_| ())
    }
}
