//! A read finds no granule half written, also while another thread writes it.

mod common;

use common::{Rig, open};
use linux::testing::in_parallel;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LEN: usize = 16 * 4096;

#[test]
fn granules_are_whole_while_they_are_overwritten() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, &vec![0; LEN]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = rig.client();
    let reader = rig.client();
    let stopped = stop.clone();
    let bodies: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || {
            for turn in 1u32.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                assert_eq!(writer.write(file, 0, &vec![turn as u8; LEN]), Ok(LEN));
            }
        }),
        Box::new(move || {
            let torn = (0..3000).find(|_| {
                let seen = reader.read(file, 0, LEN).unwrap();
                !seen.chunks(512).all(|granule| granule.iter().all(|&byte| byte == granule[0]))
            });
            stop.store(true, Ordering::Relaxed);
            assert_eq!(torn, None, "the number of the read that found a torn granule");
        }),
    ];
    in_parallel(bodies);
}
