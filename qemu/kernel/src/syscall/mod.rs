//! System calls: Redox's numbers, by class of object.
//!
//! A call either ends at once, or leaves its context waiting: then whoever makes it ready again has
//! set the result, or lets it make the call again from the start. A call that can be made again
//! changes nothing before it has all its pages.
//!
//! | module | what |
//! |---|---|
//! | [`fs`] | descriptors: open, read, write, .. |
//! | [`memory`] | mappings |
//! | this one | the rest: futex, clock, sleep, yield |

pub mod fs;
pub mod memory;

use crate::arch::clock;
use crate::arch::cpu::Cpu;
use crate::context::{Context, State, Wait};
use crate::kernel::Kernel;
use crate::time;
use crate::vspace::user::UserSlice;
use kernel_logic::arena::Id;
use syscall::error::{EINVAL, ENOSYS, Error};
use syscall::flag::{CLOCK_MONOTONIC, CLOCK_REALTIME};
use syscall::number::*;

/// Why a call did not end with a value.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// It failed.
    Fail(Error),
    /// The context waits; its state says for what.
    Wait,
    /// The call goes on without the kernel lock: [`Context::unlocked`].
    Unlocked,
}

impl From<Error> for Stop {
    #[inline]
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

/// A call's end.
pub type Outcome = Result<usize, Stop>;

/// OPENAT_INTO of redox_syscall 0.9.5 and later: `fcntl` flags are or-ed into the path's length.
const SYS_OPENAT_INTO2: usize = SYS_CLASS_PATH | SYS_RET_FILE | 986;

/// In 0.9.5 the length takes the low bits and the flags those above.
const OPENAT_LENGTH_BITS: u32 = 32;

/// Whether a system call has ended, or waits, as far as the lock's holder is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatched {
    /// It has.
    Done,
    /// It goes on without the lock: [`Context::unlocked`].
    Unlocked,
}

/// Runs the system call of the current context.
#[inline]
pub fn dispatch(k: &mut Kernel, cpu: &Cpu) -> Dispatched {
    let id = k.scheduler.current(cpu);
    let registers = k.contexts[id].registers.get();
    let number = registers.rax;
    let args = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
    match run(k, cpu, id, number, args) {
        Ok(value) => k.contexts[id].set_result(Ok(value)),
        Err(Stop::Fail(error)) => k.contexts[id].set_result(Err(error)),
        Err(Stop::Wait) => {}
        Err(Stop::Unlocked) => return Dispatched::Unlocked,
    }
    Dispatched::Done
}

#[inline]
fn run(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, number: usize, [a, b, c, d, e, f]: [usize; 6]) -> Outcome {
    match number {
        SYS_CALL => fs::call(k, cpu, id, [a, b, c, d, e]),
        SYS_READ => fs::read(k, cpu, id, a, UserSlice::new(b, c)?, fs::Place::Position),
        SYS_WRITE => fs::write(k, cpu, id, a, UserSlice::new(b, c)?, fs::Place::Position),
        SYS_READ2 => fs::read(k, cpu, id, a, UserSlice::new(b, c)?, fs::Place::of_call2(d, e)),
        SYS_WRITE2 => fs::write(k, cpu, id, a, UserSlice::new(b, c)?, fs::Place::of_call2(d, e)),
        SYS_OPENAT_INTO => fs::open(k, cpu, id, a, UserSlice::new(b, c)?, [d, e], f),
        SYS_OPENAT_INTO2 => {
            let (len, fcntl) = (c & ((1 << OPENAT_LENGTH_BITS) - 1), c >> OPENAT_LENGTH_BITS);
            fs::open(k, cpu, id, a, UserSlice::new(b, len)?, [d, fcntl], e)
        }
        SYS_DUP_INTO => fs::dup(k, cpu, id, a, UserSlice::new(b, c)?, d),
        SYS_DUP2 => fs::dup2(k, cpu, id, a, b, UserSlice::new(c, d)?),
        SYS_CLOSE => Ok(k.close(cpu, id, a).map(|()| 0)?),
        SYS_LSEEK => fs::seek(k, cpu, id, a, b as isize, c),
        SYS_FSTAT => fs::stat(k, cpu, id, a, UserSlice::new(b, c)?),
        SYS_FSYNC => fs::sync(k, cpu, id, a),
        SYS_FCNTL => fs::control(k, id, a, b, c),
        SYS_FPATH => fs::path(k, cpu, id, a, UserSlice::new(b, c)?),
        SYS_FCHOWN => fs::chown(k, cpu, id, a, b, c),
        SYS_UNLINKAT => fs::unlink(k, cpu, id, a, UserSlice::new(b, c)?, d),
        SYS_FLINK => fs::link(k, cpu, id, a, UserSlice::new(b, c)?),
        SYS_FRENAME => fs::rename(k, cpu, id, a, UserSlice::new(b, c)?),
        SYS_FMAP => memory::map(k, cpu, id, a, UserSlice::new(b, c)?),
        SYS_FUNMAP => memory::unmap(k, cpu, id, a, b),
        SYS_MPROTECT => memory::protect(k, id, a, b, c),
        SYS_MREMAP => memory::remap(k, cpu, id, [a, b, c, d, e]),
        SYS_FUTEX => k.futex(cpu, id, [a, b, c, d]),
        SYS_CLOCK_GETTIME => get_time(k, cpu, id, a, b),
        SYS_NANOSLEEP => sleep(k, cpu, id, a),
        SYS_YIELD => {
            k.yield_now(cpu);
            Ok(0)
        }
        _ => Err(Error::new(ENOSYS).into()),
    }
}

fn get_time(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, which: usize, pointer: usize) -> Outcome {
    let time = clock_time(k, which)?;
    let slice = UserSlice::new(pointer, time.len())?;
    k.write_user(cpu, id, slice, &time)?;
    Ok(0)
}

/// What clock `which` shows.
pub fn clock_time(k: &Kernel, which: usize) -> Result<syscall::data::TimeSpec, Error> {
    match which {
        CLOCK_MONOTONIC => Ok(time::from_ns(clock::now_ns())),
        CLOCK_REALTIME => Ok(time::from_ns(k.deadlines.wall_clock_ns())),
        _ => Err(Error::new(EINVAL)),
    }
}

fn sleep(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, request: usize) -> Outcome {
    // Nothing interrupts a sleep, so there is never a rest to report.
    let duration = k.read_duration(cpu, id, request)?;
    k.contexts[id].state = State::Waiting(Wait::Time);
    k.set_deadline(id, clock::now_ns().saturating_add(duration));
    Err(Stop::Wait)
}
