//! The kernel's state, under one lock, and the entries from user mode.

use crate::arch::cpu::Cpu;
use crate::arch::entry::Frame;
use crate::arch::lock::SpinLock;
use crate::arch::trap::{Interrupt, page_fault};
use crate::context::{CONTEXTS_MAX, Context, FaultOrigin};
use crate::deadline::Deadline;
use crate::file::{DESCRIPTIONS_MAX, Description, FileTable, TABLES_MAX};
use crate::futex::Futexes;
use crate::sched::{self, Scheduler};
use crate::scheme::debug::Console;
use crate::scheme::irq::Interrupts;
use crate::scheme::user::{SOCKETS_MAX, Socket};
use crate::syscall::{Dispatched, Stop};
use crate::time::Deadlines;
use crate::vspace::{VSPACES_MAX, Vspace};
use alloc::vec::Vec;
use kernel_logic::arena::{Arena, Id};
use kernel_logic::buddy::Frames;
use pager_abi::exit::ExitStatus;
use pager_abi::fault::Access;
use pager_core::Pager;
use syscall::error::EFAULT;

/// Everything that the CPUs share.
pub struct Kernel {
    /// Physical memory.
    pub frames: Frames<'static>,
    /// Virtual memory.
    pub vspaces: Arena<Vspace>,
    /// Threads.
    pub contexts: Arena<Context>,
    /// Descriptor tables.
    pub files: Arena<FileTable>,
    /// Open files.
    pub descriptions: Arena<Description>,
    /// Schemes of servers.
    pub sockets: Arena<Socket>,
    /// The living socket that `pager-core` knows by this number.
    pub socket_of: Vec<Option<Id<Socket>>>,
    /// Messages to servers, and file mappings.
    pub pager: Pager,
    /// Who runs.
    pub scheduler: Scheduler,
    /// Who waits for a word of memory.
    pub futexes: Futexes,
    /// Who waits for a time.
    pub deadlines: Deadlines,
    /// How long messages may wait, and what happens then.
    pub deadline: Deadline,
    /// When messages are next looked at for a server that does not answer.
    pub blame_at: u64,
    /// Input of the console.
    pub console: Console,
    /// Device interrupts.
    pub interrupts: Interrupts,
}

/// The one lock of the kernel.
pub static KERNEL: SpinLock<Kernel> = SpinLock::new(Kernel::new());

impl Kernel {
    const fn new() -> Self {
        Self {
            frames: Frames::none(),
            vspaces: Arena::new(VSPACES_MAX),
            contexts: Arena::new(CONTEXTS_MAX),
            files: Arena::new(TABLES_MAX),
            descriptions: Arena::new(DESCRIPTIONS_MAX),
            sockets: Arena::new(SOCKETS_MAX),
            socket_of: Vec::new(),
            pager: Pager::new(crate::pager::CONFIG),
            scheduler: Scheduler::new(),
            futexes: Futexes::new(),
            deadlines: Deadlines::new(),
            deadline: Deadline::STANDARD,
            blame_at: 0,
            console: Console::new(),
            interrupts: Interrupts::new(),
        }
    }
}

/// `syscall`: the registers are in the current context's frame.
pub fn on_system_call(cpu: &'static Cpu) -> *mut Frame {
    let mut kernel = KERNEL.lock();
    if crate::syscall::dispatch(&mut kernel, cpu) == Dispatched::Unlocked {
        kernel = crate::scheme::user::finish(kernel, cpu);
    }
    sched::leave(kernel, cpu)
}

/// A page fault of the running program.
pub fn on_page_fault(cpu: &'static Cpu, address: usize, error: usize) -> *mut Frame {
    let access = if error & page_fault::FETCH != 0 {
        Access::Execute
    } else if error & page_fault::WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    };
    let mut kernel = KERNEL.lock();
    let id = kernel.scheduler.current(cpu);
    crate::trace::fault(id, address, access);
    let faulted = if address < crate::vspace::USER_END {
        kernel.fault(cpu, id, address, access, FaultOrigin::Instruction { address, access })
    } else {
        Err(Stop::Fail(syscall::Error::new(EFAULT)))
    };
    if let Err(Stop::Fail(error)) = faulted {
        kernel.end_by_fault(cpu, id, error.errno, address, access);
    }
    sched::leave(kernel, cpu)
}

/// Another exception of the running program: it ends.
pub fn on_exception(cpu: &'static Cpu, vector: u8) -> *mut Frame {
    let mut kernel = KERNEL.lock();
    let id = kernel.scheduler.current(cpu);
    let address = kernel.contexts[id].registers.get().rip as u64;
    kernel.end(cpu, id, ExitStatus::Exception { vector: u64::from(vector), address });
    sched::leave(kernel, cpu)
}

/// An interrupt while a program was running.
pub fn on_interrupt(cpu: &'static Cpu, interrupt: Interrupt) -> *mut Frame {
    let mut kernel = KERNEL.lock();
    kernel.interrupt(cpu, interrupt);
    sched::leave(kernel, cpu)
}

/// An interrupt while this CPU was idle, or still starting.
pub fn on_idle_interrupt(cpu: &'static Cpu, interrupt: Interrupt) {
    KERNEL.lock().interrupt(cpu, interrupt);
}

impl Kernel {
    fn interrupt(&mut self, cpu: &Cpu, interrupt: Interrupt) {
        match interrupt {
            Interrupt::Tick => self.on_tick(cpu),
            Interrupt::Wake => {}
            Interrupt::Device(gsi) => self.on_device(gsi),
        }
    }
}
