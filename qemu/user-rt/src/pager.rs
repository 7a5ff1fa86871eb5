//! The scheme socket: how a server gets requests and faults, answers them, and revokes pages.
//!
//! Owns: the CALLs of [`pager_abi::socket`] in safe form. Does not own: what the messages mean
//! (`pager_abi::fault`, `syscall::schemev2`), nor which memory a server gives out.

use crate::descriptor::{Descriptor, Fd};
use alloc::{string::String, vec};
use pager_abi::{
    Cookie, Tag,
    socket::{Counters, REPLIES_MAX, Verb, ZapWhat},
};
use syscall::{
    CallFlags, EINVAL, Error, O_RDWR, Result,
    data::NewFdParams,
    schemev2::{Cqe, Sqe},
};

/// A scheme socket.
#[derive(Clone, Copy, Debug)]
pub struct Socket(pub Fd);

/// Which requests [`Socket::reply_receive`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Page faults.
    Fault,
    /// Everything else.
    Ordinary,
    /// Both; faults come first.
    Both,
}

/// Whether to wait for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Until there is one.
    Block,
    /// Not at all.
    Poll,
}

/// Makes a new scheme, by the right to do so that the first process has.
pub fn create_scheme(right: Fd) -> Result<Descriptor> {
    right.dup(b"create-scheme")
}

/// The `dup_into` argument that mints the root directory of a scheme, which the server will see as
/// file `number`.
pub fn root_params(number: usize) -> [u8; size_of::<NewFdParams>()] {
    let mut bytes = [0; size_of::<NewFdParams>()];
    bytes[core::mem::offset_of!(NewFdParams, number)..][..8].copy_from_slice(&number.to_ne_bytes());
    bytes[core::mem::offset_of!(NewFdParams, flags)..][..8].copy_from_slice(&O_RDWR.to_ne_bytes());
    bytes
}

impl Socket {
    /// The version of the paging protocol; an error means that the kernel has none of it.
    pub fn version(self) -> Result<u64> {
        self.call(&mut [], &[Verb::Version as u64]).map(|version| version as u64)
    }

    /// Writes the answers (at most [`REPLIES_MAX`]) and takes one request; `None` only if polling.
    pub fn reply_receive(self, queue: Queue, waiting: Waiting, answers: &[Cqe]) -> Result<Option<Sqe>> {
        use pager_abi::socket::{NO_WAIT, QUEUE_FAULT, QUEUE_ORDINARY};
        let mask = match queue {
            Queue::Fault => QUEUE_FAULT,
            Queue::Ordinary => QUEUE_ORDINARY,
            Queue::Both => QUEUE_FAULT | QUEUE_ORDINARY,
        };
        self.reply_receive_masked(mask | if waiting == Waiting::Poll { NO_WAIT } else { 0 }, answers)
    }

    /// As [`Socket::reply_receive`], with a mask of `pager_abi::socket`.
    #[inline]
    pub fn reply_receive_masked(self, mask: u64, answers: &[Cqe]) -> Result<Option<Sqe>> {
        if answers.len() > REPLIES_MAX {
            return Err(Error::new(EINVAL));
        }
        let mut sqe = Sqe::default();
        let words = [Verb::ReplyReceive as u64, mask, answers.as_ptr() as u64, answers.len() as u64];
        let count = self.call(&mut sqe, &words)?;
        Ok((count == size_of::<Sqe>()).then_some(sqe))
    }

    /// page_mkclean: on return no CPU can store to the range by an old translation. A length of 0
    /// means to the end. Gives the number of pages that were writable.
    pub fn write_protect(self, cookie: Cookie, offset: u64, len: u64) -> Result<usize> {
        self.call(&mut [], &[Verb::WrProtect as u64, cookie.0, offset, len])
    }

    /// On return no CPU can reach the pages of the range (a length of 0 means to the end). Gives
    /// [`pager_abi::socket::ACCESSED`] if one of them was used.
    pub fn zap(self, cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> Result<usize> {
        self.call(&mut [], &[Verb::Zap as u64, cookie.0, offset, len, what as u64])
    }

    /// From the buffer of the request with this tag, at `offset`; fewer bytes than asked for mean
    /// that its next page is not resident.
    pub fn copy_in(self, tag: Tag, offset: u64, to: &mut [u8]) -> Result<usize> {
        // SAFETY: the memory is ours to be written.
        unsafe { self.copy_in_raw(tag, offset, to.as_mut_ptr(), to.len()) }
    }

    /// Into the buffer of the request with this tag, at `offset`; see [`Socket::copy_in`].
    pub fn copy_out(self, tag: Tag, offset: u64, from: &[u8]) -> Result<usize> {
        // SAFETY: the memory is only read.
        unsafe { self.copy_out_raw(tag, offset, from.as_ptr(), from.len()) }
    }

    /// # Safety
    /// The `len` bytes at `to` may be written, or are no Rust object (a folio's bytes).
    pub unsafe fn copy_in_raw(self, tag: Tag, offset: u64, to: *mut u8, len: usize) -> Result<usize> {
        // SAFETY: the caller's promise.
        unsafe { self.call_raw(to, len, &[Verb::CopyIn as u64, u64::from(tag.0), offset]) }
    }

    /// # Safety
    /// The `len` bytes at `from` may be read while others write them (a folio's bytes).
    pub unsafe fn copy_out_raw(self, tag: Tag, offset: u64, from: *const u8, len: usize) -> Result<usize> {
        // SAFETY: the caller's promise; the kernel only reads them.
        unsafe { self.call_raw(from.cast_mut(), len, &[Verb::CopyOut as u64, u64::from(tag.0), offset]) }
    }

    /// Brings `len` bytes at `offset` of the buffer of the request with this tag in, and waits for its pages with
    /// whatever locks the caller has.
    pub fn fault_in(self, tag: Tag, offset: u64, len: u64) -> Result<()> {
        self.call(&mut [], &[Verb::FaultIn as u64, u64::from(tag.0), offset, len]).map(|_| ())
    }

    /// Who waits for whom in the kernel, as text.
    pub fn waits(self) -> Result<String> {
        let mut text = vec![0; 16 << 10];
        let count = self.call(&mut text, &[Verb::Waits as u64])?;
        text.truncate(count);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The kernel's counters of this socket.
    pub fn counters(self) -> Result<Counters> {
        let mut bytes = [0; size_of::<Counters>()];
        self.call(&mut bytes, &[Verb::Counters as u64])?;
        let mut words = [0; Counters::WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        Ok(Counters::from_words(words))
    }

    fn call(self, payload: &mut [u8], words: &[u64]) -> Result<usize> {
        syscall::call_rw(self.0.0, payload, CallFlags::empty(), words)
    }

    /// # Safety
    /// The `len` bytes at `payload` may be used as the verb does.
    unsafe fn call_raw(self, payload: *mut u8, len: usize, words: &[u64]) -> Result<usize> {
        let flags = words.len() | (CallFlags::READ | CallFlags::WRITE).bits();
        // SAFETY: the kernel reads the words and, as the verb says, reads or writes the payload.
        unsafe { syscall::syscall5(syscall::SYS_CALL, self.0.0, payload as usize, len, flags, words.as_ptr() as usize) }
    }
}
