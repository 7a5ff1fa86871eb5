//! Futexes: waiting until a word of memory changes.
//!
//! A word is known by its memory, so that processes that share it meet: private memory by vspace and
//! address (a copy on write moves it to another frame), shared memory by physical address, a page of
//! a file by its mapping object (the page may be evicted and come back elsewhere).

use crate::arch::cpu::Cpu;
use crate::arch::{clock, physmap};
use crate::context::{Context, FaultOrigin, State, Wait};
use crate::kernel::Kernel;
use crate::queue::Queue;
use crate::syscall::Stop;
use crate::time::to_ns;
use crate::vspace::user::UserSlice;
use crate::vspace::{Backing, Rights, Vspace};
use kernel_logic::arena::{Arena, Id};
use pager_abi::fault::Access;
use syscall::PAGE_SIZE;
use syscall::data::TimeSpec;
use syscall::error::{EAGAIN, EFAULT, EINVAL, Error, Result};
use syscall::flag::{FUTEX_WAIT, FUTEX_WAIT64, FUTEX_WAKE};

/// What a word is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Memory of one vspace.
    Private {
        /// Whose.
        vspace: Id<Vspace>,
        /// Where.
        address: usize,
    },
    /// Memory that several share.
    Physical(u64),
    /// A byte of a mapped file.
    File {
        /// The mapping object.
        object: u64,
        /// Byte offset.
        offset: u64,
    },
}

const BUCKETS: usize = 64;

/// All waiters.
pub struct Futexes {
    buckets: [Queue; BUCKETS],
}

impl Futexes {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { buckets: [const { Queue::new() }; BUCKETS] }
    }

    /// `id` waits no longer.
    pub fn remove(&mut self, contexts: &mut Arena<Context>, key: Key, id: Id<Context>) {
        self.buckets[bucket(key)].remove(contexts, id);
    }
}

fn bucket(key: Key) -> usize {
    let mixed = match key {
        Key::Private { vspace, address } => (address as u64).wrapping_add(u64::from(vspace.raw()) << 40),
        Key::Physical(address) => address,
        Key::File { object, offset } => offset.wrapping_add(object << 40),
    };
    // Fibonacci hashing.
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BUCKETS.ilog2())) as usize
}

impl Kernel {
    /// FUTEX. The timeout of a wait is relative, as in Redox.
    pub fn futex(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        [address, op, value, value2]: [usize; 4],
    ) -> core::result::Result<usize, Stop> {
        let width = if op == FUTEX_WAIT64 { 8 } else { 4 };
        if !address.is_multiple_of(width) {
            return Err(Error::new(EINVAL).into());
        }
        let word = UserSlice::new(address, width)?;
        match op {
            FUTEX_WAIT | FUTEX_WAIT64 => {
                let deadline = match value2 {
                    0 => None,
                    pointer => Some(clock::now_ns().saturating_add(self.read_duration(cpu, id, pointer)?)),
                };
                self.touch(cpu, id, word)?;
                let (key, paddr) = self.futex_key(id, address)?;
                let (now, expected) = match op {
                    FUTEX_WAIT => (u64::from(physmap::load_u32(paddr)), u64::from(value as u32)),
                    _ => (physmap::load_u64(paddr), value as u64),
                };
                if now != expected {
                    return Err(Error::new(EAGAIN).into());
                }
                self.futexes.buckets[bucket(key)].push(&mut self.contexts, id);
                self.contexts[id].state = State::Waiting(Wait::Futex(key));
                if let Some(deadline) = deadline {
                    self.set_deadline(id, deadline);
                }
                Err(Stop::Wait)
            }
            FUTEX_WAKE => {
                self.touch(cpu, id, word)?;
                let (key, _) = self.futex_key(id, address)?;
                Ok(self.wake_futex(key, value as u32 as usize))
            }
            _ => Err(Error::new(EINVAL).into()),
        }
    }

    fn wake_futex(&mut self, key: Key, most: usize) -> usize {
        let mut woken = 0;
        let mut next = self.futexes.buckets[bucket(key)].first();
        while let Some(waiter) = next {
            next = Queue::after(&self.contexts, waiter);
            if woken == most {
                break;
            }
            if matches!(self.contexts[waiter].state, State::Waiting(Wait::Futex(other)) if other == key) {
                self.futexes.remove(&mut self.contexts, key, waiter);
                self.cancel_deadline(waiter);
                self.contexts[waiter].set_result(Ok(0));
                self.make_ready(waiter);
                woken += 1;
            }
        }
        woken
    }

    /// Makes the word's page present, and the program's own if it may store to it.
    fn touch(&mut self, cpu: &Cpu, id: Id<Context>, word: UserSlice) -> core::result::Result<(), Stop> {
        let vspace = self.contexts[id].vspace.ok_or(Error::new(EFAULT))?;
        let (rights, backing) = self.vspaces[vspace].region_at(word.address).ok_or(Error::new(EFAULT))?;
        let access = match backing {
            Backing::Private if rights.contains(Rights::WRITE) => Access::Write,
            _ => Access::Read,
        };
        let page = word.address & !(PAGE_SIZE - 1);
        if !self.vspaces[vspace].allows(page, access) {
            self.fault(cpu, id, word.address, access, FaultOrigin::SystemCall)?;
        }
        Ok(())
    }

    /// What the word is known by, and its physical address now.
    fn futex_key(&mut self, id: Id<Context>, address: usize) -> Result<(Key, u64)> {
        let vspace = self.contexts[id].vspace.ok_or(Error::new(EFAULT))?;
        let page = address & !(PAGE_SIZE - 1);
        let entry = self.vspaces[vspace].allowed(page, Access::Read).ok_or(Error::new(EFAULT))?;
        let paddr = entry.frame().address() + (address - page) as u64;
        let (_, backing) = self.vspaces[vspace].region_at(address).ok_or(Error::new(EFAULT))?;
        let key = match backing {
            Backing::Private => Key::Private { vspace, address },
            Backing::Scheme(mapping) if mapping.private => Key::Private { vspace, address },
            Backing::Pager => match self.pager_place(vspace, address) {
                Some((object, offset)) => Key::File { object, offset },
                None => Key::Private { vspace, address },
            },
            Backing::Shared | Backing::Scheme(_) | Backing::Physical | Backing::Lent => Key::Physical(paddr),
        };
        Ok((key, paddr))
    }

    /// A `TimeSpec` of the program, in nanoseconds.
    pub fn read_duration(&mut self, cpu: &Cpu, id: Id<Context>, pointer: usize) -> core::result::Result<u64, Stop> {
        let [seconds, ns] = self.read_words::<2>(cpu, id, pointer)?;
        Ok(to_ns(&TimeSpec { tv_sec: seconds as i64, tv_nsec: ns as i32 })?)
    }
}
