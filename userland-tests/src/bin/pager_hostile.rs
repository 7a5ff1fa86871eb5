//! A program that makes system calls at random must not hurt the kernel: whatever it asks for gets a
//! value or an errno, it can be ended at any time, and what it held comes back.
//!
//! Children call with numbers, descriptors, addresses and lengths of every wrong kind, some of them
//! as servers of schemes of their own, and are killed in the middle. Afterwards a new process works,
//! and the kernel's memory is what it was.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use alloc::string::String;
    use userland_tests::prelude::*;
    use userland_tests::random::Random;
    use userland_tests::user_rt::syscall::data::{GlobalSchemes, NewFdParams};
    use userland_tests::user_rt::syscall::flag::UPPER_FDTBL_TAG;
    use userland_tests::user_rt::syscall::number::*;
    use userland_tests::user_rt::{first_process::USER_END, kernel_scheme, memory, syscall};

    const CHILDREN: u64 = 60;
    const CALLS: usize = 3000;
    const ROUNDS: usize = 3;
    /// Frames that a round may keep: tables and buffers that have grown to what is needed.
    const SLACK_FRAMES: usize = 64;
    /// Bytes of the kernel's heap that a round may keep, likewise.
    const SLACK_HEAP: usize = 64 << 10;

    pub fn run() -> Outcome {
        // The first round grows what grows once.
        round(0)?;
        let before = Memory::read()?;
        for seed in 1..ROUNDS as u64 {
            round(seed)?;
        }
        check_eq!(sys::fork(|| 7)?.wait()?, Ended::Exited(7), "a process afterwards");
        let after = Memory::read()?;
        check!(
            before.free_frames.saturating_sub(after.free_frames) <= SLACK_FRAMES,
            "{} frames were free, {} are",
            before.free_frames,
            after.free_frames
        );
        check!(
            after.heap_used.saturating_sub(before.heap_used) <= SLACK_HEAP,
            "{} bytes of the kernel's heap were used, {} are",
            before.heap_used,
            after.heap_used
        );
        note!("{} processes made up to {CALLS} calls each at random", ROUNDS as u64 * CHILDREN);
        Ok(())
    }

    fn round(seed: u64) -> Outcome {
        let mut children = Vec::new();
        for child in 0..CHILDREN {
            children.push(sys::fork(move || hostile(seed * CHILDREN + child))?);
            if children.len() == 4 {
                end(&mut children)?;
            }
        }
        end(&mut children)
    }

    /// Some have ended by then, of themselves or by a fault; the others wait for ever or go on.
    fn end(children: &mut Vec<sys::Child>) -> Outcome {
        for _ in 0..2000 {
            sys::yield_now();
        }
        for child in children.drain(..) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Calls at random until something ends it.
    fn hostile(seed: u64) -> i32 {
        let mut random = Random::new(seed + 1);
        let buffer = memory::map_anonymous(8 * PAGE, memory::Sharing::Private).map_or(0, |at| at.as_ptr() as usize);
        make_server(&mut random);
        for _ in 0..CALLS {
            let number = *random.pick(&NUMBERS);
            let mut args: [usize; 6] = core::array::from_fn(|_| argument(&mut random, buffer));
            args[0] = first_argument(&mut random, number, args[0]);
            // SAFETY: none is promised: this process is lost whatever happens to its memory.
            let _ = unsafe { syscall::syscall6(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
        }
        0
    }

    /// A scheme of its own: its files, opened by itself, are calls that nobody answers, or it does at random.
    fn make_server(random: &mut Random) {
        let _ = syscall::dup_into(UPPER_FDTBL_TAG | 0x10, 40, b"create-scheme");
        let params = NewFdParams { number: 1, offset: 0, flags: syscall::flag::O_RDWR, internal_flags: 1 };
        let mut bytes = [0; size_of::<NewFdParams>()];
        bytes[core::mem::offset_of!(NewFdParams, number)] = params.number as u8;
        bytes[core::mem::offset_of!(NewFdParams, internal_flags)] = params.internal_flags;
        let _ = syscall::dup_into(40, 41, &bytes);
        if random.below(2) == 0 {
            let _ = syscall::call_rw(40, &mut [], syscall::CallFlags::empty(), &[0x5047_0000]);
        }
    }

    const PAGE: usize = 4096;

    const NUMBERS: [usize; 30] = [
        SYS_OPENAT_INTO,
        SYS_UNLINKAT,
        SYS_CLOSE,
        SYS_DUP_INTO,
        SYS_DUP_INTO,
        SYS_DUP2,
        SYS_READ,
        SYS_READ2,
        SYS_WRITE,
        SYS_WRITE2,
        SYS_LSEEK,
        SYS_FCHOWN,
        SYS_FCNTL,
        SYS_FEVENT,
        SYS_CALL,
        SYS_CALL,
        SYS_FMAP,
        SYS_FMAP,
        SYS_FUNMAP,
        SYS_MREMAP,
        SYS_MREMAP,
        SYS_FLINK,
        SYS_FPATH,
        SYS_FRENAME,
        SYS_FSTAT,
        SYS_FSYNC,
        SYS_MPROTECT,
        SYS_MPROTECT,
        SYS_FUTEX,
        0xdead_beef,
    ];

    /// Descriptors for the most part; never the console, which would be flooded.
    fn first_argument(random: &mut Random, number: usize, other: usize) -> usize {
        const MEMORY: [usize; 5] = [SYS_FUNMAP, SYS_MREMAP, SYS_MPROTECT, SYS_FUTEX, 0xdead_beef];
        if MEMORY.contains(&number) {
            return other;
        }
        let kernel = *random.pick(&[
            GlobalSchemes::Memory,
            GlobalSchemes::Irq,
            GlobalSchemes::Time,
            GlobalSchemes::Proc,
            GlobalSchemes::Event,
        ]);
        let choices = [
            kernel_scheme::root(kernel).0,
            40,
            41,
            16 + random.below(40) as usize,
            UPPER_FDTBL_TAG | 0x10,
            UPPER_FDTBL_TAG | random.below(40) as usize,
            usize::MAX,
        ];
        match *random.pick(&choices) {
            // The debug and sys schemes: text would flood the console, and power off is not refused.
            fd if fd == UPPER_FDTBL_TAG | 1 || fd == UPPER_FDTBL_TAG | 8 => 41,
            fd => fd,
        }
    }

    fn argument(random: &mut Random, buffer: usize) -> usize {
        let wild = random.any() as usize;
        let small = random.below(64) as usize;
        let pages = random.below(40) as usize * PAGE;
        let choices = [
            0,
            1,
            small,
            16 + small,
            pages,
            buffer,
            buffer + small,
            buffer + pages,
            buffer + 8 * PAGE - small,
            USER_END,
            USER_END - PAGE,
            USER_END - small,
            usize::MAX,
            usize::MAX - small,
            1 << 63,
            0xffff_8000_0000_0000,
            wild,
            wild & 0x7fff_ffff_f000,
            wild & 0xffff,
            1 << (wild & 63),
        ];
        *random.pick(&choices)
    }

    struct Memory {
        free_frames: usize,
        heap_used: usize,
    }

    impl Memory {
        fn read() -> Result<Self, Failure> {
            let file = kernel_scheme::open(GlobalSchemes::Sys, "memory", 0)?;
            let mut bytes = [0; 512];
            let count = file.fd().read(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            let value = |name: &str| {
                let words = text.lines().filter_map(|line| line.split_once(' '));
                words.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
            };
            let (Some(free_frames), Some(heap_used)) = (value("free_frames"), value("heap_used")) else {
                check!(false, "the kernel tells {text:?} of its memory");
                return Ok(Self { free_frames: 0, heap_used: 0 });
            };
            Ok(Self { free_frames, heap_used })
        }
    }
}
