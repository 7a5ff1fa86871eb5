//! Processes: a thread with an address space and a file table of its own.

use crate::{
    context::{AddressSpace, Context, FileTable},
    descriptor, entry, heap, thread,
    thread::Side,
};
use pager_abi::exit::ExitStatus;
use syscall::Result;

/// A process that was started from here, known by its first thread.
#[derive(Debug)]
pub struct Child {
    pub(crate) context: Context,
}

impl Child {
    /// Waits for its first thread's end.
    pub fn wait(&self) -> Result<ExitStatus> {
        self.context.wait()
    }

    /// Ends its first thread from outside, wherever it is.
    pub fn kill(&self) -> Result<()> {
        self.context.kill()
    }
}

/// Runs `child` in a new process that has a copy of this one's private memory, shares its shared
/// mappings and has the same descriptors; its value is the exit code.
pub fn fork(child: impl FnOnce() -> i32) -> Result<Child> {
    let mut fork = Fork { outcome: None };
    let before = descriptor::Snapshot::take();
    let side = thread::forking(|| heap::frozen(|| fork_here(&mut fork)));
    if side == Side::Child {
        before.restore();
        entry::exit(child())
    }
    // `fork_here` fills it in before it returns in the parent.
    fork.outcome.expect("a fork without an outcome").map(|context| Child { context })
}

/// What the two sides of the assembly hand to each other.
struct Fork {
    outcome: Option<Result<Context>>,
}

/// Saves the registers and calls [`Fork::make`]; returns twice, in the parent and in the child.
fn fork_here(fork: &mut Fork) -> Side {
    // SAFETY: the child begins with a copy of this stack, with the registers that a function keeps
    // for its caller restored, so that to it the call returns as to the parent.
    match unsafe { fork_registers(fork) } {
        0 => Side::Parent,
        _ => Side::Child,
    }
}

/// # Safety
/// `fork` is good for writes, in both processes; it returns in each of them.
#[unsafe(naked)]
unsafe extern "C" fn fork_registers(fork: *mut Fork) -> usize {
    core::arch::naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov rsi, rsp",
        "lea rdx, [rip + 2f]",
        "call {make}",
        "xor eax, eax",
        "jmp 3f",
        "2:",
        "mov eax, 1",
        "3:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        make = sym make_child,
    )
}

extern "C" fn make_child(fork: &mut Fork, stack: usize, instruction: usize) {
    fork.outcome = Some((|| {
        let own = thread::own_context()?;
        // It stays open until the child's memory is copied: there it must count as in use, since
        // the copy of the table has it.
        let own_table = FileTable::of(own)?;
        let table = own_table.copy()?;
        let context = Context::new()?;
        context.set_file_table(&table)?;
        // The thread block lies at the same address in the copy.
        context.set_thread_pointer(thread::current() as *const _ as usize)?;
        let space = AddressSpace::of(own)?.fork()?;
        context.set_address_space(&space, stack, instruction)?;
        context.start()?;
        Ok(context)
    })());
}
