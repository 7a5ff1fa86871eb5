//! Mapping objects: what a cookie of a server stands for.
//!
//! Owns: grants, the reverse map (object -> regions) and the list of the object's faults in flight.
//! An object lives while it has a region, a fault in flight, or grants to give back; see
//! `pager_abi::grant` for how it ends on the server's side.

use crate::{
    Pager, PagerError, SocketId, VirtPage, VspaceId,
    slab::{Links, List},
};
use alloc::collections::BTreeSet;
use pager_abi::{Cookie, grant::MUNMAP_COUNTED};
use syscall::schemev2::{Opcode, Sqe, SqeFlags};

/// Index of an object in the pager's slab.
pub(crate) type ObjectIndex = u32;

pub(crate) struct Object {
    pub(crate) socket: SocketId,
    pub(crate) cookie: Cookie,
    /// `MmapPrep` answers that were not given back yet.
    pub(crate) grants: u64,
    /// The reverse map: every region that shows this object, by (address space, first page).
    pub(crate) regions: BTreeSet<(VspaceId, VirtPage)>,
    /// Faults in flight, queued and delivered.
    pub(crate) faults: List,
    /// ZAPs of private copies that have begun and need more calls: meanwhile no copy may move.
    pub(crate) zapping: u32,
    /// Place in the socket's list of objects that have grants to give back.
    pub(crate) giving_back: Links,
    pub(crate) gives_back: bool,
}

impl Pager {
    /// Opens one grant on the object that `cookie` names; makes the object if this is the first.
    pub(crate) fn open_grant(&mut self, socket: SocketId, cookie: Cookie) -> Result<ObjectIndex, PagerError> {
        let known = self.live_socket(socket)?.objects.get(&cookie).copied();
        let index = match known {
            Some(index) => index,
            None => {
                let index = self.objects.insert(Object {
                    socket,
                    cookie,
                    grants: 0,
                    regions: BTreeSet::new(),
                    faults: List::new(),
                    zapping: 0,
                    giving_back: Links::new(),
                    gives_back: false,
                })?;
                self.sockets[socket.0].objects.insert(cookie, index);
                index
            }
        };
        let object = &mut self.objects[index];
        object.grants += 1;
        if object.gives_back {
            object.gives_back = false;
            let Self { sockets, objects, .. } = self;
            sockets[socket.0].giving_back.unlink(objects, index, |object| &mut object.giving_back);
        }
        Ok(index)
    }

    /// A lazy `MmapPrep` answer whose mapping did not come about (the client died, its FMAP failed):
    /// the grant goes back to the server.
    pub fn return_grant(&mut self, socket: SocketId, cookie: Cookie) -> Result<(), PagerError> {
        let index = self.open_grant(socket, cookie)?;
        self.settle_object(index);
        Ok(())
    }

    /// Ends the object, or queues the return of its grants, if nothing needs it any more.
    #[inline]
    pub(crate) fn settle_object(&mut self, index: ObjectIndex) {
        let object = &self.objects[index];
        if object.regions.is_empty() && object.faults.is_empty() && object.zapping == 0 && !object.gives_back {
            self.end_object(index);
        }
    }

    fn end_object(&mut self, index: ObjectIndex) {
        let Self { sockets, objects, .. } = self;
        let object = &mut objects[index];
        let socket = object.socket;
        if sockets[socket.0].alive && object.grants > 0 {
            object.gives_back = true;
            sockets[socket.0].giving_back.push_back(objects, index, |object| &mut object.giving_back);
            self.note_notice(socket);
            return;
        }
        sockets[socket.0].objects.remove(&object.cookie);
        objects.remove(index);
        self.settle_socket(socket);
    }

    /// The next counted `Munmap` for the server of `socket`.
    pub(crate) fn next_munmap(&mut self, socket: SocketId) -> Option<Sqe> {
        let Self { sockets, objects, .. } = self;
        let index = sockets[socket.0].giving_back.pop_front(objects, |object| &mut object.giving_back)?;
        let object = &mut objects[index];
        object.gives_back = false;
        let (cookie, grants) = (object.cookie, core::mem::take(&mut object.grants));
        self.settle_object(index);
        Some(Sqe {
            opcode: Opcode::Munmap as u8,
            sqe_flags: SqeFlags::ONEWAY,
            args: [cookie.0, grants, MUNMAP_COUNTED, 0, 0, 0],
            ..Sqe::default()
        })
    }
}
