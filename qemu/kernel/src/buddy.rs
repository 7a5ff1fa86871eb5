//! Physical frames: a buddy system whose records are also the reference counts.
//!
//! Owns: which frames are free and how many holders each of the others has. Does not own: the
//! memory itself (nothing here touches a frame's bytes) or the reasons for the references.
//!
//! A frame that is not RAM of ours (devices, firmware) has no record: [`Frames::is_managed`].

use crate::PAGE_SIZE;

/// The number of a frame: physical address / 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(pub u32);

impl Frame {
    /// The frame that holds this physical address.
    #[inline]
    pub const fn containing(paddr: u64) -> Self {
        Self((paddr / PAGE_SIZE as u64) as u32)
    }

    /// Its first physical address.
    #[inline]
    pub const fn address(self) -> u64 {
        self.0 as u64 * PAGE_SIZE as u64
    }

    /// The frame `n` further on.
    #[inline]
    pub const fn add(self, n: u32) -> Self {
        Self(self.0 + n)
    }
}

/// Runs of up to 2^(ORDERS - 1) frames (4 MiB) are kept together.
pub const ORDERS: usize = 11;

const NONE: u32 = u32::MAX;

/// One frame's record.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Holders; 0 for a free frame.
    refs: u32,
    /// Neighbours in the free list, if this is the head of a free run.
    next: u32,
    prev: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// Not ours to give.
    Unmanaged,
    /// In use, or inside a free run whose head is elsewhere.
    Plain,
    /// Head of a free run of 2^order frames.
    FreeHead(u8),
}

impl Record {
    /// A frame that is not RAM of ours.
    pub const UNMANAGED: Self = Self { refs: 0, next: NONE, prev: NONE, state: State::Unmanaged };
}

/// All frames of the machine.
pub struct Frames<'a> {
    records: &'a mut [Record],
    free: [u32; ORDERS],
    free_frames: usize,
    managed: usize,
}

impl<'a> Frames<'a> {
    /// No memory at all; for before the memory map is known.
    pub const fn none() -> Self {
        Self { records: &mut [], free: [NONE; ORDERS], free_frames: 0, managed: 0 }
    }

    /// No frame is managed yet; `records` has one element for each frame from address 0 on.
    pub fn new(records: &'a mut [Record]) -> Self {
        Self { records, free: [NONE; ORDERS], free_frames: 0, managed: 0 }
    }

    /// Gives `count` frames from `first` on to the allocator.
    pub fn add_free(&mut self, first: Frame, count: u32) {
        let (mut at, end) = (first.0, first.0 + count);
        self.managed += count as usize;
        while at < end {
            let order = (at.trailing_zeros() as usize).min(ORDERS - 1).min((end - at).ilog2() as usize);
            for frame in at..at + (1 << order) {
                self.records[frame as usize].state = State::Plain;
            }
            self.push(at, order);
            self.free_frames += 1 << order;
            at += 1 << order;
        }
    }

    /// One frame with one holder.
    #[inline]
    pub fn alloc(&mut self) -> Option<Frame> {
        self.alloc_order(0).inspect(|&frame| self.records[frame.0 as usize].refs = 1)
    }

    /// `count` frames in a row, each with one holder of its own: they are released one by one.
    pub fn alloc_run(&mut self, count: u32) -> Option<Frame> {
        let order = count.max(1).next_power_of_two().ilog2() as usize;
        let first = self.alloc_order(order)?;
        for frame in first.0..first.0 + count {
            self.records[frame as usize].refs = 1;
        }
        for frame in first.0 + count..first.0 + (1 << order) {
            self.free_one(frame);
        }
        Some(first)
    }

    /// One holder more.
    ///
    /// # Panics
    /// If nobody holds the frame: a free frame cannot be revived.
    #[inline]
    pub fn retain(&mut self, frame: Frame) {
        let record = &mut self.records[frame.0 as usize];
        assert!(record.refs > 0, "frame {frame:?} has no holder");
        record.refs += 1;
    }

    /// One holder less; the last one frees the frame. Tells whether it did.
    #[inline]
    pub fn release(&mut self, frame: Frame) -> bool {
        let record = &mut self.records[frame.0 as usize];
        assert!(record.refs > 0, "frame {frame:?} has no holder");
        record.refs -= 1;
        let last = record.refs == 0;
        if last {
            self.free_one(frame.0);
        }
        last
    }

    /// How many hold the frame.
    #[inline]
    pub fn refs(&self, frame: Frame) -> u32 {
        self.records[frame.0 as usize].refs
    }

    /// It is RAM that this allocator gives out.
    #[inline]
    pub fn is_managed(&self, frame: Frame) -> bool {
        self.records.get(frame.0 as usize).is_some_and(|record| record.state != State::Unmanaged)
    }

    /// Frames that nobody holds.
    pub fn free_frames(&self) -> usize {
        self.free_frames
    }

    /// Frames that this allocator gives out, free or not.
    pub fn managed_frames(&self) -> usize {
        self.managed
    }

    fn alloc_order(&mut self, order: usize) -> Option<Frame> {
        let from = (order..ORDERS).find(|&order| self.free[order] != NONE)?;
        let head = self.free[from];
        self.unlink(head, from);
        for order in (order..from).rev() {
            self.push(head + (1 << order), order);
        }
        self.free_frames -= 1 << order;
        Some(Frame(head))
    }

    fn free_one(&mut self, frame: u32) {
        let (mut at, mut order) = (frame, 0);
        self.free_frames += 1;
        while order < ORDERS - 1 {
            let buddy = at ^ (1 << order);
            if self.records.get(buddy as usize).map(|record| record.state) != Some(State::FreeHead(order as u8)) {
                break;
            }
            self.unlink(buddy, order);
            at &= !(1 << order);
            order += 1;
        }
        self.push(at, order);
    }

    fn push(&mut self, head: u32, order: usize) {
        let next = self.free[order];
        let record = &mut self.records[head as usize];
        (record.next, record.prev, record.state) = (next, NONE, State::FreeHead(order as u8));
        if next != NONE {
            self.records[next as usize].prev = head;
        }
        self.free[order] = head;
    }

    fn unlink(&mut self, head: u32, order: usize) {
        let Record { next, prev, .. } = self.records[head as usize];
        self.records[head as usize].state = State::Plain;
        if next != NONE {
            self.records[next as usize].prev = prev;
        }
        match prev {
            NONE => self.free[order] = next,
            prev => self.records[prev as usize].next = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn every_frame_is_given_once_and_comes_back() {
        let mut records = vec![Record::UNMANAGED; 5000];
        let mut frames = Frames::new(&mut records);
        frames.add_free(Frame(3), 2000);
        frames.add_free(Frame(3000), 1999);
        for _ in 0..3 {
            let mut seen = HashSet::new();
            while let Some(frame) = frames.alloc() {
                assert!(frames.is_managed(frame) && seen.insert(frame));
            }
            assert_eq!((seen.len(), frames.free_frames()), (3999, 0));
            assert!(seen.into_iter().all(|frame| frames.release(frame)));
            assert_eq!(frames.free_frames(), 3999);
        }
        assert!(frames.alloc_run(1024).is_some(), "the runs grew together again");
    }

    #[test]
    fn a_run_is_contiguous_and_released_singly() {
        let mut records = vec![Record::UNMANAGED; 1024];
        let mut frames = Frames::new(&mut records);
        frames.add_free(Frame(0), 1024);
        let first = frames.alloc_run(5).unwrap();
        assert_eq!(frames.free_frames(), 1019);
        let others: Vec<_> = core::iter::from_fn(|| frames.alloc()).collect();
        assert!(others.iter().all(|frame| !(first.0..first.0 + 5).contains(&frame.0)));
        (0..5).for_each(|n| assert!(frames.release(first.add(n))));
        assert_eq!(frames.free_frames(), 5);
    }

    #[test]
    fn only_the_last_holder_frees() {
        let mut records = vec![Record::UNMANAGED; 16];
        let mut frames = Frames::new(&mut records);
        frames.add_free(Frame(0), 16);
        let frame = frames.alloc().unwrap();
        frames.retain(frame);
        assert!(!frames.release(frame));
        assert_eq!(frames.free_frames(), 15);
        assert!(frames.release(frame));
        assert_eq!(frames.free_frames(), 16);
    }

    #[test]
    fn frames_outside_are_not_ours() {
        let mut records = vec![Record::UNMANAGED; 16];
        let mut frames = Frames::new(&mut records);
        frames.add_free(Frame(4), 4);
        assert!(!frames.is_managed(Frame(3)) && frames.is_managed(Frame(4)) && !frames.is_managed(Frame(8)));
        assert!(!frames.is_managed(Frame(0xf_eb00)));
    }
}
