//! The console: the serial line.
//!
//! A write goes out as a whole, so that lines of different programs do not mix. A read gives what
//! has come in, and waits for at least one byte unless the descriptor is `O_NONBLOCK`.

use crate::arch::cpu::Cpu;
use crate::arch::{ioapic, serial};
use crate::context::{Context, State, Wait};
use crate::file::{Description, File};
use crate::kernel::Kernel;
use crate::syscall::Outcome;
use crate::vspace::user::UserSlice;
use alloc::collections::VecDeque;
use kernel_logic::arena::Id;
use syscall::error::{EAGAIN, ENOENT, Error, Result};
use syscall::flag::O_NONBLOCK;

/// Bytes that are kept for readers; what comes in beyond is lost.
const INPUT_MAX: usize = 4096;

/// Bytes that are copied at a time.
const CHUNK: usize = 256;

/// Most bytes of one write, so that it ends.
const WRITE_MAX: usize = 4 * 1024;

/// Input that nobody has read yet.
pub struct Console {
    input: VecDeque<u8>,
}

impl Console {
    /// Nothing has come in.
    pub const fn new() -> Self {
        Self { input: VecDeque::new() }
    }
}

/// The console has one file.
pub fn open(name: &str) -> Result<File> {
    if name.is_empty() { Ok(File::Debug) } else { Err(Error::new(ENOENT)) }
}

/// Gives what has come in.
pub fn read(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, file: Id<Description>, buffer: UserSlice) -> Outcome {
    if buffer.len == 0 {
        return Ok(0);
    }
    if k.console.input.is_empty() {
        if k.descriptions[file].flags & O_NONBLOCK != 0 {
            return Err(Error::new(EAGAIN).into());
        }
        k.contexts[id].state = State::Waiting(Wait::Console);
        return Err(crate::syscall::Stop::Wait);
    }
    let mut bytes = [0; CHUNK];
    let count = k.console.input.len().min(buffer.len).min(CHUNK);
    for (byte, input) in bytes.iter_mut().zip(&k.console.input) {
        *byte = *input;
    }
    k.write_user(cpu, id, buffer.first(count), &bytes[..count])?;
    k.console.input.drain(..count);
    Ok(count)
}

/// Sends it.
pub fn write(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, buffer: UserSlice) -> Outcome {
    let buffer = buffer.first(WRITE_MAX);
    k.prefault(cpu, id, buffer, pager_abi::fault::Access::Read)?;
    let mut done = 0;
    while done < buffer.len {
        let mut bytes = [0; CHUNK];
        let bytes = &mut bytes[..CHUNK.min(buffer.len - done)];
        let part = UserSlice { address: buffer.address + done, len: bytes.len() };
        if k.read_user(cpu, id, part, bytes).is_err() {
            // A page that was there is gone: what went out went out.
            break;
        }
        serial::write(bytes);
        done += bytes.len();
    }
    Ok(done)
}

impl Kernel {
    /// The serial port has something.
    pub fn on_console_input(&mut self) {
        while let Some(byte) = serial::read() {
            if self.console.input.len() < INPUT_MAX {
                self.console.input.push_back(byte);
            }
        }
        ioapic::unmask(ioapic::gsi_of_isa(serial::IRQ));
        if !self.console.input.is_empty() {
            self.remake_calls(|wait| matches!(wait, Wait::Console));
        }
    }

    /// The contexts that wait so make their system calls again.
    pub fn remake_calls(&mut self, waits_so: impl Fn(&Wait) -> bool) {
        let mut from = 0;
        while let Some(id) = self.contexts.next_from(from) {
            from = id.raw() + 1;
            if matches!(&self.contexts[id].state, State::Waiting(wait) if waits_so(wait)) {
                self.contexts[id].restart_call();
                self.make_ready(id);
            }
        }
    }
}
