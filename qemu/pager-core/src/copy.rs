//! COPY by tag: between the server and the buffer of a request that it has.
//!
//! Decides what may be copied and gives it as physical places; the bytes are moved by the caller
//! outside the lock. A [`CopyUnit`] stays good until this CPU acknowledges the next shootdown,
//! because whoever takes a page away waits for that acknowledgement before the frame is used again.
//! Hence: copy a unit without acknowledging, then resolve the next one anew.

use crate::{
    Frame, Mmu, Pager, PagerError, Rights, SocketId, VirtPage, VspaceId,
    message::{Body, State},
};
use pager_abi::{COPY_ATOMIC, PAGE_SIZE, Tag};

/// Which way a COPY goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    /// From the client's buffer to the server (`Verb::CopyIn`).
    In,
    /// From the server to the client's buffer (`Verb::CopyOut`).
    Out,
}

/// Bytes that lie in one frame on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyPiece {
    /// Where they are.
    pub from: Frame,
    /// Offset in `from`.
    pub from_offset: u64,
    /// Where they go.
    pub to: Frame,
    /// Offset in `to`.
    pub to_offset: u64,
    /// How many; neither side crosses its page's end.
    pub length: u64,
}

/// Up to [`COPY_ATOMIC`] bytes that are copied as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyUnit {
    pieces: [Option<CopyPiece>; 3],
    /// Bytes of all pieces; 0: the client's page is not resident, answer RETRY.
    pub length: u64,
}

impl CopyUnit {
    const NOTHING: Self = Self { pieces: [None; 3], length: 0 };

    /// The pieces, in the order of the buffer.
    pub fn pieces(&self) -> impl Iterator<Item = &CopyPiece> {
        self.pieces.iter().flatten()
    }

    pub(crate) fn single(from: Frame, to: Frame, place: u64, length: u64) -> Self {
        let piece = CopyPiece { from, from_offset: place, to, to_offset: place, length };
        Self { pieces: [Some(piece), None, None], length }
    }
}

impl Pager {
    /// Where the client's side of a COPY of `length` bytes at `offset` lies: its address space and address. `None`
    /// if a bounce buffer stands for a part of the buffer: then go by [`Pager::copy_unit`].
    #[inline]
    pub fn copy_place(
        &self,
        socket: SocketId,
        tag: Tag,
        offset: u64,
        length: u64,
        direction: CopyDirection,
    ) -> Result<Option<(VspaceId, u64)>, PagerError> {
        let message = &self.messages[self.message_in(socket, tag, State::Delivered)?];
        let Body::Request(request) = &message.body else { return Err(PagerError::NoSuchTag) };
        if request.waiter.is_none() {
            return Err(PagerError::Cancelled);
        }
        let buffer = request.buffer.as_ref().ok_or(PagerError::BadRange)?;
        let inside = offset.checked_add(length).is_some_and(|end| end <= buffer.length);
        let allowed = match direction {
            CopyDirection::In => buffer.rights.read,
            CopyDirection::Out => buffer.rights.write,
        };
        if !inside || !allowed {
            return Err(PagerError::BadRange);
        }
        Ok(request.bounce.is_none().then_some((message.vspace, buffer.address + offset)))
    }

    /// The next unit of a COPY of `length` bytes at `offset` of the buffer of `tag`, from or to
    /// `address` of the server. Call it again for the rest after the unit was copied, unless the
    /// unit is shorter than asked and shorter than it could be: a unit of length 0 ends the COPY.
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the verb")]
    pub fn copy_unit(
        &self,
        mmu: &impl Mmu,
        socket: SocketId,
        server: VspaceId,
        tag: Tag,
        offset: u64,
        address: u64,
        length: u64,
        direction: CopyDirection,
    ) -> Result<CopyUnit, PagerError> {
        let message = &self.messages[self.message_in(socket, tag, State::Delivered)?];
        let Body::Request(request) = &message.body else { return Err(PagerError::NoSuchTag) };
        if request.waiter.is_none() {
            return Err(PagerError::Cancelled);
        }
        let buffer = request.buffer.as_ref().ok_or(PagerError::BadRange)?;
        let end = offset.checked_add(length).filter(|end| *end <= buffer.length).ok_or(PagerError::BadRange)?;
        address.checked_add(length).ok_or(PagerError::BadRange)?;
        let (client_rights, server_rights) = match direction {
            CopyDirection::In => (Rights::READ, Rights::READ_WRITE),
            CopyDirection::Out => (Rights { write: true, ..Rights::default() }, Rights::READ),
        };
        if !buffer.rights.include(client_rights) {
            return Err(PagerError::BadRange);
        }
        // A short COPY is one unit. A long one goes page by page of the client.
        let end = if length <= COPY_ATOMIC as u64 {
            end
        } else {
            end.min(offset + PAGE_SIZE - (buffer.address + offset) % PAGE_SIZE)
        };

        let mut unit = CopyUnit::NOTHING;
        for slot in 0.. {
            let done = unit.length;
            let (client_at, server_at) = (buffer.address + offset + done, address + done);
            let left = end - offset - done;
            if left == 0 {
                break;
            }
            let bounced = request.bounce.as_ref().and_then(|bounce| bounce.frame_at(buffer, offset + done));
            let Some(client) = bounced.or_else(|| resident(mmu, message.vspace, client_at, client_rights)) else {
                return Ok(CopyUnit::NOTHING);
            };
            let server = resident(mmu, server, server_at, server_rights).ok_or(PagerError::NotMapped)?;
            let (client_offset, server_offset) = (client_at % PAGE_SIZE, server_at % PAGE_SIZE);
            let length = left.min(PAGE_SIZE - client_offset).min(PAGE_SIZE - server_offset);
            unit.pieces[slot] = Some(match direction {
                CopyDirection::In => {
                    CopyPiece { from: client, from_offset: client_offset, to: server, to_offset: server_offset, length }
                }
                CopyDirection::Out => {
                    CopyPiece { from: server, from_offset: server_offset, to: client, to_offset: client_offset, length }
                }
            });
            unit.length += length;
        }
        Ok(unit)
    }
}

/// The frame behind `address`, if its translation has `rights`.
pub(crate) fn resident(mmu: &impl Mmu, vspace: VspaceId, address: u64, rights: Rights) -> Option<Frame> {
    let translation = mmu.translation(vspace, VirtPage::containing(address))?;
    translation.rights.include(rights).then_some(translation.frame)
}
