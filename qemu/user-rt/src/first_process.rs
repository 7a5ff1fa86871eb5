//! How the first process starts, in Redox's format: a raw image at 0x1000 with its bss inside, the
//! entry's address at image offset 0x1a, no stack, and a block of metadata below 2^47.
//!
//! Link it by `first-process.ld`, which puts the header first and gives [`image_end`] its meaning:
//! what the boot loader appended to the image (our boot archive) begins there.

use crate::{descriptor, entry, kernel_scheme, thread};
use alloc::vec::Vec;
use syscall::{
    O_RDWR, Result,
    data::{GlobalSchemes, KernelSchemeInfo},
    flag::UPPER_FDTBL_TAG,
};

/// Bytes of the metadata block, which ends at [`USER_END`].
pub const METADATA_SIZE: usize = syscall::KERNEL_METADATA_SIZE;

/// First address that is not a user's.
pub const USER_END: usize = 1 << 47;

/// Bytes of the first process's stack.
pub const STACK_SIZE: usize = 256 << 10;

/// The first process's stack, which lies in its bss.
#[repr(C, align(4096))]
pub struct Stack(core::cell::UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: only the first thread uses it, through its stack pointer.
unsafe impl Sync for Stack {}

impl Stack {
    /// All zeroes.
    #[expect(clippy::new_without_default, reason = "a static's value")]
    pub const fn new() -> Self {
        Self(core::cell::UnsafeCell::new([0; STACK_SIZE]))
    }
}

/// Makes `$main` (a `fn() -> i32`) the first process's program.
#[macro_export]
macro_rules! first_process {
    ($main:path) => {
        static __FIRST_STACK: $crate::first_process::Stack = $crate::first_process::Stack::new();

        extern "C" fn __first_process_start() -> ! {
            $crate::first_process::start($main)
        }

        // The image's header: magic, the entry's address at 0x1a, then code.
        ::core::arch::global_asm!(
            ".section .first_process,\"ax\"",
            ".ascii \"RedoxFtw\"",
            ".skip 0x1a - 8",
            ".quad _start",
            ".skip 6",
            ".globl _start",
            "_start:",
            "lea rsp, [rip + {stack} + {size}]",
            "xor ebp, ebp",
            "call {start}",
            "ud2",
            ".text",
            stack = sym __FIRST_STACK,
            size = const $crate::first_process::STACK_SIZE,
            start = sym __first_process_start,
        );
    };
}

/// The safe part of the start: console, thread block, then `main`.
pub fn start(main: fn() -> i32) -> ! {
    // Without a console nobody could be told that there is none.
    let _ = open_console();
    // The heap is not there on a kernel that fails this, and a panic would need it.
    if thread::become_first_thread().is_err() {
        let _ = syscall::write(1, b"the first process has no context of its own\n");
    }
    entry::exit(main())
}

fn open_console() -> Result<()> {
    for number in [descriptor::STDIN, descriptor::STDOUT, descriptor::STDERR] {
        let debug = kernel_scheme::root(GlobalSchemes::Debug);
        syscall::openat_into(debug.0, number.0, "", O_RDWR, 0)?;
    }
    Ok(())
}

/// What the kernel says of itself in the metadata block.
#[derive(Debug)]
pub struct Metadata {
    /// The kernel's schemes and their roots' descriptors.
    pub schemes: Vec<(u8, usize)>,
    /// The descriptor that may create schemes.
    pub scheme_creation: descriptor::Fd,
}

/// Reads the metadata block; for the first process alone.
pub fn metadata() -> Metadata {
    let block = (USER_END - METADATA_SIZE) as *const usize;
    // SAFETY: the kernel maps the block for the first process, for good: the count of the schemes,
    // their records, then a descriptor; all fit, since it wrote them.
    unsafe {
        let count = block.read().min(METADATA_SIZE / size_of::<KernelSchemeInfo>() - 1);
        let records = block.add(1).cast::<KernelSchemeInfo>();
        let schemes = (0..count).map(|index| records.add(index).read()).map(|info| (info.scheme_id, info.fd)).collect();
        let scheme_creation = descriptor::Fd(records.add(count).cast::<usize>().read_unaligned());
        Metadata { schemes, scheme_creation }
    }
}

/// Whether `fd` is of the upper file table, where the kernel's schemes are.
pub fn is_upper(fd: descriptor::Fd) -> bool {
    fd.0 & UPPER_FDTBL_TAG != 0
}

// SAFETY: only its address is taken.
unsafe extern "C" {
    /// Defined by `first-process.ld`: the first page after the image.
    static __image_end: u8;
}

/// What follows the image in memory, of which only the reader can tell the end.
///
/// # Safety
/// The kernel put at least `len` bytes there.
pub unsafe fn after_image(len: usize) -> &'static [u8] {
    // SAFETY: the caller promises the length; nobody writes there.
    unsafe { core::slice::from_raw_parts(&raw const __image_end, len) }
}
