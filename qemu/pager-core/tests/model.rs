//! Any interleaving of clients, server, revocations and TLBs against a plain model.
//!
//! The model knows one value a page of the file and, for each client, the private pages that it
//! stored to. The server is the plainest that follows rule 2: it picks the page and marks it dirty
//! when it *receives* a fault, answers at any later time, writes back only after WRPROTECT and evicts
//! only clean pages after ZAP. Three CPUs keep stale TLBs until the revocation flushes them, one by
//! one. What goes wrong shows as a load of a wrong value, a store that a write-back missed, a CPU that
//! reaches a freed frame, an error nobody caused, a client that waits for ever, or a leaked frame.

mod world;

use pager_abi::{
    Tag,
    fault::{Access, ProvideMmap, RequestMmap},
    socket::{QUEUE_FAULT, ZapWhat},
};
use pager_core::{fake_mmu::FakeMmu, *};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use world::{COOKIE, SERVER};

const CPUS: usize = 3;
const CLIENTS: u32 = 2;
const PAGES: u64 = 3;
/// The two places where a client may have the file.
const PLACES: [u64; 2] = [0x400, 0x800];

#[derive(Clone, Debug)]
enum Action {
    Map { client: u32, place: usize, private: bool },
    Unmap { client: u32, place: usize, from: u64, pages: u64 },
    Protect { client: u32, place: usize, page: u64, write: bool },
    Move { client: u32 },
    Inherit { parent: u32, child: u32 },
    Die { client: u32 },
    Access { cpu: usize, client: u32, place: usize, page: u64, store: bool },
    Receive,
    Answer { nth: usize, before: u16, after: u16 },
    WriteBack { page: u64 },
    Evict { page: u64 },
    Truncate { page: u64 },
    FlushOne { cpu: usize },
    FinishRevocation,
}

fn action() -> impl Strategy<Value = Action> {
    let (client, place, page, cpu) = (1..=CLIENTS, 0..2usize, 0..PAGES, 0..CPUS);
    prop_oneof![
        3 => (client.clone(), place.clone(), any::<bool>())
            .prop_map(|(client, place, private)| Action::Map { client, place, private }),
        1 => (client.clone(), place.clone(), page.clone(), 1..=PAGES)
            .prop_map(|(client, place, from, pages)| Action::Unmap { client, place, from, pages }),
        2 => (client.clone(), place.clone(), page.clone(), any::<bool>())
            .prop_map(|(client, place, page, write)| Action::Protect { client, place, page, write }),
        1 => client.clone().prop_map(|client| Action::Move { client }),
        1 => (client.clone(), client.clone()).prop_map(|(parent, child)| Action::Inherit { parent, child }),
        1 => client.clone().prop_map(|client| Action::Die { client }),
        14 => (cpu.clone(), client, place, page.clone(), any::<bool>())
            .prop_map(|(cpu, client, place, page, store)| Action::Access { cpu, client, place, page, store }),
        8 => Just(Action::Receive),
        8 => (any::<usize>(), 0..3u16, 0..3u16).prop_map(|(nth, before, after)| Action::Answer { nth, before, after }),
        3 => page.clone().prop_map(|page| Action::WriteBack { page }),
        3 => page.clone().prop_map(|page| Action::Evict { page }),
        1 => page.prop_map(|page| Action::Truncate { page }),
        3 => cpu.prop_map(|cpu| Action::FlushOne { cpu }),
        4 => Just(Action::FinishRevocation),
    ]
}

/// A thread that is at an access; there is one a CPU.
#[derive(Clone, Copy, Debug)]
struct Thread {
    client: u32,
    place: usize,
    page: u64,
    store: Option<u64>,
    /// Blocked on this fault.
    waits: Option<Tag>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Clean(u64),
    Free(u64),
    FreeFrom(u64),
}

struct Machine {
    pager: Pager,
    mmu: FakeMmu,
    socket: SocketId,
    threads: [Option<Thread>; CPUS],
    stamp: u64,
    // The server.
    disk: [u64; PAGES as usize],
    /// Cached pages: page of the file -> page of the server.
    cache: BTreeMap<u64, VirtPage>,
    dirty: BTreeSet<u64>,
    next_cache_page: u64,
    /// Faults that were received, with the cache as it was seen then.
    received: Vec<(RequestMmap, BTreeMap<u64, VirtPage>)>,
    revocation: Option<(Revocation, Revoked, Progress, Then)>,
    // The model.
    file: [u64; PAGES as usize],
    private: BTreeMap<(u32, VirtPage), u64>,
    /// (client, page) -> (page of the file, private, may store)
    mapped: BTreeMap<(u32, VirtPage), (u64, bool, bool)>,
}

impl Machine {
    fn new() -> Self {
        let mut pager = Pager::new(Config { window: 4, window_ahead: 4, ..Config::default() });
        let socket = pager.open_socket().unwrap();
        Self {
            pager,
            mmu: FakeMmu::new(CPUS, 512),
            socket,
            threads: [None; CPUS],
            stamp: 0,
            disk: [0; PAGES as usize],
            cache: BTreeMap::new(),
            dirty: BTreeSet::new(),
            next_cache_page: 0x10_000,
            received: Vec::new(),
            revocation: None,
            file: [0; PAGES as usize],
            private: BTreeMap::new(),
            mapped: BTreeMap::new(),
        }
    }

    fn busy(&self, client: u32) -> bool {
        self.threads.iter().flatten().any(|thread| thread.client == client)
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Map { client, place, private } => self.map(client, place, private),
            Action::Unmap { client, place, from, pages } => {
                let start = VirtPage(PLACES[place] + from);
                self.shot(|m, revoked| m.pager.unmap(&mut m.mmu, VspaceId(client), start, pages, revoked).unwrap());
                let gone = |page: &VirtPage| (start..start.forward(pages)).contains(page);
                self.mapped.retain(|(of, page), _| *of != client || !gone(page));
                self.private.retain(|(of, page), _| *of != client || !gone(page));
            }
            Action::Protect { client, place, page, write } => {
                let page = VirtPage(PLACES[place] + page);
                let rights = if write { Rights::READ_WRITE } else { Rights::READ };
                let mut protect = Protect::new(VspaceId(client), page, 1, rights);
                self.shot(|m, revoked| m.pager.protect(&mut m.mmu, &mut protect, revoked).unwrap());
                if let Some((_, _, may_store)) = self.mapped.get_mut(&(client, page)) {
                    *may_store = write;
                }
            }
            Action::Move { client } => self.relocate(client),
            Action::Inherit { parent, child } => self.inherit(parent, child),
            Action::Die { client } => self.die(client),
            Action::Access { cpu, client, place, page, store } => {
                if self.threads[cpu].is_none() {
                    self.stamp += 1;
                    let store = store.then_some(self.stamp);
                    self.threads[cpu] = Some(Thread { client, place, page, store, waits: None });
                    self.step(cpu);
                }
            }
            Action::Receive => self.receive(),
            Action::Answer { nth, before, after } => self.answer(nth, before, after),
            Action::WriteBack { page } if self.cache.contains_key(&page) => {
                let revocation = Revocation::write_protect(self.socket, COOKIE, page * 4096, 4096);
                self.begin(revocation, Then::Clean(page));
            }
            Action::Evict { page } if self.cache.contains_key(&page) && !self.dirty.contains(&page) => {
                let revocation = Revocation::zap(self.socket, COOKIE, page * 4096, 4096, ZapWhat::Shared);
                self.begin(revocation, Then::Free(page));
            }
            Action::Truncate { page } => {
                let revocation = Revocation::zap(self.socket, COOKIE, page * 4096, 0, ZapWhat::SharedAndPrivate);
                self.begin(revocation, Then::FreeFrom(page));
            }
            Action::WriteBack { .. } | Action::Evict { .. } => {}
            Action::FlushOne { cpu } => {
                if let Some((_, revoked, ..)) = &self.revocation {
                    self.mmu.flush(cpu, revoked);
                }
            }
            Action::FinishRevocation => self.finish(),
        }
        self.wake();
    }

    /// An operation of a client's, each step followed by a shootdown. It waits for the flush of others.
    fn shot(&mut self, mut operation: impl FnMut(&mut Self, &mut Revoked) -> Progress) {
        self.flush_pending();
        for _ in 0..100 {
            let mut revoked = Revoked::new();
            let progress = operation(self, &mut revoked);
            self.mmu.shoot_down(&mut revoked);
            if progress == Progress::Done {
                return;
            }
            // What it waits for may be the revocation.
            self.finish();
        }
        panic!("no end of it");
    }

    fn map(&mut self, client: u32, place: usize, private: bool) {
        let start = VirtPage(PLACES[place]);
        let new = NewMapping {
            vspace: VspaceId(client),
            start,
            pages: PAGES,
            file: FilePage(0),
            protection: Rights::READ_WRITE,
            maximum: Rights::READ_WRITE,
            sharing: if private { Sharing::Private } else { Sharing::Shared },
        };
        match self.pager.map(self.socket, COOKIE, &new) {
            Ok(()) => {
                for n in 0..PAGES {
                    let before = self.mapped.insert((client, start.forward(n)), (n, private, true));
                    assert_eq!(before, None, "mapped over a mapping");
                }
            }
            Err(error) => {
                assert_eq!(error, PagerError::Overlap);
                assert!((0..PAGES).any(|n| self.mapped.contains_key(&(client, start.forward(n)))));
            }
        }
    }

    fn relocate(&mut self, client: u32) {
        let [from, to] = PLACES.map(VirtPage);
        if self.mapped.keys().any(|(of, page)| *of == client && *page >= to) {
            return;
        }
        self.shot(|m, revoked| m.pager.relocate(&mut m.mmu, VspaceId(client), from, PAGES, to, revoked).unwrap());
        let moved = |(of, page): (u32, VirtPage)| match of == client {
            true => (of, VirtPage(page.0 - from.0 + to.0)),
            false => (of, page),
        };
        self.mapped = std::mem::take(&mut self.mapped).into_iter().map(|(key, value)| (moved(key), value)).collect();
        self.private = std::mem::take(&mut self.private).into_iter().map(|(key, value)| (moved(key), value)).collect();
    }

    fn inherit(&mut self, parent: u32, child: u32) {
        if parent == child || self.busy(child) || self.mapped.keys().any(|(of, _)| *of == child) {
            return;
        }
        self.shot(|m, revoked| m.pager.inherit(&mut m.mmu, VspaceId(parent), VspaceId(child), revoked).unwrap());
        let of_parent = |(of, page): (u32, VirtPage)| (of == parent).then_some((child, page));
        let mapped: Vec<_> = self.mapped.iter().filter_map(|(key, v)| Some((of_parent(*key)?, *v))).collect();
        let private: Vec<_> = self.private.iter().filter_map(|(key, v)| Some((of_parent(*key)?, *v))).collect();
        self.mapped.extend(mapped);
        self.private.extend(private);
    }

    fn die(&mut self, client: u32) {
        for cpu in 0..CPUS {
            if let Some(thread) = self.threads[cpu].filter(|thread| thread.client == client) {
                self.threads[cpu] = None;
                if let Some(tag) = thread.waits {
                    let mut revoked = Revoked::new();
                    self.pager.detach(tag, WaiterId(cpu as u64), &mut revoked);
                    assert!(revoked.is_empty());
                }
            }
        }
        self.shot(|m, revoked| m.pager.vspace_died(&mut m.mmu, VspaceId(client), revoked));
        self.mapped.retain(|(of, _), _| *of != client);
        self.private.retain(|(of, _), _| *of != client);
    }

    /// Lets the thread of `cpu` go on until its access is made, fails, or waits.
    fn step(&mut self, cpu: usize) {
        let thread = self.threads[cpu].expect("the CPU has a thread");
        let (vspace, page) = (VspaceId(thread.client), VirtPage(PLACES[thread.place] + thread.page));
        let access = if thread.store.is_some() { Access::Write } else { Access::Read };
        for _ in 0..5 {
            let tried = match thread.store {
                Some(value) => self.mmu.store(cpu, vspace, page, 0, value).map(|()| value),
                None => self.mmu.load(cpu, vspace, page, 0),
            };
            if let Ok(value) = tried {
                self.accessed(&thread, page, value);
                self.threads[cpu] = None;
                return;
            }
            let fault = Fault {
                vspace,
                page,
                access,
                origin: Origin::Instruction,
                waiter: WaiterId(cpu as u64),
                credentials: 0,
                caller: 0,
            };
            let mut revoked = Revoked::new();
            match self.pager.fault(&mut self.mmu, &fault, &mut revoked, 0) {
                FaultOutcome::Resume => self.mmu.flush_page(cpu, vspace, page),
                FaultOutcome::Flush => self.mmu.shoot_down(&mut revoked),
                FaultOutcome::Wait { tag, .. } => {
                    self.threads[cpu].as_mut().expect("as above").waits = Some(tag);
                    return;
                }
                FaultOutcome::Fail(errno) => {
                    let allowed = self.mapped.get(&(thread.client, page)).map(|(_, _, may_store)| *may_store);
                    let legal = allowed.is_some_and(|may_store| may_store || thread.store.is_none());
                    assert!(!legal, "a legal access to {page:?} failed with {errno}");
                    self.threads[cpu] = None;
                    return;
                }
            }
        }
        panic!("the access never came to an end");
    }

    /// An access was made: the model follows, or says what should have been seen.
    fn accessed(&mut self, thread: &Thread, page: VirtPage, value: u64) {
        let key = (thread.client, page);
        let (file_page, private, may_store) =
            *self.mapped.get(&key).unwrap_or_else(|| panic!("{key:?} was reached and is not mapped"));
        match thread.store {
            Some(_) if private => {
                assert!(may_store, "a store went through a read-only mapping");
                self.private.insert(key, value);
            }
            Some(_) => {
                assert!(may_store, "a store went through a read-only mapping");
                self.file[file_page as usize] = value;
            }
            None => {
                let expected = self.private.get(&key).copied().unwrap_or(self.file[file_page as usize]);
                assert_eq!(value, expected, "a load of {key:?} (file page {file_page}) saw the wrong value");
            }
        }
    }

    fn receive(&mut self) {
        // A revocation is made under the server's invalidate lock, which its fault handler takes too.
        if self.revocation.is_some() {
            return;
        }
        let Some(sqe) = self.pager.receive(self.socket, QUEUE_FAULT, 0, 0) else { return };
        let request = RequestMmap::from_sqe(&sqe).unwrap();
        let first = request.offset / 4096 - u64::from(request.record.before);
        for page in first..first + u64::from(request.pages_wanted) {
            self.load_page(page);
        }
        if request.access == Access::Write {
            self.dirty.insert(request.offset / 4096);
        }
        self.received.push((request, self.cache.clone()));
    }

    fn load_page(&mut self, page: u64) {
        if !self.cache.contains_key(&page) {
            let at = VirtPage(self.next_cache_page);
            self.next_cache_page += 1;
            let value = self.disk[page as usize];
            self.mmu.give_server_page(SERVER, at, value);
            self.cache.insert(page, at);
        }
    }

    fn answer(&mut self, nth: usize, before: u16, after: u16) {
        if self.received.is_empty() {
            return;
        }
        let (request, seen) = self.received.remove(nth % self.received.len());
        let page = request.offset / 4096;
        let before = before.min(request.record.before);
        let after = if request.access == Access::Write { 0 } else { after.min(request.record.after) };
        let before = if request.access == Access::Write { 0 } else { before };
        // A run must be contiguous in the server; the plain server's pages often are not.
        let contiguous = |n: u64| seen[&n].0 == seen[&page].0 + n - page;
        let before =
            (1..=before).take_while(|n| seen[&(page - u64::from(*n))].0 + u64::from(*n) == seen[&page].0).count();
        let after = (1..=after).take_while(|n| contiguous(page + u64::from(*n))).count();
        let provide = ProvideMmap {
            tag: request.tag,
            address: seen[&(page - before as u64)].address(),
            before: before as u16,
            count: (before + after + 1) as u16,
            writable: request.access == Access::Write,
        };
        let mut revoked = Revoked::new();
        let answered = self.pager.answer(&mut self.mmu, self.socket, SERVER, &provide.to_cqe(), &mut revoked, 0);
        assert_eq!(answered, Ok(()), "{provide:?} to {request:?}");
        assert!(revoked.is_empty());
    }

    fn wake(&mut self) {
        while let Some(event) = self.pager.next_event() {
            let Event::Wake { waiter, why } = event else { panic!("{event:?}") };
            assert!(matches!(why, Wake::FaultSettled), "{why:?}");
            let cpu = waiter.0 as usize;
            self.threads[cpu].as_mut().expect("only a thread that waits is woken").waits = None;
            self.step(cpu);
        }
    }

    fn begin(&mut self, revocation: Revocation, then: Then) {
        if self.revocation.is_none() {
            self.revocation = Some((revocation, Revoked::new(), Progress::More, then));
            self.edit();
        }
    }

    fn edit(&mut self) {
        let (revocation, revoked, progress, _) = self.revocation.as_mut().expect("one is under way");
        *progress = self.pager.revoke(&mut self.mmu, revocation, revoked).unwrap();
    }

    /// The flush that a revocation under way still owes.
    fn flush_pending(&mut self) {
        if let Some((_, revoked, ..)) = &mut self.revocation {
            self.mmu.shoot_down(revoked);
        }
    }

    /// The revocation returns to the server, which does what it wanted the pages for.
    fn finish(&mut self) {
        loop {
            let Some((_, revoked, progress, then)) = &mut self.revocation else { return };
            self.mmu.shoot_down(revoked);
            let (progress, then) = (*progress, *then);
            if progress == Progress::More {
                self.edit();
                continue;
            }
            self.revocation = None;
            match then {
                Then::Clean(page) => {
                    self.dirty.remove(&page);
                    self.disk[page as usize] = self.cached_value(page);
                }
                Then::Free(page) => self.drop_page(page),
                Then::FreeFrom(first) => {
                    for page in first..PAGES {
                        self.dirty.remove(&page);
                        if self.cache.contains_key(&page) {
                            self.drop_page(page);
                        }
                        self.disk[page as usize] = 0;
                        self.file[page as usize] = 0;
                        let mapped = &self.mapped;
                        self.private.retain(|key, _| mapped[key].0 != page);
                    }
                }
            }
            return;
        }
    }

    fn cached_value(&self, page: u64) -> u64 {
        let frame = self.mmu.translation(SERVER, self.cache[&page]).unwrap().frame;
        self.mmu.peek(frame, 0)
    }

    fn drop_page(&mut self, page: u64) {
        let at = self.cache.remove(&page).expect("the page is cached");
        let old = self.mmu.unmap(SERVER, at).expect("the server maps its cache");
        assert_eq!(self.mmu.references(old.frame), 1, "a page is freed while somebody maps it");
        self.mmu.release(old.frame);
    }

    /// Everybody comes to an end; nothing is left.
    fn wind_up(&mut self) {
        self.finish();
        for _ in 0..200 {
            self.receive();
            self.answer(0, 0, 0);
            self.wake();
        }
        assert!(self.threads.iter().all(Option::is_none), "somebody waits for ever: {:?}", self.threads);
        (1..=CLIENTS).for_each(|client| self.die(client));
        while self.pager.receive(self.socket, world::BOTH, 0, 0).is_some() {}
        self.shot(|m, revoked| m.pager.close_socket(&mut m.mmu, m.socket, revoked).unwrap());
        assert_eq!(self.mmu.frames_in_use(), self.cache.len(), "frames were lost");
        for page in 0..PAGES {
            let kept = if self.cache.contains_key(&page) { self.cached_value(page) } else { self.disk[page as usize] };
            assert_eq!(kept, self.file[page as usize], "a store to page {page} was lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_interleaving_looks_like_one_file(actions in proptest::collection::vec(action(), 1..120)) {
        let mut machine = Machine::new();
        for action in actions {
            machine.run(action);
        }
        machine.wind_up();
    }
}
