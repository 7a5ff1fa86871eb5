//! Requests that are late are blamed on whom they wait for.

mod common;

use common::{Rig, eventually, open, pattern, small};
use std::sync::atomic::Ordering;
use vfs_server::Config;

#[test]
fn a_late_request_is_noticed_and_goes_on() {
    let rig = Rig::start(4096, 4096, Config { blame_deadline_ns: 1_000_000, ..small() });
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, &pattern(1, 0, 5000)).unwrap();
    rig.disk.hold_writes.store(true, Ordering::SeqCst);
    let syncing = rig.client();
    let sync = std::thread::spawn(move || syncing.fsync(file));
    eventually("a missed deadline", || rig.counter(&client, "missed_deadlines") > 0);
    rig.disk.hold_writes.store(false, Ordering::SeqCst);
    assert_eq!(sync.join().unwrap(), Ok(()));
}
