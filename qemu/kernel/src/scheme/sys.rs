//! What the kernel tells of itself, and its switches.
//!
//! | file | read | write |
//! |---|---|---|
//! | `kstop` | - | `shutdown CODE`: ends the machine with that code (0 if none) |
//! | `trace` | 0 or 1 | 0 or 1: messages and faults on the console |
//! | `deadline` | [`Deadline`] as text | the same: when a message is late, and what happens then |
//! | `context` | the contexts, one a line | - |
//! | `cpu` | CPUs, clocks, shootdowns | - |
//! | `memory` | frames and the kernel's heap | - |
//! | `uname` | name and version | - |

use crate::arch::cpu::Cpu;
use crate::arch::{clock, cpu, exit, heap, tlb};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::file::{Description, File, Position};
use crate::kernel::Kernel;
use crate::syscall::Outcome;
use crate::syscall::fs::Place;
use crate::vspace::user::UserSlice;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write;
use kernel_logic::arena::Id;
use syscall::error::{EBADF, EINVAL, ENOENT, Error, Result};

/// A file of this scheme.
#[derive(Clone, Debug)]
pub enum SysFile {
    /// The power switch.
    Stop,
    /// The trace switch, as it was when it was opened.
    Trace(Arc<str>),
    /// The deadline of messages, as it was when it was opened.
    Deadline(Arc<str>),
    /// A text, as it was when it was opened.
    Text(Arc<str>),
}

impl SysFile {
    fn text(&self) -> &str {
        match self {
            Self::Stop => "",
            Self::Trace(text) | Self::Deadline(text) | Self::Text(text) => text,
        }
    }

    /// Bytes to read.
    pub fn len(&self) -> usize {
        self.text().len()
    }
}

/// Opens a file; texts are made now.
pub fn open(k: &Kernel, name: &str) -> Result<File> {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match name {
        "kstop" => return Ok(File::Sys(SysFile::Stop)),
        "trace" => {
            let text = if crate::trace::is_on() { "1\n" } else { "0\n" };
            return Ok(File::Sys(SysFile::Trace(text.into())));
        }
        "deadline" => return Ok(File::Sys(SysFile::Deadline(alloc::format!("{}\n", k.deadline).into()))),
        "context" => list_contexts(k, &mut text),
        "cpu" => describe_cpus(&mut text),
        "memory" => describe_memory(k, &mut text),
        "uname" => write!(text, "Faultline\n{}\nx86_64\n", env!("CARGO_PKG_VERSION")),
        _ => return Err(Error::new(ENOENT)),
    };
    Ok(File::Sys(SysFile::Text(text.into())))
}

/// Gives the text.
pub fn read(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    file: Id<Description>,
    buffer: UserSlice,
    place: Place,
) -> Outcome {
    let description = &k.descriptions[file];
    let offset = match (place, description.position) {
        (Place::Offset { offset, .. }, _) | (Place::Position, Position::At(offset)) => offset,
        (Place::Position, _) => 0,
    };
    let File::Sys(sys) = &description.file else { return Err(Error::new(EBADF).into()) };
    let sys = sys.clone();
    let rest = usize::try_from(offset).ok().and_then(|offset| sys.text().as_bytes().get(offset..)).unwrap_or(&[]);
    let count = rest.len().min(buffer.len);
    k.write_user(cpu, id, buffer.first(count), &rest[..count])?;
    if let Place::Position = place {
        k.descriptions[file].position = Position::At(offset + count as u64);
    }
    Ok(count)
}

/// Turns a switch.
pub fn write(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, file: Id<Description>, buffer: UserSlice) -> Outcome {
    let mut bytes = [0; 64];
    let bytes = bytes.get_mut(..buffer.len).ok_or(Error::new(EINVAL))?;
    k.read_user(cpu, id, buffer, bytes)?;
    let command = core::str::from_utf8(bytes).map_err(|_| Error::new(EINVAL))?.trim();
    match &k.descriptions[file].file {
        File::Sys(SysFile::Stop) => {
            let code = command.strip_prefix("shutdown").ok_or(Error::new(EINVAL))?.trim();
            let code = if code.is_empty() { Ok(0) } else { code.parse() };
            exit::exit(code.map_err(|_| Error::new(EINVAL))?)
        }
        File::Sys(SysFile::Deadline(_)) => {
            let deadline = Deadline::parse(command).ok_or(Error::new(EINVAL))?;
            k.set_deadline_of_messages(deadline);
            Ok(buffer.len)
        }
        File::Sys(SysFile::Trace(_)) => {
            crate::trace::switch(match command {
                "0" => false,
                "1" => true,
                _ => return Err(Error::new(EINVAL).into()),
            });
            Ok(buffer.len)
        }
        _ => Err(Error::new(EBADF).into()),
    }
}

fn list_contexts(k: &Kernel, text: &mut String) -> core::fmt::Result {
    for (id, context) in k.contexts.iter() {
        let registers = context.registers.get();
        writeln!(text, "{id:?} {:?} rip={:#x}", context.state, registers.rip)?;
    }
    Ok(())
}

fn describe_cpus(text: &mut String) -> core::fmt::Result {
    let (tsc, timer) = clock::frequencies();
    writeln!(
        text,
        "cpus {}\ntsc_hz {tsc}\ntimer_hz {timer}\nshootdowns {}\nfirst_program_tsc {}",
        cpu::all().len(),
        tlb::sent(),
        clock::first_program()
    )
}

fn describe_memory(k: &Kernel, text: &mut String) -> core::fmt::Result {
    let (used, total) = heap::usage();
    writeln!(
        text,
        "frames {}\nfree_frames {}\nheap_used {used}\nheap_total {total}",
        k.frames.managed_frames(),
        k.frames.free_frames()
    )
}
