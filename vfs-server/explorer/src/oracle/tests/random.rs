//! Histories of a byte-by-byte file with random legal delays are accepted; with one granule changed they are not;
//! and the search agrees with a brute-force one that has neither its order nor its memory.

use super::super::contents::{Applied, Contents};
use super::super::search::{Found, search};
use super::super::steps::{Duty, Plan};
use super::*;
use proptest::prelude::*;

/// What a client will do; sizes are in granules of the checker or not, as it comes.
#[derive(Clone, Debug)]
enum Intent {
    Write(u64, u64),
    Append(u64),
    Truncate(u64),
    Zero(u64, u64),
    Read(u64, u64),
    Store(u64),
    Load(u64),
    Size,
}

fn intent() -> impl Strategy<Value = Intent> {
    prop_oneof![
        3 => (0..3000u64, 1..2500u64).prop_map(|(offset, len)| Intent::Write(offset, len)),
        2 => (1..1500u64).prop_map(Intent::Append),
        2 => (0..5000u64).prop_map(Intent::Truncate),
        1 => (0..3000u64, 1..2000u64).prop_map(|(offset, len)| Intent::Zero(offset, len)),
        3 => (0..3000u64, 1..4000u64).prop_map(|(offset, len)| Intent::Read(offset, len)),
        1 => (0..500u64).prop_map(|word| Intent::Store(word * 8)),
        1 => (0..500u64).prop_map(|word| Intent::Load(word * 8)),
        1 => Just(Intent::Size),
    ]
}

/// Two to three clients with a few intents each, and the choices of a scheduler.
fn program() -> impl Strategy<Value = (Vec<Vec<Intent>>, Vec<u8>)> {
    (prop::collection::vec(prop::collection::vec(intent(), 1..5), 2..4), prop::collection::vec(any::<u8>(), 300))
}

/// A file as plain bytes.
#[derive(Default)]
struct PlainFile(Vec<u8>);

impl PlainFile {
    fn put(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset as usize + bytes.len();
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0[offset as usize..end].copy_from_slice(bytes);
    }
}

/// An operation on its way: what is still to be done at points of its own.
struct UnderWay {
    id: OperationId,
    intent: Intent,
    stamp: Option<Stamp>,
    /// Bytes of a read so far, and its length.
    read: Vec<u8>,
    length: Option<u64>,
    finished: Option<Outcome>,
}

/// Runs the clients on one plain file, one point at a time.
fn run(clients: &[Vec<Intent>], choices: &[u8]) -> Script {
    let mut script = Script::default();
    let mut file = PlainFile::default();
    let mut next = vec![0; clients.len()];
    let mut under_way: Vec<Option<UnderWay>> = clients.iter().map(|_| None).collect();
    let mut choices = choices.iter().copied().cycle();
    loop {
        let busy: Vec<_> = (0..clients.len())
            .filter(|&client| under_way[client].is_some() || next[client] < clients[client].len())
            .collect();
        if busy.is_empty() {
            break;
        }
        let client = busy[choices.next().unwrap_or(0) as usize % busy.len()];
        match under_way[client].take() {
            None => {
                under_way[client] = Some(begin(&mut script, client as u8, clients[client][next[client]].clone()));
                next[client] += 1;
            }
            Some(UnderWay { id, finished: Some(outcome), .. }) => script.history.end(id, outcome),
            Some(mut operation) => {
                point(&mut operation, &mut file);
                under_way[client] = Some(operation);
            }
        }
    }
    script.history.settle(FILE, file.0);
    script
}

fn begin(script: &mut Script, client: u8, intent: Intent) -> UnderWay {
    let with_data = |(id, stamp)| (id, Some(stamp));
    let (id, stamp) = match intent {
        Intent::Write(offset, len) => with_data(script.write(client, offset, len)),
        Intent::Append(len) => with_data(script.append(client, len)),
        Intent::Store(offset) => with_data(script.store(client, offset, 8)),
        Intent::Truncate(size) => (script.begin(client, Call::Truncate { size }), None),
        Intent::Zero(offset, len) => (script.begin(client, Call::Zero { offset, len, size: Sizing::Kept }), None),
        Intent::Read(offset, len) => (script.begin(client, Call::Read { offset, len }), None),
        Intent::Load(offset) => (script.begin(client, Call::Load { offset, len: 8 }), None),
        Intent::Size => (script.begin(client, Call::Size), None),
    };
    UnderWay { id, intent, stamp, read: Vec::new(), length: None, finished: None }
}

/// One point of an operation.
fn point(operation: &mut UnderWay, file: &mut PlainFile) {
    let data = |len: u64| operation.stamp.map_or(Vec::new(), |stamp| stamp.data(len as usize));
    let size = file.0.len() as u64;
    operation.finished = Some(match operation.intent {
        Intent::Write(offset, len) => {
            file.put(offset, &data(len));
            Outcome::Count(len)
        }
        Intent::Append(len) => {
            file.put(size, &data(len));
            Outcome::Count(len)
        }
        Intent::Truncate(to) => {
            file.0.resize(to as usize, 0);
            Outcome::Done
        }
        Intent::Zero(offset, len) => {
            let end = (offset + len).min(size);
            if offset < end {
                file.0[offset as usize..end as usize].fill(0);
            }
            Outcome::Done
        }
        Intent::Store(offset) if offset >= size.next_multiple_of(4096) => Outcome::Failed(Rules::default().past_end),
        Intent::Store(offset) => {
            let end = (offset + 8).min(size);
            if offset < end {
                file.put(offset, &data(end - offset));
            }
            Outcome::Done
        }
        Intent::Load(offset) if offset >= size.next_multiple_of(4096) => Outcome::Failed(Rules::default().past_end),
        Intent::Load(offset) => Outcome::Bytes((offset..offset + 8).map(|at| byte(file, at)).collect()),
        Intent::Size => Outcome::Count(size),
        Intent::Read(offset, len) => match operation.length {
            None => {
                operation.length = Some(size.saturating_sub(offset).min(len));
                return;
            }
            Some(length) if operation.read.len() as u64 == length => Outcome::Bytes(operation.read.clone()),
            Some(length) => {
                let at = offset + operation.read.len() as u64;
                let end = (at + 1).next_multiple_of(512).min(offset + length);
                operation.read.extend((at..end).map(|at| byte(file, at)));
                return;
            }
        },
    });
}

fn byte(file: &PlainFile, at: u64) -> u8 {
    file.0.get(at as usize).copied().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn legal_delays_are_accepted((clients, choices) in program()) {
        run(&clients, &choices).is_fine();
    }

    #[test]
    fn one_changed_granule_is_rejected((clients, choices) in program(), which in any::<prop::sample::Index>()) {
        let mut script = run(&clients, &choices);
        // A byte of which another index is claimed: no operation has ever stored it there.
        let settled = OperationId(script.history.operations().len() - 1);
        let Some(Outcome::Bytes(bytes)) = &script.history.operation(settled).outcome else { panic!("no end") };
        // Of a byte or two, another append of the same client could be the owner.
        let stored: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] != 0 && bytes.len() > 16).collect();
        prop_assume!(!stored.is_empty());
        let mut bytes = bytes.clone();
        bytes[stored[which.index(stored.len())]] ^= 0xff;
        script.history.end(settled, Outcome::Bytes(bytes));
        prop_assert!(check(&script.history, &script.rules).is_err());
    }

    #[test]
    fn the_search_agrees_with_brute_force(history in small_history()) {
        let plan = Plan::new(&history, FILE, &Rules::default(), |_| true);
        prop_assume!(plan.steps.len() + plan.sights.len() <= 9);
        let found = search(&plan, &mut Contents::default());
        prop_assert_eq!(found == Found::Order, brute_force(&plan));
    }
}

/// Up to three changes and three looks at one or two granules, with any times and any plausible answers: about half
/// of them can be explained.
fn small_history() -> impl Strategy<Value = History> {
    let operation = (0..6u8, 0..2u64, 1..=2u64, 0..4u8, any::<bool>());
    let order = prop::collection::vec(any::<u8>(), 12);
    (prop::collection::vec(operation, 2..6), order).prop_map(|(operations, order)| {
        let mut history = History::new();
        let mut open: Vec<(OperationId, Outcome)> = Vec::new();
        let mut stamps = Vec::new();
        for (index, &(kind, granule, granules, pick, failed)) in operations.iter().enumerate() {
            let (offset, len) = (granule * 512, granules * 512);
            let (call, outcome) = match kind {
                0 | 1 => {
                    let stamp = history.stamp().unwrap();
                    stamps.push(stamp);
                    let outcome = if failed && pick == 0 { Outcome::Failed(5) } else { Outcome::Count(len) };
                    (Call::Write { offset, len, data: Data::of(stamp) }, outcome)
                }
                2 => (Call::Truncate { size: offset }, Outcome::Done),
                3 => (Call::Size, Outcome::Count(u64::from(pick) * 512)),
                _ => {
                    // A granule of somebody's write at the place where it would be, or zero.
                    let bytes = match stamps.get(pick as usize) {
                        Some(stamp) => stamp.data(1024)[..512].to_vec(),
                        None => vec![0; 512],
                    };
                    (Call::Read { offset, len: 512 }, Outcome::Bytes(bytes))
                }
            };
            let id = history.begin(index as u8, FILE, call);
            open.push((id, outcome));
            // Some of those that are open end now.
            while !open.is_empty() && order[(2 * index + open.len()) % order.len()] % 3 == 0 {
                let at = order[(index + open.len()) % order.len()] as usize % open.len();
                let (id, outcome) = open.remove(at);
                history.end(id, outcome);
            }
        }
        for (id, outcome) in open {
            history.end(id, outcome);
        }
        history
    })
}

/// All orders of all points; steps that only may happen are also left out.
fn brute_force(plan: &Plan) -> bool {
    let left = (0..plan.steps.len()).map(Point::Step).chain((0..plan.sights.len()).map(Point::Sight)).collect();
    orders(plan, left, &Contents::default())
}

#[derive(Clone, Copy, PartialEq)]
enum Point {
    Step(usize),
    Sight(usize),
}

fn orders(plan: &Plan, left: Vec<Point>, contents: &Contents) -> bool {
    if left.is_empty() {
        return true;
    }
    let times = |point: Point| match point {
        Point::Step(step) => (plan.steps[step].start, plan.steps[step].end),
        Point::Sight(sight) => (plan.sights[sight].start, plan.sights[sight].end),
    };
    left.iter().any(|&point| {
        if left.iter().any(|&other| other != point && times(other).1 < times(point).0) {
            return false;
        }
        let rest = || left.iter().copied().filter(|&other| other != point).collect::<Vec<_>>();
        match point {
            Point::Sight(sight) => plan.is_true(sight, contents) && orders(plan, rest(), contents),
            Point::Step(step) => {
                let mut after = contents.clone();
                let applied = after.apply(&plan.steps[step].change) == Applied::Yes;
                applied && orders(plan, rest(), &after)
                    || plan.steps[step].duty == Duty::May && orders(plan, rest(), contents)
            }
        }
    })
}
