//! FAULT_IN: a server has its client's buffer brought in and keeps its locks meanwhile.
//!
//! It is what a server must never do, for the page that is missing may be one that only the same server
//! can bring, by a thread that waits for one of those locks. The call is there for experiments that show
//! just that (`copy=faulting`); everybody else answers RETRY.
//!
//! Owns: whose page is asked for on whose behalf. The server's thread waits for the fault as its client
//! would, and makes the call again when the page came. Should the client die, `pager-core` lets go of
//! whoever waits for its pages.

use crate::arch::cpu::Cpu;
use crate::context::{Context, FaultOrigin};
use crate::kernel::Kernel;
use crate::syscall::Outcome;
use kernel_logic::arena::Id;
use pager_abi::Tag;
use pager_abi::fault::Access;
use pager_core::{CopyDirection, SocketId};
use syscall::PAGE_SIZE;
use syscall::error::Error;

/// Brings `length` bytes at `offset` of the buffer of request `tag` in, to be read by the server. Each page
/// once: one that is taken away again while the next one comes is the COPY's business.
pub fn fault_in(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    socket: SocketId,
    tag: Tag,
    offset: u64,
    length: u64,
) -> Outcome {
    let place = k.pager.copy_place(socket, tag, offset, length, CopyDirection::In);
    let Some((client, address)) = place.map_err(|error| Error::new(error.errno()))? else {
        // A bounce buffer is there already.
        return Ok(0);
    };
    let client = Id::from_raw(client.0);
    // The whole buffer was found to lie in the user half when the request was made.
    let (address, end) = (address as usize, (address + length) as usize);
    let mut page = (address & !(PAGE_SIZE - 1)).max(k.contexts[id].prefaulted);
    while page < end {
        if !k.vspaces[client].allows(page, Access::Read) {
            k.contexts[id].prefaulted = page + PAGE_SIZE;
            k.fault_in_vspace(cpu, id, client, page, Access::Read, FaultOrigin::SystemCall)?;
        }
        page += PAGE_SIZE;
    }
    Ok(0)
}
