//! How an ELF program starts and ends.
//!
//! The starter (see [`crate::spawn`]) points the stack at the words of a
//! [`StartBlock`](crate::start_block::StartBlock) and FS at the thread block above it. `_start`
//! hands the words to [`program_start`], which never returns.

use crate::{start_block::StartBlock, thread};
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// The start block's words; null in the first process, which nobody started.
static START: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

/// Makes `$main` (a `fn() -> i32`) the program: the value is its exit code.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// The program's first instructions: the stack pointer is the start block's address.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub extern "C" fn _start() -> ! {
            extern "C" fn program_start(start: *mut usize) -> ! {
                $crate::entry::program_start(start, $main)
            }
            ::core::arch::naked_asm!(
                "xor ebp, ebp",
                "mov rdi, rsp",
                "and rsp, -16",
                "call {start}",
                "ud2",
                start = sym program_start,
            )
        }
    };
}

/// The safe part of the start: remembers the start block, runs `main`, ends the process.
pub fn program_start(start: *mut usize, main: fn() -> i32) -> ! {
    START.store(start, Relaxed);
    exit(main())
}

/// The block that this program was started with.
pub(crate) fn start_block() -> Option<StartBlock> {
    let start = START.load(Relaxed);
    // SAFETY: `_start` stored the stack pointer that the starter set, and spawn keeps its promise
    // that the block stands there; it is never unmapped or written again.
    (!start.is_null()).then(|| unsafe { StartBlock::from_raw(start) })
}

/// Ends this process with `code`: its other threads first, then this one.
pub fn exit(code: i32) -> ! {
    thread::end_others();
    thread::end_self(code)
}
