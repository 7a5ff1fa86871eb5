//! A write is atomic to other writes, also when its buffer comes page by page.

mod common;

use common::{Rig, open, small};
use linux::testing::in_parallel;
use pager_abi::server_verb::ServerVerb;
use pager_core::{Rights, Sharing};

const PAGES: u64 = 40;
const LEN: usize = PAGES as usize * 4096 - 300;

#[test]
fn writes_from_pages_that_are_not_there_do_not_mix() {
    let rig = Rig::start(4096, 4096, small());
    let client = rig.client();
    let sources = ["a", "b"].map(|name| {
        let source = open(&client, name);
        client.write(source, 0, &vec![name.as_bytes()[0]; LEN]).unwrap();
        client.fsync(source).unwrap();
        source
    });
    let target = open(&client, "target");
    for turn in 0..40 {
        rig.drop_caches(&client);
        let bodies = sources.map(|source| {
            let client = rig.client();
            Box::new(move || {
                // Nothing of the mapping is there yet: the kernel brings in what it needs, while the
                // other side's pages are being thrown out.
                let mapping = client.map(source, 0, PAGES, Rights::READ, Sharing::Shared).unwrap();
                let at = mapping.address + turn % 7;
                assert_eq!(client.write_memory(target, 100, at, LEN as u64 - 7), Ok(LEN - 7));
                client.unmap(mapping);
            }) as Box<dyn FnOnce() + Send>
        });
        let dropper = rig.client();
        let drops = Box::new(move || {
            for _ in 0..10 {
                dropper.call(0, [ServerVerb::DropCaches as u64, 0, 0], 0).unwrap();
            }
        });
        let mut bodies = Vec::from(bodies);
        bodies.push(drops);
        in_parallel(bodies);
        let seen = client.read(target, 100, LEN - 7).unwrap();
        assert!(seen.iter().all(|&byte| byte == seen[0]), "turn {turn}: two writes are mixed");
    }
    assert!(rig.counter(&client, "retries") > 0, "the test must make requests go round");
}
