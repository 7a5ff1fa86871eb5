//! Requests of several clients in any order of events, against a plain model of the two queues.
//!
//! The model keeps for each client what is queued and what the server has. What must hold: a client's
//! messages come in their order, at most so many at a time, and no client that could be served waits for
//! more than one turn of each other; each message takes one answer, wakes its waiter once, and is known by
//! its tag exactly from its delivery to its answer; a cancelled one is told once and stays until answered.
//! Both ways in are used: through the queue and past it to a receiver that waits.

mod world;

use pager_abi::{
    Tag,
    fault::{regular_cqe, retry_cqe},
    socket::QUEUE_ORDINARY,
};
use pager_core::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use syscall::schemev2::{Opcode, Sqe};
use world::World;

const CLIENTS: usize = 3;
const DELIVERED: u16 = 2;
const OUTSTANDING: u32 = 4;

#[derive(Clone, Debug)]
enum Action {
    Submit { client: usize, past_the_queue: bool },
    Receive,
    Answer { nth: usize, plain: bool },
    AnswerUnknown { tag: u32 },
    Retry { nth: usize },
    Requeue { nth: usize },
    Kill { nth: usize },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..CLIENTS, any::<bool>())
            .prop_map(|(client, past_the_queue)| Action::Submit { client, past_the_queue }),
        6 => Just(Action::Receive),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(nth, plain)| Action::Answer { nth, plain }),
        1 => any::<u32>().prop_map(|tag| Action::AnswerUnknown { tag }),
        2 => any::<usize>().prop_map(|nth| Action::Retry { nth }),
        2 => any::<usize>().prop_map(|nth| Action::Requeue { nth }),
        2 => any::<usize>().prop_map(|nth| Action::Kill { nth }),
    ]
}

#[derive(Default)]
struct Client {
    queued: VecDeque<Tag>,
    delivered: BTreeSet<u32>,
    retrying: BTreeSet<u32>,
    /// Times that it was passed over while it could have been served.
    passed: usize,
}

impl Client {
    fn outstanding(&self) -> usize {
        self.queued.len() + self.delivered.len() + self.retrying.len()
    }

    fn servable(&self) -> bool {
        !self.queued.is_empty() && self.delivered.len() < usize::from(DELIVERED)
    }
}

struct Model {
    world: World,
    clients: [Client; CLIENTS],
    waiters: BTreeMap<u32, WaiterId>,
    /// Killed while the server had them; and of these, not yet told.
    orphans: BTreeSet<u32>,
    cancels: BTreeSet<u32>,
    next_waiter: u64,
}

impl Model {
    fn new() -> Self {
        let config = Config { requests_delivered: DELIVERED, outstanding: OUTSTANDING, ..Config::default() };
        Self {
            world: World::with(config),
            clients: Default::default(),
            waiters: BTreeMap::new(),
            orphans: BTreeSet::new(),
            cancels: BTreeSet::new(),
            next_waiter: 0,
        }
    }

    fn deliverable(&self) -> bool {
        !self.cancels.is_empty() || self.clients.iter().any(Client::servable)
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Submit { client, past_the_queue } => self.submit(client, past_the_queue),
            Action::Receive => self.receive(),
            Action::Answer { nth, plain } => {
                if let Some((client, tag)) = self.nth(nth, |client| &client.delivered) {
                    self.clients[client].delivered.remove(&tag);
                    self.answer(tag, plain);
                }
            }
            Action::AnswerUnknown { tag } => {
                if !self.clients.iter().any(|client| client.delivered.contains(&tag)) {
                    let cqe = regular_cqe(Tag(tag), 0);
                    assert_eq!(self.world.pager.answer_request(self.world.socket, &cqe), None);
                    assert_eq!(self.world.answer(&cqe), Err(PagerError::NoSuchTag));
                }
            }
            Action::Retry { nth } => {
                if let Some((client, tag)) = self.nth(nth, |client| &client.delivered) {
                    self.clients[client].delivered.remove(&tag);
                    self.world.answer(&retry_cqe(Tag(tag), 0)).unwrap();
                    let wakes = self.world.wakes();
                    if self.orphans.remove(&tag) {
                        self.waiters.remove(&tag);
                        self.cancels.remove(&tag);
                        assert!(wakes.is_empty(), "nobody waits for a request that was killed");
                    } else {
                        let [(waiter, Wake::Prefault { .. } | Wake::Bounce { .. })] = wakes[..] else { panic!() };
                        assert_eq!(waiter, self.waiters[&tag].0);
                        self.clients[client].retrying.insert(tag);
                    }
                }
            }
            Action::Requeue { nth } => {
                if let Some((client, tag)) = self.nth(nth, |client| &client.retrying) {
                    self.clients[client].retrying.remove(&tag);
                    self.world.pager.requeue(Tag(tag), 0).unwrap();
                    self.clients[client].queued.push_back(Tag(tag));
                }
            }
            Action::Kill { nth } => self.kill(nth),
        }
        assert_eq!(self.world.pager.deliverable(self.world.socket, QUEUE_ORDINARY), self.deliverable());
        assert!(self.world.pager.next_event().is_none(), "an event that nothing has caused");
        // Who has nothing to be served joins at the end again.
        self.clients.iter_mut().filter(|client| !client.servable()).for_each(|client| client.passed = 0);
    }

    fn nth(&self, nth: usize, of: impl Fn(&Client) -> &BTreeSet<u32>) -> Option<(usize, u32)> {
        let all: Vec<_> = self
            .clients
            .iter()
            .enumerate()
            .flat_map(|(n, client)| of(client).iter().map(move |tag| (n, *tag)))
            .collect();
        (!all.is_empty()).then(|| all[nth % all.len()])
    }

    fn submit(&mut self, client: usize, past_the_queue: bool) {
        self.next_waiter += 1;
        let waiter = WaiterId(self.next_waiter);
        let new = NewRequest {
            sqe: Sqe { opcode: Opcode::Write as u8, ..Sqe::default() },
            vspace: VspaceId(client as u32 + 1),
            waiter,
            buffer: Some(Buffer { address: 0x1000, length: 8, rights: Rights::READ }),
        };
        // A receiver waits only while there is nothing for it.
        let receiver = (past_the_queue && !self.deliverable()).then_some(7);
        let submitted = self.world.pager.submit_to(self.world.socket, &new, receiver, 0);
        let record = &mut self.clients[client];
        if record.outstanding() >= OUTSTANDING as usize {
            assert_eq!(submitted, Err(PagerError::TooManyTags));
            return;
        }
        let submitted = submitted.unwrap();
        let room = record.queued.is_empty() && record.delivered.len() < usize::from(DELIVERED);
        assert_eq!(submitted.delivered, receiver.is_some() && room);
        assert!(self.waiters.insert(submitted.tag.0, waiter).is_none(), "a tag was given twice");
        if submitted.delivered {
            record.delivered.insert(submitted.tag.0);
        } else {
            record.queued.push_back(submitted.tag);
        }
    }

    fn receive(&mut self) {
        let expected = self.deliverable();
        let Some(sqe) = self.world.receive(QUEUE_ORDINARY) else {
            assert!(!expected);
            return;
        };
        if sqe.opcode == Opcode::Cancel as u8 {
            assert!(self.cancels.remove(&sqe.tag), "a request was cancelled that was not, or twice");
            return;
        }
        let served = self.clients.iter().position(|client| client.queued.front() == Some(&Tag(sqe.tag)));
        let served = served.expect("a message is the oldest of its client");
        assert!(self.clients[served].servable(), "a client at its cap was served");
        for (n, client) in self.clients.iter_mut().enumerate() {
            client.passed = if n == served || !client.servable() { 0 } else { client.passed + 1 };
            assert!(client.passed < CLIENTS, "client {n} was passed over by everybody and again");
        }
        let client = &mut self.clients[served];
        client.queued.pop_front();
        client.delivered.insert(sqe.tag);
    }

    fn answer(&mut self, tag: u32, plain: bool) {
        let cqe = regular_cqe(Tag(tag), 5);
        let waiter = self.waiters.remove(&tag).expect("the model knows the tag");
        let killed = self.orphans.remove(&tag);
        let answered = plain.then(|| self.world.pager.answer_request(self.world.socket, &cqe)).flatten();
        if let Some(answered) = answered {
            assert!(!killed && answered.waiter == waiter);
        } else {
            self.world.answer(&cqe).unwrap();
            match (self.world.pager.next_event(), killed) {
                (Some(Event::Orphan { .. }), true) => _ = self.cancels.remove(&tag),
                (Some(Event::Wake { waiter: woken, why: Wake::Answer(_) }), false) => assert_eq!(woken, waiter),
                (event, _) => panic!("{event:?}"),
            }
        }
        assert_eq!(self.world.answer(&cqe), Err(PagerError::NoSuchTag), "a second answer");
    }

    fn kill(&mut self, nth: usize) {
        let known: Vec<_> = self.waiters.iter().filter(|(tag, _)| !self.orphans.contains(tag)).collect();
        if known.is_empty() {
            return;
        }
        let (&tag, &waiter) = known[nth % known.len()];
        let mut revoked = Revoked::new();
        self.world.pager.detach(Tag(tag), waiter, &mut revoked);
        assert!(revoked.is_empty());
        for client in &mut self.clients {
            if client.delivered.contains(&tag) {
                self.orphans.insert(tag);
                self.cancels.insert(tag);
                return;
            }
            client.queued.retain(|queued| queued.0 != tag);
            client.retrying.remove(&tag);
        }
        self.waiters.remove(&tag);
    }

    /// Everything comes to its end, and every tag is free again.
    fn wind_up(&mut self) {
        for nth in 0..CLIENTS * OUTSTANDING as usize {
            self.run(Action::Requeue { nth });
        }
        for nth in 0..10 * CLIENTS * OUTSTANDING as usize {
            self.run(Action::Receive);
            self.run(Action::Answer { nth, plain: false });
        }
        assert!(self.waiters.is_empty() && self.orphans.is_empty() && self.cancels.is_empty());
        for client in 0..CLIENTS {
            for _ in 0..OUTSTANDING {
                self.submit(client, false);
            }
            assert_eq!(self.clients[client].outstanding(), OUTSTANDING as usize, "tags were lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_taken_in_turn_and_answered_once(actions in proptest::collection::vec(action(), 1..200)) {
        let mut model = Model::new();
        for action in actions {
            model.run(action);
        }
        model.wind_up();
    }
}
