//! The registers of a context, as Redox's layout has them.

use super::must_be_new;
use crate::context::{Context, State};
use crate::kernel::Kernel;
use crate::vspace::USER_END;
use kernel_logic::arena::Id;
use syscall::IntRegisters;
use syscall::error::{EBUSY, EFAULT, Error, Result};

/// Those of a context that does not run.
pub fn int_registers(k: &Kernel, context: Id<Context>) -> Result<IntRegisters> {
    if let State::Running(_) = k.contexts[context].state {
        return Err(Error::new(EBUSY));
    }
    let f = k.contexts[context].registers.get();
    Ok(IntRegisters {
        r15: f.r15,
        r14: f.r14,
        r13: f.r13,
        r12: f.r12,
        rbp: f.rbp,
        rbx: f.rbx,
        r11: f.r11,
        r10: f.r10,
        r9: f.r9,
        r8: f.r8,
        rax: f.rax,
        rcx: f.rcx,
        rdx: f.rdx,
        rsi: f.rsi,
        rdi: f.rdi,
        rip: f.rip,
        cs: f.cs,
        rflags: f.rflags,
        rsp: f.rsp,
        ss: f.ss,
    })
}

/// Sets those of a context that was not started yet.
pub fn set_int_registers(k: &mut Kernel, context: Id<Context>, r: &IntRegisters) -> Result<()> {
    must_be_new(k, context)?;
    if r.rip >= USER_END || r.rsp > USER_END {
        return Err(Error::new(EFAULT));
    }
    let f = k.contexts[context].registers.get_mut();
    (f.r15, f.r14, f.r13, f.r12, f.rbp, f.rbx) = (r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx);
    (f.r11, f.r10, f.r9, f.r8, f.rax, f.rcx) = (r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx);
    (f.rdx, f.rsi, f.rdi) = (r.rdx, r.rsi, r.rdi);
    f.set_flags(r.rflags);
    f.set_start(r.rip, r.rsp);
    Ok(())
}
