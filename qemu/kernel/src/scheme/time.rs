//! Clocks: open "1" (since 1970) or "4" (since boot); a read gives a `TimeSpec`.

use crate::arch::cpu::Cpu;
use crate::context::Context;
use crate::file::File;
use crate::kernel::Kernel;
use crate::syscall::{Outcome, clock_time};
use crate::vspace::user::UserSlice;
use kernel_logic::arena::Id;
use syscall::error::{ENOENT, Error, Result};
use syscall::flag::{CLOCK_MONOTONIC, CLOCK_REALTIME};

/// Opens a clock by its number.
pub fn open(name: &str) -> Result<File> {
    match name.parse() {
        Ok(clock @ (CLOCK_MONOTONIC | CLOCK_REALTIME)) => Ok(File::Time(clock)),
        _ => Err(Error::new(ENOENT)),
    }
}

/// Gives the time.
pub fn read(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, clock: usize, buffer: UserSlice) -> Outcome {
    let time = clock_time(k, clock)?;
    let buffer = buffer.first(time.len()).exact(time.len())?;
    k.write_user(cpu, id, buffer, &time)?;
    Ok(time.len())
}
