//! Makes a told run of what the runtime sees in a verbose replay.
//!
//! Owns: the names of objects, and turning what is so (locks held, folio states) into changes. Does
//! not own: when it is called; the runtime does that at every switch point, outside the arena.

use super::told::{
    Broken, Event, FolioId, FolioState, Lane, LaneId, Lock, LockId, Switch, Target, Title, ToldRun, What,
};
use std::collections::HashMap;

/// Names of locks, folios and inodes that a scenario gives while it is set up.
#[derive(Clone, Debug, Default)]
pub struct Names {
    objects: HashMap<usize, String>,
    aliases: Vec<(String, String)>,
}

impl Names {
    /// A lock's name: "inode lock of inode 12".
    pub fn name_object(&mut self, object: usize, words: &str) {
        self.objects.insert(object, words.to_owned());
    }

    /// Lets every "inode 12" be told as "/a".
    pub fn alias(&mut self, from: &str, to: &str) {
        self.aliases.push((from.to_owned(), to.to_owned()));
    }

    /// `words` with names for addresses: "inode lock 0x7f00" becomes "inode lock of inode 12".
    fn name_addresses(&self, words: &str) -> String {
        let mut named = String::new();
        let mut rest = words;
        while let Some(at) = rest.find("0x") {
            let digits = rest[at + 2..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - at - 2);
            let end = at + 2 + digits;
            let object = usize::from_str_radix(&rest[at + 2..end], 16).ok();
            match object.and_then(|object| self.objects.get(&object)) {
                Some(name) => {
                    // The class stands before the address, and is the beginning of most names.
                    let before = rest[..at].trim_end();
                    let class = name.split(" of ").next().unwrap_or_default();
                    named.push_str(before.strip_suffix(class).unwrap_or(&rest[..at]));
                    named.push_str(name);
                }
                None => named.push_str(&rest[..end]),
            }
            rest = &rest[end..];
        }
        named + rest
    }

    /// `words` with every alias put in; "inode 1" is not found in "inode 12".
    fn apply(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for (from, to) in &self.aliases {
            let mut start = 0;
            while let Some(found) = words[start..].find(from.as_str()).map(|found| found + start) {
                let end = found + from.len();
                if words[end..].starts_with(|next: char| next.is_ascii_alphanumeric()) {
                    start = end;
                } else {
                    words.replace_range(found..end, to);
                    start = found + to.len();
                }
            }
        }
        words
    }
}

/// A lock as the lock-order checker knows it: the name of its class, its address.
pub type HeldLock = (&'static str, usize);

/// Collects one run.
#[derive(Debug)]
pub struct Recorder {
    run: ToldRun,
    names: Names,
    step: u32,
    /// By lane.
    held: Vec<Vec<HeldLock>>,
    locks: HashMap<usize, LockId>,
    folios: Vec<Option<FolioState>>,
}

impl Recorder {
    /// Nothing recorded yet.
    pub fn new(title: Title, names: Names) -> Self {
        Self {
            run: ToldRun { title, ..ToldRun::default() },
            names,
            step: 0,
            held: Vec::new(),
            locks: HashMap::new(),
            folios: Vec::new(),
        }
    }

    /// A task that will be told of.
    pub fn add_lane(&mut self, name: &str, role: &str) -> LaneId {
        self.run.lanes.push(Lane { name: name.to_owned(), role: role.to_owned() });
        self.held.push(Vec::new());
        LaneId(self.run.lanes.len() - 1)
    }

    /// Names and aliases that were found while the run went on.
    pub fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    /// What follows belongs to step `step`.
    pub fn at_step(&mut self, step: u32) {
        self.step = step;
    }

    /// From step `step` on `lane` runs.
    pub fn decide(&mut self, step: u32, lane: LaneId, switch: Switch) {
        self.step = step;
        self.run.preemptions += usize::from(switch == Switch::Preempts);
        self.push(lane, What::Runs(switch));
    }

    /// An operation begins: "write(/a, [6,10))".
    pub fn begin(&mut self, lane: LaneId, words: &str) {
        let words = self.names.apply(words);
        self.push(lane, What::Begins(words));
    }

    /// The innermost operation ends with a result.
    pub fn end(&mut self, lane: LaneId, words: &str) {
        let words = self.names.apply(words);
        self.push(lane, What::Ends(words));
    }

    /// A step in file-system words.
    pub fn tell(&mut self, lane: LaneId, words: &str) {
        let words = self.names.apply(words);
        self.push(lane, What::Tells(words));
    }

    /// `worker` serves a request of `client` from now on, or none.
    pub fn serves(&mut self, worker: LaneId, client: Option<LaneId>) {
        self.push(worker, What::Serves(client));
    }

    /// The locks that `lane` holds now.
    pub fn held(&mut self, lane: LaneId, now: &[HeldLock]) {
        let before = std::mem::take(&mut self.held[lane.0]);
        for lock in missing(&before, now) {
            let id = self.lock(lock);
            self.push(lane, What::Releases(id));
        }
        for lock in missing(now, &before) {
            let id = self.lock(lock);
            self.push(lane, What::Acquires(id));
        }
        self.held[lane.0] = now.to_vec();
    }

    /// `lane` waits for a lock.
    pub fn waits_for_lock(&mut self, lane: LaneId, lock: HeldLock, holder: Option<LaneId>) {
        let target = Target::Lock(self.lock(lock));
        self.waits(lane, target, holder);
    }

    /// `lane` waits for something that is no lock: "writeback of inode 12".
    pub fn waits_for_event(&mut self, lane: LaneId, words: &str, holder: Option<LaneId>) {
        let target = Target::Event(self.names.apply(words));
        self.waits(lane, target, holder);
    }

    /// A choice among `of` alternatives; the ordinary one, 0, is not told.
    pub fn chosen(&mut self, lane: LaneId, site: &str, value: u32, of: u32) {
        if value != 0 {
            self.push(lane, What::Chooses { site: site.to_owned(), value, of });
        }
    }

    /// The state of a folio is this now; `None`: it is not in the cache.
    pub fn folio(&mut self, lane: LaneId, name: &str, state: Option<FolioState>) {
        let name = self.names.apply(name);
        let index = self.run.folios.iter().position(|each| *each == name).unwrap_or_else(|| {
            self.run.folios.push(name);
            self.folios.push(None);
            self.folios.len() - 1
        });
        if self.folios[index] != state {
            self.folios[index] = state;
            self.push(lane, What::Folio(FolioId(index), state));
        }
    }

    /// `lane` brings everything to rest from now on.
    pub fn rests(&mut self, lane: LaneId) {
        self.push(lane, What::Rests);
    }

    /// The whole run.
    pub fn finish(mut self, broken: Option<Broken>) -> ToldRun {
        let words = |line: &String| self.names.apply(&self.names.name_addresses(line));
        self.run.broken = broken.map(|broken| Broken {
            summary: words(&broken.summary),
            details: broken.details.iter().map(words).collect(),
            ..broken
        });
        self.number_unnamed_locks();
        self.run
    }

    fn push(&mut self, lane: LaneId, what: What) {
        self.run.events.push(Event { step: self.step, lane, what });
    }

    /// Tells a wait once, however often the task looks again.
    fn waits(&mut self, lane: LaneId, target: Target, holder: Option<LaneId>) {
        let what = What::Waits { target, holder };
        let last =
            self.run.events.iter().rev().find(|event| event.lane == lane && !matches!(event.what, What::Runs(_)));
        if last.is_none_or(|last| last.what != what) {
            self.push(lane, what);
        }
    }

    fn lock(&mut self, (class, object): HeldLock) -> LockId {
        if let Some(id) = self.locks.get(&object) {
            return *id;
        }
        let name = match self.names.objects.get(&object) {
            Some(words) => self.names.apply(words),
            None => String::new(),
        };
        let id = LockId(self.run.locks.len());
        self.run.locks.push(Lock { name, class: class.to_owned() });
        self.locks.insert(object, id);
        id
    }

    /// A lock without a name is "the allocator" if there is one of its class, else "allocator #2".
    fn number_unnamed_locks(&mut self) {
        let classes: Vec<_> = self.run.locks.iter().map(|lock| lock.class.clone()).collect();
        for (index, lock) in self.run.locks.iter_mut().enumerate().filter(|(_, lock)| lock.name.is_empty()) {
            let alike = |classes: &[String]| classes.iter().filter(|class| **class == lock.class).count();
            lock.name = match alike(&classes) {
                1 => lock.class.clone(),
                _ => format!("{} #{}", lock.class, alike(&classes[..=index])),
            };
        }
    }
}

/// What of `these` is not among `those`, each as often as it is missing.
fn missing(these: &[HeldLock], those: &[HeldLock]) -> Vec<HeldLock> {
    let mut rest = those.to_vec();
    let mut missing = Vec::new();
    for lock in these {
        match rest.iter().position(|each| each == lock) {
            Some(found) => drop(rest.swap_remove(found)),
            None => missing.push(*lock),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> (Recorder, LaneId) {
        let mut names = Names::default();
        names.name_object(0x10, "inode lock of inode 1");
        names.name_object(0x20, "inode lock of inode 12");
        names.alias("inode 1", "/a");
        let mut recorder = Recorder::new(Title::default(), names);
        let lane = recorder.add_lane("client 1", "");
        (recorder, lane)
    }

    fn whats(run: &ToldRun) -> Vec<&What> {
        run.events.iter().map(|event| &event.what).collect()
    }

    #[test]
    fn snapshots_of_held_locks_become_acquisitions_and_releases() {
        let (mut recorder, lane) = recorder();
        recorder.held(lane, &[("inode lock", 0x10)]);
        recorder.held(lane, &[("inode lock", 0x10), ("folio lock", 0x30)]);
        recorder.held(lane, &[("folio lock", 0x30)]);
        recorder.held(lane, &[("folio lock", 0x30)]);
        recorder.held(lane, &[]);
        let run = recorder.finish(None);
        let expected = [
            What::Acquires(LockId(0)),
            What::Acquires(LockId(1)),
            What::Releases(LockId(0)),
            What::Releases(LockId(1)),
        ];
        assert_eq!(whats(&run), expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn locks_are_named_by_their_object_and_by_number_without_one() {
        let (mut recorder, lane) = recorder();
        recorder.held(lane, &[("inode lock", 0x10), ("inode lock", 0x20), ("folio lock", 0x30), ("folio lock", 0x40)]);
        recorder.held(lane, &[("allocator", 0x50)]);
        let run = recorder.finish(None);
        let names: Vec<_> = run.locks.iter().map(|lock| lock.name.as_str()).collect();
        assert_eq!(
            names,
            ["inode lock of /a", "inode lock of inode 12", "folio lock #1", "folio lock #2", "allocator"]
        );
    }

    #[test]
    fn an_address_in_a_message_gets_its_name() {
        let (recorder, _) = recorder();
        let words = recorder.names.name_addresses("it waits for inode lock 0x10, and for leaf 0x99 at 0x20");
        assert_eq!(words, "it waits for inode lock of inode 1, and for leaf 0x99 at inode lock of inode 12");
    }

    #[test]
    fn an_alias_replaces_whole_names_only() {
        let (recorder, _) = recorder();
        assert_eq!(recorder.names.apply("inode 1, inode 12, inode 1"), "/a, inode 12, /a");
    }

    #[test]
    fn a_wait_is_told_once_however_often_the_task_looks_again() {
        let (mut recorder, lane) = recorder();
        recorder.waits_for_lock(lane, ("inode lock", 0x10), None);
        recorder.decide(2, lane, Switch::Takes);
        recorder.waits_for_lock(lane, ("inode lock", 0x10), None);
        recorder.decide(3, lane, Switch::Takes);
        recorder.held(lane, &[("inode lock", 0x10)]);
        let run = recorder.finish(None);
        let waits = run.events.iter().filter(|event| matches!(event.what, What::Waits { .. })).count();
        assert_eq!(waits, 1);
    }

    #[test]
    fn only_changes_of_folios_are_told() {
        let (mut recorder, lane) = recorder();
        let dirty = FolioState { uptodate: true, dirty: true, ..FolioState::default() };
        for state in [Some(dirty), Some(dirty), None, None] {
            recorder.folio(lane, "folio 0 of inode 1", state);
        }
        let run = recorder.finish(None);
        assert_eq!(run.folios, ["folio 0 of /a"]);
        assert_eq!(whats(&run), [&What::Folio(FolioId(0), Some(dirty)), &What::Folio(FolioId(0), None)]);
    }

    #[test]
    fn the_ordinary_choice_is_not_told() {
        let (mut recorder, lane) = recorder();
        recorder.chosen(lane, "allocate a block", 0, 2);
        recorder.chosen(lane, "allocate a block", 1, 2);
        assert_eq!(recorder.finish(None).events.len(), 1);
    }
}
