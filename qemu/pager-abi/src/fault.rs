//! A page fault as a message, and its three answers.
//!
//! `RequestMmap` is Redox's `Opcode::RequestMmap` (21), which its kernel never sends. Its arguments:
//!
//! | args | meaning |
//! |---|---|
//! | 0 | the [`Cookie`] of the mapping object |
//! | 1 | the [`Access`] |
//! | 2 | pages wanted: the most that a `ProvideMmap` may map (at least 1) |
//! | 3 | byte offset in the file of the faulting page (page aligned) |
//! | 4 | the [`FaultRecord`] |
//! | 5 | uid in bits 31..0, gid in bits 63..32, as in every other `Sqe` |
//!
//! Answers: a `Cqe` with [`PROVIDE_MMAP`]; one with [`RETRY`] (never for a fault); or a regular one
//! that carries an errno, and then the access fails.

use crate::{Cookie, PAGE_SIZE, Tag};
use syscall::schemev2::{Cqe, CqeOpcode, Sqe};

/// `Cqe` opcode: maps a run of folio pages and ends the fault.
pub const PROVIDE_MMAP: u8 = 6;

/// `Cqe` opcode: the request's buffer was not resident at `result` (a byte offset in the buffer);
/// the kernel faults it in and queues the same request under the same tag again.
pub const RETRY: u8 = 7;

/// What the client did to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Access {
    /// A load of a page that is not mapped.
    Read = 1,
    /// A store: to a page that is not mapped, or (see [`FaultRecord::present`]) to a page that is
    /// mapped read-only, which is what Linux calls `page_mkwrite`.
    Write = 2,
    /// An instruction fetch.
    Execute = 4,
}

impl Access {
    /// The access that `raw` stands for, if any.
    pub fn from_raw(raw: u64) -> Option<Self> {
        match raw {
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            4 => Some(Self::Execute),
            _ => None,
        }
    }
}

/// What the kernel knows of the place of a fault, packed into one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// Pages before the faulting one that lie in the same mapping and have no translation
    /// (saturated): `ProvideMmap` may start up to this many pages earlier.
    pub before: u16,
    /// Pages after the faulting one, likewise.
    pub after: u16,
    /// The mapping is `MAP_PRIVATE`: the page is mapped read-only or copied by the kernel, and the
    /// file is not going to be changed by it.
    pub private: bool,
    /// The page was mapped read-only when the store came.
    pub present: bool,
    /// Nobody stands at the faulting instruction: the kernel prefaults a buffer of a system call.
    pub prefault: bool,
}

impl FaultRecord {
    /// As the message carries it.
    pub fn to_raw(self) -> u64 {
        u64::from(self.before)
            | u64::from(self.after) << 16
            | u64::from(self.private) << 32
            | u64::from(self.present) << 33
            | u64::from(self.prefault) << 34
    }

    /// As the message carried it.
    pub fn from_raw(raw: u64) -> Self {
        Self {
            before: raw as u16,
            after: (raw >> 16) as u16,
            private: raw >> 32 & 1 == 1,
            present: raw >> 33 & 1 == 1,
            prefault: raw >> 34 & 1 == 1,
        }
    }
}

/// A decoded `RequestMmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMmap {
    /// What to answer to.
    pub tag: Tag,
    /// The mapping object.
    pub cookie: Cookie,
    /// What the client did.
    pub access: Access,
    /// The most pages that the answer may map.
    pub pages_wanted: u16,
    /// Byte offset in the file of the faulting page.
    pub offset: u64,
    /// The place of the fault.
    pub record: FaultRecord,
}

impl RequestMmap {
    /// Decodes `sqe`, whose opcode is `RequestMmap`; `None` if the kernel broke the layout.
    pub fn from_sqe(sqe: &Sqe) -> Option<Self> {
        let [cookie, access, pages, offset, record, _] = sqe.args;
        (offset % PAGE_SIZE == 0).then_some(())?;
        Some(Self {
            tag: Tag(sqe.tag),
            cookie: Cookie(cookie),
            access: Access::from_raw(access)?,
            pages_wanted: u16::try_from(pages).ok().filter(|&n| n > 0)?,
            offset,
            record: FaultRecord::from_raw(record),
        })
    }

    /// The arguments of the `Sqe`, without the credentials.
    pub fn to_args(&self) -> [u64; 6] {
        [self.cookie.0, self.access as u64, u64::from(self.pages_wanted), self.offset, self.record.to_raw(), 0]
    }
}

/// The answer that maps a run of the server's pages around the faulting one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvideMmap {
    /// The fault that is answered.
    pub tag: Tag,
    /// Page-aligned address, in the server, of the first page of the run.
    pub address: u64,
    /// Pages of the run that lie before the faulting one (at most 4095).
    pub before: u16,
    /// Pages of the run (at least `before + 1`).
    pub count: u16,
    /// The pages may be stored to. Never set for a read of a clean page: the store must be seen.
    pub writable: bool,
}

impl ProvideMmap {
    /// As it goes over the socket: result = address | before, extra = count (16 bits) and flags (8).
    pub fn to_cqe(&self) -> Cqe {
        let [low, high] = self.count.to_le_bytes();
        Cqe {
            flags: PROVIDE_MMAP,
            extra_raw: [low, high, u8::from(self.writable)],
            tag: self.tag.0,
            result: self.address | u64::from(self.before),
        }
    }

    /// Decodes a `Cqe` whose opcode is [`PROVIDE_MMAP`]; `None` if the run does not hold the
    /// faulting page.
    pub fn from_cqe(cqe: &Cqe) -> Option<Self> {
        let before = (cqe.result % PAGE_SIZE) as u16;
        let count = u16::from_le_bytes([cqe.extra_raw[0], cqe.extra_raw[1]]);
        (count > before).then_some(Self {
            tag: Tag(cqe.tag),
            address: cqe.result & !(PAGE_SIZE - 1),
            before,
            count,
            writable: cqe.extra_raw[2] & 1 == 1,
        })
    }
}

/// The answer "the buffer was not resident at `offset`" (bytes from the buffer's start).
pub fn retry_cqe(tag: Tag, offset: u64) -> Cqe {
    Cqe { flags: RETRY, extra_raw: [0; 3], tag: tag.0, result: offset }
}

/// The ordinary answer: `result` is a count or a muxed errno (`syscall::Error::mux`).
pub fn regular_cqe(tag: Tag, result: u64) -> Cqe {
    Cqe { flags: CqeOpcode::RespondRegular as u8, extra_raw: [0; 3], tag: tag.0, result }
}

/// The opcode of a `Cqe`: its flags hold nothing else in bits 2..0.
pub fn cqe_opcode(cqe: &Cqe) -> u8 {
    cqe.flags & 0b111
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provide_mmap_survives_the_socket() {
        let provide = ProvideMmap { tag: Tag(7), address: 0x7000_1000, before: 3, count: 0x1234, writable: true };
        assert_eq!(ProvideMmap::from_cqe(&provide.to_cqe()), Some(provide));
        assert_eq!(cqe_opcode(&provide.to_cqe()), PROVIDE_MMAP);
    }

    #[test]
    fn a_run_without_the_faulting_page_is_no_answer() {
        let mut cqe = ProvideMmap { tag: Tag(7), address: 0x1000, before: 3, count: 4, writable: false }.to_cqe();
        cqe.extra_raw[0] = 3;
        assert_eq!(ProvideMmap::from_cqe(&cqe), None);
    }

    #[test]
    fn request_mmap_survives_the_socket() {
        let request = RequestMmap {
            tag: Tag(9),
            cookie: Cookie(0xdead),
            access: Access::Write,
            pages_wanted: 16,
            offset: 0x5000,
            record: FaultRecord { before: 2, after: 65535, private: false, present: true, prefault: false },
        };
        let sqe = Sqe { tag: 9, args: request.to_args(), ..Sqe::default() };
        assert_eq!(RequestMmap::from_sqe(&sqe), Some(request));
    }
}
