//! Processes and threads by themselves, without a file: how they end is what their waiter sees,
//! shared memory is shared, private memory is copied.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use userland_tests::prelude::*;

userland_tests::test!(run);

fn run() -> Outcome {
    endings()?;
    memory()?;
    threads()?;
    many()
}

fn endings() -> Outcome {
    for code in [0, 1, 77, 101, 255] {
        check_eq!(sys::fork(|| code)?.wait()?, Ended::Exited(code), "exit");
    }
    let memory = Mapping::shared_memory(8192)?;
    memory.protect(4096, 4096, Protection::None)?;
    let child = in_child(|| {
        memory.load(4096);
        Ok(())
    })?;
    check!(matches!(child.wait()?, Ended::Fault { .. }), "a load without rights");
    let child = sys::fork(|| {
        loop {
            sys::yield_now();
        }
    })?;
    child.kill()?;
    check_eq!(child.wait()?, Ended::Killed, "a process that was killed while it runs");
    note!("exit codes, a fault, a kill: the waiter sees which");
    Ok(())
}

fn memory() -> Outcome {
    let shared = Mapping::shared_memory(4096)?;
    let mut private = vec![1u8; 10_000];
    let steps = Steps::new()?;
    let child = in_child(|| {
        private.fill(2);
        shared.store_u64(0, 22);
        steps.set(0, 1);
        steps.wait(1, 1)?;
        check_eq!(shared.load_u64(8), 33, "the parent's store");
        check!(private.iter().all(|&byte| byte == 2), "the child's private memory");
        Ok(())
    })?;
    steps.wait(0, 1)?;
    check_eq!(shared.load_u64(0), 22, "the child's store");
    private[0] = 3;
    shared.store_u64(8, 33);
    steps.set(1, 1);
    child.join()?;
    check!(private[1..].iter().all(|&byte| byte == 1), "the parent's private memory");
    note!("shared memory is shared, private memory is copied");
    Ok(())
}

fn threads() -> Outcome {
    let sum = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (1..=8u64)
        .map(|number| {
            let sum = sum.clone();
            sys::spawn_thread(move || {
                // The heap and the scheduler, under all of them at once.
                let parts: Vec<Vec<u64>> = (0..50).map(|size| vec![number; size]).collect();
                sys::yield_now();
                sum.fetch_add(parts.iter().flatten().sum(), Relaxed);
                number
            })
        })
        .collect::<Result<_, _>>()?;
    let mut results = vec![];
    for thread in threads {
        results.push(thread.join()?);
    }
    check_eq!(results, (1..=8).collect::<Vec<_>>(), "results");
    check_eq!(sum.load(Relaxed), 36 * (0..50).sum::<u64>(), "sum");
    let (sender, receiver) = sys::channel();
    let thread = sys::spawn_thread(move || (0..1000u64).for_each(|number| sender.send(number)))?;
    for number in 0..1000 {
        check_eq!(receiver.receive(), number, "in the queue");
    }
    thread.join()?;
    note!("8 threads with results, and a queue between two");
    Ok(())
}

/// Nothing is left over of processes that have ended.
fn many() -> Outcome {
    for round in 0..100 {
        let children: Vec<_> = (0..4).map(|code| sys::fork(|| code)).collect::<Result<_, _>>()?;
        for (code, child) in children.into_iter().enumerate() {
            check_eq!(child.wait()?, Ended::Exited(code as i32), "round {round}");
        }
    }
    note!("400 processes, four at a time");
    Ok(())
}
