//! Redox's way with buffers, for a server that does not page: they are mapped into the server until
//! the request is answered.
//!
//! Whole pages are lent as they are; the partial pages at both ends are copied, so that the server
//! sees nothing beside the buffer. A server in the client's own vspace gets the pointer.

use super::Socket;
use crate::arch::physmap;
use crate::context::Context;
use crate::kernel::Kernel;
use crate::vspace::{Backing, MAP_END, Region, Rights, Vspace};
use kernel_logic::arena::Id;
use kernel_logic::span::Span;
use pager_abi::Tag;
use pager_core::{Buffer, NewRequest};
use syscall::PAGE_SIZE;
use syscall::error::{EFAULT, ENOMEM, Error, Result};
use syscall::schemev2::{Opcode, Sqe};

/// The most pages that are lent for one request, as on Redox.
const PAGES_MAX: usize = 4096;

/// A buffer that a server has.
pub struct Lent {
    tag: Tag,
    server: Id<Vspace>,
    /// Where it is in the server.
    span: Span,
    /// The client, while it lives, and where its buffer is.
    client: Id<Context>,
    buffer: Buffer,
}

/// Cuts a buffer to what can be lent.
pub fn cut(NewRequest { sqe, buffer, .. }: &mut NewRequest) {
    if let Some(buffer) = buffer {
        let in_first_page = buffer.address % PAGE_SIZE as u64;
        buffer.length = buffer.length.min((PAGES_MAX * PAGE_SIZE) as u64 - in_first_page);
        sqe.args[2] = buffer.length;
    }
}

impl Kernel {
    /// Maps the buffer of `sqe` into the vspace of `receiver` and lets the message point there. If that fails
    /// the server sees an empty buffer.
    pub fn lend(&mut self, receiver: Id<Context>, socket: Id<Socket>, sqe: &mut Sqe) {
        let tag = Tag(sqe.tag);
        let Some((client, buffer)) = self.buffer_of(socket, tag, sqe) else { return };
        let (Some(server), Some(owner)) = (self.contexts[receiver].vspace, self.contexts[client].vspace) else {
            return;
        };
        if server == owner || buffer.length == 0 {
            return;
        }
        match self.map_lent(server, owner, &buffer) {
            Ok(span) => {
                sqe.args[1] = (span.base + buffer.address as usize % PAGE_SIZE) as u64;
                self.sockets[socket].lent.push(Lent { tag, server, span, client, buffer });
            }
            Err(_) => (sqe.args[1], sqe.args[2]) = (0, 0),
        }
    }

    /// The buffer of the request with this tag, and whose it is.
    fn buffer_of(&self, _socket: Id<Socket>, tag: Tag, sqe: &Sqe) -> Option<(Id<Context>, Buffer)> {
        use Opcode::*;
        match Opcode::try_from_raw(sqe.opcode)? {
            OpenAt | Dup | Read | Write | Fpath | Fstat | Frename | Flink | UnlinkAt | Call | StdFsCall => {}
            _ => return None,
        }
        let (waiter, buffer) = self.pager.request_buffer(tag)?;
        Some((Id::from_raw(waiter.0 as u32), buffer))
    }

    fn map_lent(&mut self, server: Id<Vspace>, owner: Id<Vspace>, buffer: &Buffer) -> Result<Span> {
        let (start, len) = (buffer.address as usize, buffer.length as usize);
        let source = Span::around(start, len, MAP_END).ok_or(Error::new(EFAULT))?;
        let span = self.vspaces[server].place(0, source.len)?;
        let rights = if buffer.rights.write { Rights::READ | Rights::WRITE } else { Rights::READ };
        let region = Region { rights, maximum: rights, backing: Backing::Lent };
        self.vspaces[server].regions.insert(span, region);
        for (from, to) in source.page_addresses().zip(span.page_addresses()) {
            let whole = start <= from && from + PAGE_SIZE <= start + len;
            let mapped = self
                .lent_page(owner, from, whole, (start, len), buffer)
                .and_then(|frame| self.vspaces[server].map_frame(&mut self.frames, to, frame, rights));
            if let Err(error) = mapped {
                self.vspaces[server].regions.carve(span);
                self.clear(server, span);
                return Err(error);
            }
        }
        Ok(span)
    }

    /// The frame that the server sees for the client's page at `page`, with a reference for it.
    fn lent_page(
        &mut self,
        owner: Id<Vspace>,
        page: usize,
        whole: bool,
        (start, len): (usize, usize),
        buffer: &Buffer,
    ) -> Result<kernel_logic::buddy::Frame> {
        let access = super::call::buffer_access(buffer);
        let entry = self.vspaces[owner].allowed(page, access).ok_or(Error::new(EFAULT))?;
        if whole && self.frames.is_managed(entry.frame()) {
            self.frames.retain(entry.frame());
            return Ok(entry.frame());
        }
        let bounce = self.frames.alloc().ok_or(Error::new(ENOMEM))?;
        physmap::zero(bounce);
        if buffer.rights.read {
            let (from, to) = (start.max(page), (start + len).min(page + PAGE_SIZE));
            physmap::copy_part(bounce, from - page, entry.frame(), from - page, to - from);
        }
        Ok(bounce)
    }

    /// The request is answered: what was filled in partial pages goes to the client, and the server has the
    /// buffer no longer.
    #[cold]
    pub fn take_back_lent(&mut self, socket: Id<Socket>, tag: Tag) {
        let lent = &mut self.sockets[socket].lent;
        if let Some(index) = lent.iter().position(|lent| lent.tag == tag) {
            let lent = lent.swap_remove(index);
            self.return_lent(lent);
        }
    }

    fn return_lent(&mut self, lent: Lent) {
        let (start, len) = (lent.buffer.address as usize, lent.buffer.length as usize);
        // A client that has ended has no vspace any more.
        let owner = self.contexts.get(lent.client).and_then(|client| client.vspace);
        if let (true, Some(owner), Some(source)) = (lent.buffer.rights.write, owner, Span::around(start, len, MAP_END))
        {
            for (page, at) in source.page_addresses().zip(lent.span.page_addresses()) {
                let (from, to) = (start.max(page), (start + len).min(page + PAGE_SIZE));
                if to - from == PAGE_SIZE {
                    continue;
                }
                let bounce = self.vspaces[lent.server].table.get(at);
                let target = self.vspaces[owner].allowed(page, pager_abi::fault::Access::Write);
                if let (true, Some(target)) = (bounce.is_present(), target) {
                    physmap::copy_part(target.frame(), from - page, bounce.frame(), from - page, to - from);
                }
            }
        }
        self.vspaces[lent.server].regions.carve(lent.span);
        self.clear(lent.server, lent.span);
    }
}
