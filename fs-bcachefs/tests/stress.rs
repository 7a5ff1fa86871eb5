//! Threads on a few files against a plain model, with a small cache and a late disk, by each protocol.

mod common;

use common::{Rig, open, with_each};
use linux::testing::lanes::{FILES, Lanes};

#[test]
fn threads_find_what_they_wrote() {
    with_each(|protocol| {
        let rig = Rig::small(protocol);
        let server = rig.server.clone();
        let lanes = Lanes { threads: 4, size: 128 << 10, rounds: 400 };
        let seen = lanes.run(&rig.machine, move || _ = server.migrate_folios());
        let client = rig.client();
        for (name, seen) in FILES.iter().zip(&seen) {
            let file = open(&client, name);
            client.fsync(file).unwrap();
            rig.drop_caches(&client);
            assert!(client.read(file, 0, seen.len()).unwrap() == *seen, "what the disk has of {name}");
        }
        rig.unmount();
    });
}
