//! A pager, a machine, one server and some clients, with the helpers that the tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use pager_abi::{
    Cookie, Tag,
    fault::{Access, ProvideMmap, RequestMmap, regular_cqe},
    socket::{QUEUE_FAULT, QUEUE_ORDINARY},
};
use pager_core::{fake_mmu::FakeMmu, *};
use syscall::{error::Error, schemev2::Sqe};

pub const SERVER: VspaceId = VspaceId(0);
pub const ALICE: VspaceId = VspaceId(1);
pub const BOB: VspaceId = VspaceId(2);
pub const COOKIE: Cookie = Cookie(0xc00c1e);
/// Where the server keeps page n of the file.
pub const CACHE: u64 = 0x10_000;
/// Where clients map the file.
pub const AT: VirtPage = VirtPage(0x400);
pub const BOTH: u64 = QUEUE_FAULT | QUEUE_ORDINARY;

pub struct World {
    pub pager: Pager,
    pub mmu: FakeMmu,
    pub socket: SocketId,
    pub revoked: Revoked,
}

impl World {
    pub fn new() -> Self {
        Self::with(Config { window: 8, window_ahead: 32, ..Config::default() })
    }

    pub fn with(config: Config) -> Self {
        let mut pager = Pager::new(config);
        let socket = pager.open_socket().unwrap();
        Self { pager, mmu: FakeMmu::new(2, 2048), socket, revoked: Revoked::new() }
    }

    /// Fills the server's cache with pages that hold 1000 + n.
    pub fn cache(&mut self, pages: u64) {
        for n in 0..pages {
            self.mmu.give_server_page(SERVER, VirtPage(CACHE + n), 1000 + n);
        }
    }

    pub fn map(&mut self, vspace: VspaceId, pages: u64, protection: Rights, sharing: Sharing) {
        let new = NewMapping {
            vspace,
            start: AT,
            pages,
            file: FilePage(0),
            protection,
            maximum: Rights { read: true, write: true, execute: true },
            sharing,
        };
        self.pager.map(self.socket, COOKIE, &new).unwrap();
    }

    pub fn fault_by(&mut self, waiter: u64, vspace: VspaceId, page: VirtPage, access: Access) -> FaultOutcome {
        self.pager.fault(&mut self.mmu, &fault_of(waiter, vspace, page, access), &mut self.revoked, 0)
    }

    /// A fault while thread 99 of the server waits for one; whether it was asked to take it.
    pub fn fault_to_receiver(
        &mut self,
        waiter: u64,
        vspace: VspaceId,
        page: VirtPage,
        access: Access,
    ) -> (FaultOutcome, bool) {
        let mut asked = false;
        let receiver = |_| {
            asked = true;
            Some(99)
        };
        let fault = fault_of(waiter, vspace, page, access);
        let outcome = self.pager.fault_to(&mut self.mmu, &fault, receiver, &mut self.revoked, 0);
        (outcome, asked)
    }

    pub fn fault(&mut self, vspace: VspaceId, page: VirtPage, access: Access) -> FaultOutcome {
        self.fault_by(u64::from(vspace.0) * 100, vspace, page, access)
    }

    pub fn receive(&mut self, mask: u64) -> Option<Sqe> {
        self.pager.receive(self.socket, mask, 99, 0)
    }

    pub fn receive_fault(&mut self) -> Option<RequestMmap> {
        self.receive(QUEUE_FAULT).map(|sqe| RequestMmap::from_sqe(&sqe).expect("a fault message"))
    }

    pub fn answer(&mut self, cqe: &syscall::schemev2::Cqe) -> Result<(), PagerError> {
        self.pager.answer(&mut self.mmu, self.socket, SERVER, cqe, &mut self.revoked, 0)
    }

    /// Provides `count` pages of the cache, `before` of them before the faulting one.
    pub fn provide(
        &mut self,
        request: &RequestMmap,
        before: u16,
        count: u16,
        writable: bool,
    ) -> Result<(), PagerError> {
        let address = (CACHE + request.offset / 4096 - u64::from(before)) * 4096;
        self.answer(&ProvideMmap { tag: request.tag, address, before, count, writable }.to_cqe())
    }

    pub fn fail(&mut self, tag: Tag, errno: i32) -> Result<(), PagerError> {
        self.answer(&regular_cqe(tag, Error::mux(Err(Error::new(errno))) as u64))
    }

    /// Waiters that go on, with why.
    pub fn wakes(&mut self) -> Vec<(u64, Wake)> {
        std::iter::from_fn(|| self.pager.next_event())
            .filter_map(|event| match event {
                Event::Wake { waiter, why } => Some((waiter.0, why)),
                Event::Orphan { .. } => None,
            })
            .collect()
    }

    pub fn settled(&mut self) -> Vec<u64> {
        let wakes = self.wakes();
        wakes.iter().for_each(|(_, why)| assert!(matches!(why, Wake::FaultSettled), "{why:?}"));
        wakes.into_iter().map(|(waiter, _)| waiter).collect()
    }

    pub fn shoot_down(&mut self) {
        self.mmu.shoot_down(&mut self.revoked);
    }

    /// A revocation to its end, with complete shootdowns.
    pub fn revoke(&mut self, mut revocation: Revocation) -> Revocation {
        loop {
            let progress = self.pager.revoke(&mut self.mmu, &mut revocation, &mut self.revoked).unwrap();
            self.shoot_down();
            if progress == Progress::Done {
                return revocation;
            }
        }
    }

    pub fn unmap(&mut self, vspace: VspaceId, start: VirtPage, pages: u64) {
        while self.pager.unmap(&mut self.mmu, vspace, start, pages, &mut self.revoked).unwrap() == Progress::More {
            self.shoot_down();
        }
        self.shoot_down();
    }

    pub fn protect(&mut self, vspace: VspaceId, start: VirtPage, pages: u64, to: Rights) -> Result<(), PagerError> {
        let mut protect = Protect::new(vspace, start, pages, to);
        while self.pager.protect(&mut self.mmu, &mut protect, &mut self.revoked)? == Progress::More {
            self.shoot_down();
        }
        self.shoot_down();
        Ok(())
    }

    pub fn inherit(&mut self, parent: VspaceId, child: VspaceId) {
        while self.pager.inherit(&mut self.mmu, parent, child, &mut self.revoked).unwrap() == Progress::More {
            self.shoot_down();
        }
        self.shoot_down();
    }

    pub fn die(&mut self, vspace: VspaceId) {
        while self.pager.vspace_died(&mut self.mmu, vspace, &mut self.revoked) == Progress::More {
            self.shoot_down();
        }
        self.shoot_down();
    }

    pub fn close(&mut self) {
        while self.pager.close_socket(&mut self.mmu, self.socket, &mut self.revoked).unwrap() == Progress::More {
            self.shoot_down();
        }
        self.shoot_down();
    }

    /// Faults one page in, served at once; stores get a writable page.
    pub fn touch(&mut self, vspace: VspaceId, page: VirtPage, access: Access) {
        for _ in 0..4 {
            match self.fault(vspace, page, access) {
                FaultOutcome::Resume => return,
                FaultOutcome::Flush => self.shoot_down(),
                FaultOutcome::Wait { .. } => {
                    let request = self.receive_fault().expect("the fault is deliverable");
                    self.provide(&request, 0, 1, request.access == Access::Write).unwrap();
                    self.settled();
                }
                FaultOutcome::Fail(errno) => panic!("the fault failed with {errno}"),
            }
        }
        panic!("{page:?} never became accessible");
    }

    /// A load of word 0 on CPU 0 that faults as often as it needs.
    pub fn load(&mut self, vspace: VspaceId, page: VirtPage) -> u64 {
        if let Ok(value) = self.mmu.load(0, vspace, page, 0) {
            return value;
        }
        self.touch(vspace, page, Access::Read);
        self.mmu.load(0, vspace, page, 0).unwrap()
    }

    /// A store to word 0 on CPU 0, likewise.
    pub fn store(&mut self, vspace: VspaceId, page: VirtPage, value: u64) {
        if self.mmu.store(0, vspace, page, 0, value).is_ok() {
            return;
        }
        self.touch(vspace, page, Access::Write);
        self.mmu.flush_page(0, vspace, page);
        self.mmu.store(0, vspace, page, 0, value).unwrap();
    }
}

fn fault_of(waiter: u64, vspace: VspaceId, page: VirtPage, access: Access) -> Fault {
    Fault {
        vspace,
        page,
        access,
        origin: Origin::Instruction,
        waiter: WaiterId(waiter),
        credentials: 7,
        caller: waiter,
    }
}
