//! The server: one file, whose bytes lie in this process's memory; every message is printed.

use super::boot::number::{CLIENT_CONTEXT, SOCKET};
use core::ptr::NonNull;
use userland_tests::user_rt::{
    Error, Result,
    descriptor::Fd,
    memory::{Sharing, map_anonymous},
    power, println,
    syscall::{
        EINVAL, ENOSYS, MODE_FILE, Stat, StdFsCallKind,
        schemev2::{Cqe, CqeOpcode, NewFdFlags, Opcode, Sqe},
        write,
    },
};

/// The file's number; any would do.
const FILE_ID: usize = 7;

/// Bytes of the file at most.
const CAPACITY: usize = 64 << 10;

/// The file.
struct File {
    bytes: NonNull<u8>,
    size: usize,
}

/// Serves until the client is gone.
pub fn serve() -> ! {
    let bytes = match map_anonymous(CAPACITY, Sharing::Private) {
        Ok(bytes) => bytes,
        Err(error) => panic!("no room for the file: {error}"),
    };
    let mut file = File { bytes, size: 0 };
    println!("[vfsd] sizeof Sqe {} Cqe {}; file buf at {bytes:p}", size_of::<Sqe>(), size_of::<Cqe>());
    loop {
        let mut sqe = Sqe::default();
        let count = match Fd(SOCKET).read(&mut sqe) {
            Ok(count) => count,
            Err(error) => panic!("reading the socket: {error}"),
        };
        let opcode = Opcode::try_from_raw(sqe.opcode);
        if let Some(Opcode::CloseMsg) = opcode {
            // The transcript ends before the client does.
            println!("[vfsd] the client has closed the file");
            finish();
        }
        let (flags, tag, args, caller) = (sqe.sqe_flags.bits(), sqe.tag, sqe.args, sqe.caller);
        println!("[vfsd] sqe n={count} op={opcode:?} fl={flags:#x} tag={tag} args={args:x?} caller={caller}");
        let mut extra_raw = [0; 3];
        if let Some(Opcode::OpenAt) = opcode {
            extra_raw[0] = NewFdFlags::POSITIONED.bits();
        }
        let result = Error::mux(file.answer(opcode, args)) as u64;
        let cqe = Cqe { flags: CqeOpcode::RespondRegular as u8, extra_raw, tag, result };
        if let Err(error) = write(SOCKET, &cqe) {
            println!("[vfsd] cqe err {error:?}");
        }
    }
}

impl File {
    fn answer(&mut self, opcode: Option<Opcode>, args: [u64; 6]) -> Result<usize> {
        match opcode {
            Some(Opcode::OpenAt) => {
                // SAFETY: the kernel lends the buffer until the answer.
                let path = unsafe { lent(args) };
                println!("[vfsd]  path {:?}", core::str::from_utf8(path));
                Ok(FILE_ID)
            }
            Some(Opcode::Write) => {
                let (offset, len) = self.range(args, CAPACITY)?;
                // SAFETY: `range` checked the file's side; the kernel lends the other until the
                // answer. The two may be the same page (a mapping of this file), so it is a move.
                unsafe { self.bytes.add(offset).as_ptr().copy_from(args[1] as *const u8, len) };
                self.size = self.size.max(offset + len);
                Ok(len)
            }
            Some(Opcode::Read) => {
                let (offset, len) = self.range(args, self.size)?;
                // SAFETY: as for Write.
                unsafe { self.bytes.add(offset).as_ptr().copy_to(args[1] as *mut u8, len) };
                Ok(len)
            }
            Some(Opcode::Fsize) => Ok(self.size),
            Some(Opcode::Fstat) => {
                let stat = Stat { st_size: self.size as u64, st_mode: MODE_FILE | 0o644, ..Stat::default() };
                // SAFETY: the kernel lends the buffer until the answer.
                unsafe { lent(args) }.copy_from_slice(&stat);
                Ok(0)
            }
            // Redox's own form: an address in the server, and all pages are mapped at once.
            Some(Opcode::MmapPrep) => Ok(self.bytes.as_ptr() as usize + args[3] as usize),
            Some(Opcode::Munmap) => {
                let text = |at| {
                    // SAFETY: inside the file; the client's mapping of it is gone.
                    let bytes = unsafe { core::slice::from_raw_parts(self.bytes.add(at).as_ptr(), 16) };
                    core::str::from_utf8(bytes)
                };
                println!("[vfsd]  after unmap file[0..16]={:?} file[4096..4112]={:?}", text(0), text(4096));
                Ok(0)
            }
            Some(Opcode::StdFsCall) => {
                let kind = StdFsCallKind::try_from_raw(args[3] as u8);
                println!("[vfsd]  stdfs {kind:?}");
                if let Some(StdFsCallKind::Ftruncate) = kind {
                    self.size = (args[4] as usize).min(CAPACITY);
                }
                Ok(0)
            }
            Some(Opcode::Fsync) => Ok(0),
            _ => Err(Error::new(ENOSYS)),
        }
    }

    /// Offset and length of a Read or Write, which ends at `end` at most.
    fn range(&self, args: [u64; 6], end: usize) -> Result<(usize, usize)> {
        let (len, offset) = (args[2] as usize, args[3] as usize);
        if offset > CAPACITY {
            return Err(Error::new(EINVAL));
        }
        Ok((offset, len.min(end.saturating_sub(offset))))
    }
}

/// The buffer of a request: [.., address, length, ..].
///
/// # Safety
/// The request is one that has a buffer, and is not answered yet.
unsafe fn lent<'a>(args: [u64; 6]) -> &'a mut [u8] {
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts_mut(args[1] as *mut u8, args[2] as usize) }
}

/// The client's end, where the kernel tells it, is the machine's.
fn finish() -> ! {
    let mut words = [[0; 8]; 4];
    let status = Fd(CLIENT_CONTEXT).dup(b"exit-status").and_then(|file| file.fd().read(words.as_flattened_mut()));
    println!("[vfsd] the client's exit status: {status:?} {:?}", words.map(u64::from_ne_bytes));
    power::off(u8::from(words != [[0; 8]; 4]))
}
