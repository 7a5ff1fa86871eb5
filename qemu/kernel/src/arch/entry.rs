//! The ways into the kernel from a program, and the one way back.
//!
//! The registers go straight into the [`Frame`] of the running thread: `syscall` stores them there,
//! and for interrupts the task state's stack pointer is the frame's end, so that the CPU itself
//! writes its part in place. The kernel then runs on the CPU's own stack and answers with the frame
//! of the thread to go on with, which may be another one. Nothing of the kernel is kept between
//! entries: a thread that waits is data (`context::State`), never a stack.

use super::cpu::{Cpu, KERNEL_CODE, USER_CODE, USER_DATA, offset};
use super::instructions::{msr, rdmsr, wrmsr};
use alloc::boxed::Box;
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

/// A thread's registers while it is not running.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
#[allow(missing_docs)]
pub struct Frame {
    pub r15: usize,
    pub r14: usize,
    pub r13: usize,
    pub r12: usize,
    pub rbp: usize,
    pub rbx: usize,
    pub r11: usize,
    pub r10: usize,
    pub r9: usize,
    pub r8: usize,
    pub rax: usize,
    pub rcx: usize,
    pub rdx: usize,
    pub rsi: usize,
    pub rdi: usize,
    /// Interrupt vector, or [`Frame::SYSTEM_CALL`].
    pub vector: usize,
    pub error: usize,
    pub rip: usize,
    pub cs: usize,
    pub rflags: usize,
    pub rsp: usize,
    pub ss: usize,
}

const _: () = assert!(size_of::<Frame>() == 176);

/// Flags that a program cannot choose: interrupts are on, nothing else is.
const USER_FLAGS: usize = 0x202;

/// Flags that a program may choose: carry, parity, adjust, zero, sign, direction, overflow.
const USER_FLAGS_FREE: usize = 0xcd5;

impl Frame {
    /// `vector` of a thread that entered by `syscall`: it goes back by `sysret`.
    pub const SYSTEM_CALL: usize = 0x100;

    /// A thread that has not run: it starts with zero in every register.
    pub const fn new() -> Self {
        Self {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            vector: 0,
            error: 0,
            rip: 0,
            cs: USER_CODE as usize,
            rflags: USER_FLAGS,
            rsp: 0,
            ss: USER_DATA as usize,
        }
    }

    /// The thread goes on at `rip` with `rsp`, by the way that takes any values.
    pub fn set_start(&mut self, rip: usize, rsp: usize) {
        (self.rip, self.rsp, self.vector) = (rip, rsp, 0);
    }

    /// Flags as a program may have them.
    pub fn set_flags(&mut self, flags: usize) {
        self.rflags = flags & USER_FLAGS_FREE | USER_FLAGS;
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! frame_offset {
    ($field:ident) => {
        offset_of!(Frame, $field)
    };
}

global_asm!(
    r#"
.text
.balign 64
.globl syscall_entry
syscall_entry:
    swapgs
    mov gs:[{scratch}], rsp
    mov rsp, gs:[{frame}]
    mov [rsp + {rdi}], rdi
    mov [rsp + {rsi}], rsi
    mov [rsp + {rdx}], rdx
    mov [rsp + {rax}], rax
    mov [rsp + {r8}], r8
    mov [rsp + {r9}], r9
    mov [rsp + {r10}], r10
    mov [rsp + {rbx}], rbx
    mov [rsp + {rbp}], rbp
    mov [rsp + {r12}], r12
    mov [rsp + {r13}], r13
    mov [rsp + {r14}], r14
    mov [rsp + {r15}], r15
    mov [rsp + {rip}], rcx
    mov [rsp + {rflags}], r11
    mov qword ptr [rsp + {vector}], {system_call}
    mov rax, gs:[{scratch}]
    mov [rsp + {rsp}], rax
    mov rdi, rsp
    mov rsp, gs:[{kernel_stack}]
    call {on_system_call}

# rax: the frame to go on with.
.globl go_to_user
go_to_user:
    cmp qword ptr [rax + {vector}], {system_call}
    jne 2f
    mov rcx, [rax + {rip}]              # below vspace::USER_END: sysret cannot fault
    mov rdi, [rax + {rdi}]
    mov rsi, [rax + {rsi}]
    mov rdx, [rax + {rdx}]
    mov r8, [rax + {r8}]
    mov r9, [rax + {r9}]
    mov r10, [rax + {r10}]
    mov rbx, [rax + {rbx}]
    mov rbp, [rax + {rbp}]
    mov r12, [rax + {r12}]
    mov r13, [rax + {r13}]
    mov r14, [rax + {r14}]
    mov r15, [rax + {r15}]
    mov r11, [rax + {rflags}]
    mov rsp, [rax + {rsp}]
    mov rax, [rax + {rax}]
    swapgs
    sysretq
2:  mov rsp, rax
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    add rsp, 16
    swapgs
    iretq

# On the stack: vector, error code, and what the CPU pushed.
interrupt_entry:
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    test byte ptr [rsp + {cs}], 3
    jz 3f
    swapgs
    cld
    mov rsp, gs:[{kernel_stack}]
    call {on_user_interrupt}
    jmp go_to_user
3:  cld
    call {on_kernel_interrupt}
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    add rsp, 16
    iretq

# One stub of 16 bytes for each vector.
.balign 16
.globl interrupt_stubs
interrupt_stubs:
.set n, 0
.rept 256
    .balign 16
    .if n == 8 || (n >= 10 && n <= 14) || n == 17 || n == 21 || n == 29 || n == 30
    .else
    push 0
    .endif
    push n
    jmp interrupt_entry
    .set n, n + 1
.endr
"#,
    scratch = const offset::SCRATCH,
    frame = const offset::FRAME,
    kernel_stack = const offset::KERNEL_STACK,
    rdi = const frame_offset!(rdi), rsi = const frame_offset!(rsi), rdx = const frame_offset!(rdx),
    rax = const frame_offset!(rax), r8 = const frame_offset!(r8), r9 = const frame_offset!(r9),
    r10 = const frame_offset!(r10), rbx = const frame_offset!(rbx), rbp = const frame_offset!(rbp),
    r12 = const frame_offset!(r12), r13 = const frame_offset!(r13), r14 = const frame_offset!(r14),
    r15 = const frame_offset!(r15), rip = const frame_offset!(rip), rflags = const frame_offset!(rflags),
    vector = const frame_offset!(vector), rsp = const frame_offset!(rsp), cs = const frame_offset!(cs),
    system_call = const Frame::SYSTEM_CALL,
    on_system_call = sym on_system_call,
    on_user_interrupt = sym on_user_interrupt,
    on_kernel_interrupt = sym super::trap::on_kernel_interrupt,
);

// SAFETY: the assembly above defines them; the entries are never called, only named to the CPU.
unsafe extern "C" {
    fn syscall_entry();
    fn go_to_user() -> !;
    /// The first of 256 stubs, 16 bytes apart.
    pub(super) static interrupt_stubs: u8;
}

/// # Safety
/// Called by the entry above only: `frame` is the running thread's, complete, and nobody else's.
unsafe extern "C" fn on_system_call(_frame: *mut Frame) -> *mut Frame {
    crate::kernel::on_system_call(Cpu::current())
}

/// # Safety
/// As [`on_system_call`].
unsafe extern "C" fn on_user_interrupt(frame: *mut Frame) -> *mut Frame {
    // SAFETY: `frame` is complete and stays so during this borrow.
    let (vector, error) = unsafe { ((*frame).vector, (*frame).error) };
    super::trap::on_user_interrupt(frame, vector as u8, error)
}

/// Leaves the kernel for the first time on this CPU.
pub fn enter_user(frame: *mut Frame) -> ! {
    // SAFETY: the scheduler's frame is complete; the stack is given up.
    unsafe { core::arch::asm!("jmp {go}", go = sym go_to_user, in("rax") frame, options(noreturn)) }
}

/// `syscall` enters the kernel from now on.
///
/// # Safety
/// The segments of [`super::cpu`] are loaded.
pub(super) unsafe fn enable_system_calls() {
    // SAFETY: `sysret` takes SS = base + 8 and CS = base + 16, which the GDT's order serves.
    unsafe {
        wrmsr(msr::EFER, rdmsr(msr::EFER) | 1);
        wrmsr(msr::STAR, u64::from(USER_DATA - 8) << 48 | u64::from(KERNEL_CODE) << 32);
        wrmsr(msr::LSTAR, syscall_entry as *const () as u64);
        // Trap, interrupt, direction, nested task and alignment flags are clear in the kernel.
        wrmsr(msr::SFMASK, 0x4_4700);
    }
}

/// The registers of one thread, at an address that stays.
pub struct Registers(Box<UnsafeCell<Frame>>);

// SAFETY: the frame is written by the entry code of the CPU that runs the thread, and otherwise touched under
// the kernel lock by methods that their callers use only while the thread does not run in user mode.
unsafe impl Send for Registers {}

impl Registers {
    /// Of a thread that has not run.
    pub fn new() -> Self {
        Self(Box::new(UnsafeCell::new(Frame::new())))
    }

    /// To look at them; the thread is in the kernel or not running.
    #[inline]
    pub fn get(&self) -> &Frame {
        // SAFETY: nobody writes while the thread is not in user mode (see above).
        unsafe { &*self.0.get() }
    }

    /// To change them; the thread is in the kernel or not running.
    #[inline]
    pub fn get_mut(&mut self) -> &mut Frame {
        self.0.get_mut()
    }

    /// Where the entry code finds them.
    #[inline]
    pub fn as_ptr(&self) -> *mut Frame {
        self.0.get()
    }
}
