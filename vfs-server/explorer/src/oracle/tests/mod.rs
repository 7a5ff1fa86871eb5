//! Tests of the history checker.

mod by_hand;
mod random;

use super::*;

pub(super) const FILE: FileId = FileId(0);

/// A history under construction, with the shortest names that still read.
#[derive(Default)]
pub(super) struct Script {
    pub history: History,
    pub rules: Rules,
}

impl Script {
    pub fn write(&mut self, client: u8, offset: u64, len: u64) -> (OperationId, Stamp) {
        let stamp = self.history.stamp().unwrap();
        (self.history.begin(client, FILE, Call::Write { offset, len, data: Data::of(stamp) }), stamp)
    }

    pub fn append(&mut self, client: u8, len: u64) -> (OperationId, Stamp) {
        let stamp = self.history.stamp().unwrap();
        (self.history.begin(client, FILE, Call::Append { len, data: Data::of(stamp) }), stamp)
    }

    pub fn store(&mut self, client: u8, offset: u64, len: u64) -> (OperationId, Stamp) {
        let stamp = self.history.stamp().unwrap();
        (self.history.begin(client, FILE, Call::Store { offset, len, data: Data::of(stamp) }), stamp)
    }

    pub fn begin(&mut self, client: u8, call: Call) -> OperationId {
        self.history.begin(client, FILE, call)
    }

    pub fn done(&mut self, id: OperationId) {
        self.history.end(id, Outcome::Done);
    }

    pub fn count(&mut self, id: OperationId, count: u64) {
        self.history.end(id, Outcome::Count(count));
    }

    pub fn bytes(&mut self, id: OperationId, bytes: &[&[u8]]) {
        self.history.end(id, Outcome::Bytes(bytes.concat()));
    }

    /// A write with nothing beside it.
    pub fn written(&mut self, client: u8, offset: u64, len: u64) -> Stamp {
        let (id, stamp) = self.write(client, offset, len);
        self.count(id, len);
        stamp
    }

    /// An append with nothing beside it.
    pub fn appended(&mut self, client: u8, len: u64) -> Stamp {
        let (id, stamp) = self.append(client, len);
        self.count(id, len);
        stamp
    }

    pub fn truncated(&mut self, client: u8, size: u64) {
        let id = self.begin(client, Call::Truncate { size });
        self.done(id);
    }

    pub fn end(&mut self, bytes: &[&[u8]]) {
        self.history.settle(FILE, bytes.concat());
    }

    #[track_caller]
    pub fn is_fine(&self) {
        if let Err(violation) = check(&self.history, &self.rules) {
            panic!("{violation}");
        }
    }

    #[track_caller]
    pub fn is_wrong(&self, kind: Kind) -> String {
        let violation = check(&self.history, &self.rules).expect_err("a wrong history was accepted");
        assert_eq!(violation.kind, kind, "{violation}");
        violation.to_string()
    }
}

/// Bytes `from..to` of an operation's data.
pub(super) fn part(stamp: Stamp, from: usize, to: usize) -> Vec<u8> {
    stamp.data(to)[from..].to_vec()
}
