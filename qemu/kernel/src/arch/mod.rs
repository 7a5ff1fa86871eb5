//! Everything that needs `unsafe`: the CPU, the memory as hardware sees it, the devices of the board.
//!
//! What is offered to the rest of the kernel is safe; the invariants behind it are stated where they
//! are kept.
//!
//! | module | what |
//! |---|---|
//! | [`boot`] | from the boot loader to Rust |
//! | [`entry`], [`trap`], [`idt`] | from a program into the kernel and back |
//! | [`cpu`], [`smp`] | each CPU's own record; starting the others |
//! | [`physmap`] | frames' bytes |
//! | [`paging`], [`image`] | page tables; the kernel's own image in them |
//! | [`tlb`] | dropping stale translations everywhere |
//! | [`user_copy`] | copies that survive bad pointers |
//! | [`lock`] | spinning locks |
//! | [`apic`], [`ioapic`], [`clock`], [`serial`] | interrupts, time, the console |
//! | [`virtio_mmio`] | stopping devices |
//! | [`start_info`] | what the boot loader tells |
//! | [`exit`] | the end |

pub mod apic;
pub mod boot;
pub mod clock;
pub mod cpu;
pub mod entry;
pub mod exit;
pub mod heap;
pub mod idt;
pub mod image;
pub mod instructions;
pub mod ioapic;
pub mod lock;
pub mod paging;
pub mod physmap;
pub mod serial;
pub mod smp;
pub mod start_info;
pub mod tlb;
pub mod trap;
pub mod user_copy;
pub mod virtio_mmio;

/// This CPU does nothing any more.
pub fn halt() -> ! {
    loop {
        // SAFETY: interrupts stay off, memory is not touched.
        unsafe { core::arch::asm!("cli", "hlt", options(nostack)) }
    }
}
