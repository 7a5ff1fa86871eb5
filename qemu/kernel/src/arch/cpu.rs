//! One CPU's own record: found through the GS base while in the kernel.
//!
//! Owns the segments, the task state and the stacks that the hardware wants from each CPU.

use super::entry::Frame;
use super::instructions::{msr, wrmsr};
use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The most CPUs that are used.
pub const MAX_CPUS: usize = 8;

/// Selector of the kernel's code.
pub const KERNEL_CODE: u16 = 0x08;
/// Selector of a program's data.
pub const USER_DATA: u16 = 0x23;
/// Selector of a program's code.
pub const USER_CODE: u16 = 0x2b;
const TASK: u16 = 0x30;

const STACK_BYTES: usize = 64 * 1024;
const FAULT_STACK_BYTES: usize = 8 * 1024;

/// One CPU. The first fields are known to the assembly of [`super::entry`].
#[repr(C)]
pub struct Cpu {
    /// This record's own address.
    this: Cell<*const Cpu>,
    /// Where the registers of the running thread go on entry.
    pub(super) frame: Cell<*mut Frame>,
    /// Top of this CPU's kernel stack.
    pub(super) kernel_stack: Cell<usize>,
    /// Keeps the program's stack pointer for a few instructions of the system call entry.
    pub(super) scratch: Cell<usize>,
    /// The thread pointer in force.
    fs_base: Cell<u64>,
    index: Cell<usize>,
    /// The local APIC's id.
    pub(super) apic_id: Cell<u32>,
    online: AtomicBool,
    /// Shootdowns: the generation that this CPU is asked to reach, and the one that it has reached.
    pub(super) asked: AtomicU64,
    /// See [`Cpu::asked`].
    pub(super) reached: AtomicU64,
    task: UnsafeCell<TaskState>,
    gdt: UnsafeCell<[u64; 8]>,
}

/// Only `online`, `asked` and `reached` are touched by other CPUs.
struct Table([Cpu; MAX_CPUS]);
// SAFETY: the atomics are shared; every other field is used by its own CPU only, or before that CPU runs.
unsafe impl Sync for Table {}

static CPUS: Table = Table([const { Cpu::new() }; MAX_CPUS]);
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The task state: only its stacks are used. Intel SDM 3A, 8.7.
#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    stacks: [u64; 3],
    reserved2: u64,
    fault_stacks: [u64; 7],
    reserved3: [u16; 5],
    io_map: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// Index (from 1) of the stack on which double faults run.
pub const FAULT_STACK: u8 = 1;

#[repr(C, align(16))]
struct Stack<const N: usize>(UnsafeCell<[u8; N]>);
// SAFETY: each stack is used by one CPU.
unsafe impl<const N: usize> Sync for Stack<N> {}
static STACKS: [Stack<STACK_BYTES>; MAX_CPUS] = [const { Stack(UnsafeCell::new([0; STACK_BYTES])) }; MAX_CPUS];
static FAULT_STACKS: [Stack<FAULT_STACK_BYTES>; MAX_CPUS] =
    [const { Stack(UnsafeCell::new([0; FAULT_STACK_BYTES])) }; MAX_CPUS];

/// Offsets for the assembly.
pub(super) mod offset {
    use super::Cpu;
    use core::mem::offset_of;
    pub const THIS: usize = offset_of!(Cpu, this);
    pub const FRAME: usize = offset_of!(Cpu, frame);
    pub const KERNEL_STACK: usize = offset_of!(Cpu, kernel_stack);
    pub const SCRATCH: usize = offset_of!(Cpu, scratch);
}

impl Cpu {
    const fn new() -> Self {
        Self {
            this: Cell::new(null_mut()),
            frame: Cell::new(null_mut()),
            kernel_stack: Cell::new(0),
            scratch: Cell::new(0),
            fs_base: Cell::new(0),
            index: Cell::new(0),
            apic_id: Cell::new(0),
            online: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            task: UnsafeCell::new(TaskState {
                reserved: 0,
                stacks: [0; 3],
                reserved2: 0,
                fault_stacks: [0; 7],
                reserved3: [0; 5],
                io_map: 104,
            }),
            gdt: UnsafeCell::new([
                0,
                0x00af_9b00_0000_ffff, // kernel code
                0x00cf_9300_0000_ffff, // kernel data
                0x00cf_fb00_0000_ffff, // user code of 32 bits: only so that sysret finds the next two
                0x00cf_f300_0000_ffff, // user data
                0x00af_fb00_0000_ffff, // user code
                0,                     // task state, two words
                0,
            ]),
        }
    }

    /// The CPU that runs this.
    #[inline]
    pub fn current() -> &'static Self {
        let this: *const Self;
        // SAFETY: in the kernel the GS base is this CPU's record, whose first field is its address; the record
        // is static.
        unsafe {
            asm!("mov {}, gs:[{offset}]", out(reg) this, offset = const offset::THIS,
                options(nostack, pure, readonly, preserves_flags));
            &*this
        }
    }

    /// 0 for the first CPU, and so on.
    #[inline]
    pub fn index(&self) -> usize {
        self.index.get()
    }

    /// The local APIC's id.
    pub fn apic_id(&self) -> u32 {
        self.apic_id.get()
    }

    /// Notes the local APIC's id of the first CPU, which is known late.
    pub fn set_apic_id(&self, id: u32) {
        self.apic_id.set(id);
    }

    /// The next entry from a program saves its registers in `frame`.
    #[inline]
    pub fn set_frame(&self, frame: *mut Frame) {
        self.frame.set(frame);
        // SAFETY: the task state is this CPU's own; the hardware reads it only on an interrupt from a program.
        unsafe { (&raw mut (*self.task.get()).stacks).cast::<u64>().write_unaligned(frame.add(1) as u64) }
    }

    /// The running program's thread pointer.
    #[inline]
    pub fn set_fs_base(&self, value: u64) {
        if self.fs_base.get() != value {
            self.fs_base.set(value);
            // SAFETY: the kernel does not use FS; the value is canonical (checked where it is set).
            unsafe { wrmsr(msr::FS_BASE, value) }
        }
    }
}

/// All CPUs that are used, from index 0 on.
pub fn all() -> &'static [Cpu] {
    &CPUS.0[..COUNT.load(Ordering::Acquire)]
}

/// Prepares the record of the next CPU; it comes up later, in [`init_current`].
pub fn add(apic_id: u32) -> Option<usize> {
    let index = COUNT.load(Ordering::Relaxed);
    let cpu = CPUS.0.get(index)?;
    cpu.this.set(cpu);
    cpu.index.set(index);
    cpu.apic_id.set(apic_id);
    cpu.kernel_stack.set(STACKS[index].0.get() as usize + STACK_BYTES);
    COUNT.store(index + 1, Ordering::Release);
    Some(index)
}

/// Top of the kernel stack of CPU `index`.
pub fn stack_top(index: usize) -> usize {
    CPUS.0[index].kernel_stack.get()
}

/// CPU `index` has come up.
pub fn is_online(index: usize) -> bool {
    CPUS.0[index].online.load(Ordering::Acquire)
}

/// Loads the segments, the task state, the interrupt table and the system call entry of this CPU.
///
/// # Safety
/// This is CPU `index`, added before, and it has not been here yet.
pub unsafe fn init_current(index: usize) {
    let cpu = &CPUS.0[index];
    let task = cpu.task.get();
    let gdt = cpu.gdt.get();
    // SAFETY: the record is this CPU's and nothing reads it yet; the selectors name the descriptors written here.
    unsafe {
        (*task).fault_stacks[FAULT_STACK as usize - 1] =
            (FAULT_STACKS[index].0.get() as usize + FAULT_STACK_BYTES) as u64;
        let base = task as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        (*gdt)[6] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        (*gdt)[7] = base >> 32;
        let pointer: [u16; 5] = {
            let address = gdt as u64;
            let at = |shift: u32| (address >> shift) as u16;
            [size_of::<[u64; 8]>() as u16 - 1, at(0), at(16), at(32), at(48)]
        };
        asm!("lgdt [{}]", in(reg) &pointer, options(nostack, readonly, preserves_flags));
        asm!(
            "push {code}", "lea {scratch}, [rip + 2f]", "push {scratch}", "retfq", "2:",
            "mov ds, {data:e}", "mov es, {data:e}", "mov ss, {data:e}",
            "xor {data:e}, {data:e}", "mov fs, {data:e}", "mov gs, {data:e}",
            "ltr {task:x}",
            code = const KERNEL_CODE as u64, scratch = out(reg) _, data = inout(reg) 0x10u32 => _, task = in(reg) TASK,
        );
        wrmsr(msr::GS_BASE, cpu.this.get() as u64);
        wrmsr(msr::KERNEL_GS_BASE, 0);
        wrmsr(msr::FS_BASE, 0);
        super::idt::load();
        super::entry::enable_system_calls();
    }
    cpu.online.store(true, Ordering::Release);
}
