//! The index of a file's folios by page: a radix tree of 64-way nodes with marks, Linux's XArray.
//!
//! Owns: which folio covers which page, and three marks for each folio (present, dirty, under
//! writeback) that are summed up towards the root, so that a search skips what is not marked.
//! Does not own: any lock; `address_space` has one around it.
//!
//! A folio of 2^n pages stands at its first page only; n is at most [`MAX_ORDER`] and a folio is
//! aligned to its size, so it never crosses a node, and a look-up in its middle probes at most
//! [`MAX_ORDER`] other slots.

use super::folio::{Folio, MAX_ORDER};
use alloc::boxed::Box;
use alloc::sync::Arc;

const FAN_SHIFT: u32 = 6;
const FAN: usize = 1 << FAN_SHIFT;
const MARKS: usize = 3;

const _: () = assert!((1 << MAX_ORDER) <= FAN);

/// What a folio can be searched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is there.
    Present = 0,
    /// A block of it is dirty.
    Dirty = 1,
    /// It is under writeback.
    Writeback = 2,
}

/// The folios of one file.
pub struct FolioIndex {
    root: Option<Node>,
    /// Levels of the tree: page numbers below `64^height` have a place.
    height: u32,
}

enum Node {
    Branch(Box<Branch>),
    Leaf(Box<Leaf>),
}

struct Branch {
    marks: [u64; MARKS],
    children: [Option<Node>; FAN],
}

struct Leaf {
    marks: [u64; MARKS],
    folios: [Option<Arc<Folio>>; FAN],
}

impl Node {
    fn new(level: u32) -> Self {
        match level {
            0 => Self::Leaf(Box::new(Leaf { marks: [0; MARKS], folios: [const { None }; FAN] })),
            _ => Self::Branch(Box::new(Branch { marks: [0; MARKS], children: [const { None }; FAN] })),
        }
    }

    fn marks(&self) -> &[u64; MARKS] {
        match self {
            Self::Branch(branch) => &branch.marks,
            Self::Leaf(leaf) => &leaf.marks,
        }
    }
}

/// The slot of `page` in a node of `level` (0: a leaf).
fn slot(page: u64, level: u32) -> usize {
    (page >> (level * FAN_SHIFT)) as usize % FAN
}

impl FolioIndex {
    /// No folios.
    pub const fn new() -> Self {
        Self { root: None, height: 0 }
    }

    fn covers(&self, page: u64) -> bool {
        let bits = self.height * FAN_SHIFT;
        self.height > 0 && (bits >= u64::BITS || page >> bits == 0)
    }

    /// The folio that covers `page`.
    #[inline]
    pub fn get(&self, page: u64) -> Option<&Arc<Folio>> {
        if !self.covers(page) {
            return None;
        }
        let mut node = self.root.as_ref()?;
        let mut level = self.height - 1;
        let leaf = loop {
            match node {
                Node::Leaf(leaf) => break leaf,
                Node::Branch(branch) => node = branch.children[slot(page, level)].as_ref()?,
            }
            level -= 1;
        };
        leaf.covering(slot(page, 0))
    }

    /// Puts a folio in; `false` if one of its pages is covered already.
    pub fn insert(&mut self, folio: Arc<Folio>) -> bool {
        let page = folio.index();
        debug_assert!(page % folio.pages() == 0, "a folio is aligned to its size");
        while !self.covers(page) {
            self.grow();
        }
        let mut level = self.height - 1;
        let mut node = self.root.get_or_insert_with(|| Node::new(level));
        // Nodes that are made on the way to a refusal stay; they are found again or dropped with the file.
        let leaf = loop {
            match node {
                Node::Leaf(leaf) => break leaf,
                Node::Branch(branch) => {
                    level -= 1;
                    node = branch.children[slot(page, level + 1)].get_or_insert_with(|| Node::new(level));
                }
            }
        };
        let first = slot(page, 0);
        let range = first..first + folio.pages() as usize;
        if leaf.covering(first).is_some() || leaf.folios[range].iter().any(Option::is_some) {
            return false;
        }
        leaf.folios[first] = Some(folio);
        self.set_mark(page, Mark::Present, true);
        true
    }

    /// Puts a folio in the place of the one that begins where it does and is as large; the marks stay.
    pub fn replace(&mut self, folio: Arc<Folio>) -> Option<Arc<Folio>> {
        let page = folio.index();
        let covers = self.covers(page);
        let mut node = self.root.as_mut().filter(|_| covers)?;
        let mut level = self.height - 1;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.folios[slot(page, 0)].replace(folio),
                Node::Branch(branch) => node = branch.children[slot(page, level)].as_mut()?,
            }
            level -= 1;
        }
    }

    /// Takes the folio out that begins at `page`.
    pub fn remove(&mut self, page: u64) -> Option<Arc<Folio>> {
        if !self.covers(page) {
            return None;
        }
        for mark in [Mark::Dirty, Mark::Writeback, Mark::Present] {
            self.set_mark(page, mark, false);
        }
        let (folio, empty) = remove_below(self.root.as_mut()?, page, self.height - 1);
        if empty {
            self.root = None;
            self.height = 0;
        }
        folio
    }

    /// Sets or clears the mark of the folio that begins at `page`.
    pub fn set_mark(&mut self, page: u64, mark: Mark, on: bool) {
        if self.covers(page)
            && let Some(root) = &mut self.root
        {
            mark_below(root, page, self.height - 1, mark, on);
        }
    }

    /// Whether any folio has the mark.
    pub fn any(&self, mark: Mark) -> bool {
        self.root.as_ref().is_some_and(|root| root.marks()[mark as usize] != 0)
    }

    /// The first folio with the mark that covers `page` or lies after it.
    pub fn next(&self, page: u64, mark: Mark) -> Option<&Arc<Folio>> {
        let root = self.root.as_ref()?;
        if let Some(folio) = self.get(page) {
            // It begins at or before `page`; its mark is at its first page.
            if let Some(found) = find_from(root, folio.index(), self.height - 1, mark)
                && found.index() == folio.index()
            {
                return Some(found);
            }
        }
        if !self.covers(page) {
            return None;
        }
        find_from(root, page, self.height - 1, mark)
    }

    fn grow(&mut self) {
        if let Some(old) = self.root.take() {
            let marks = *old.marks();
            let mut branch = Branch { marks: [0; MARKS], children: [const { None }; FAN] };
            branch.children[0] = Some(old);
            for (sum, below) in branch.marks.iter_mut().zip(marks) {
                *sum = u64::from(below != 0);
            }
            self.root = Some(Node::Branch(Box::new(branch)));
        }
        self.height += 1;
    }
}

impl Default for FolioIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl Leaf {
    fn covering(&self, slot: usize) -> Option<&Arc<Folio>> {
        // The first occupied head at or before the slot decides: heads of larger folios further
        // back would overlap it.
        for order in 0..=MAX_ORDER {
            let head = slot & !((1 << order) - 1);
            if let Some(folio) = &self.folios[head] {
                return (head + folio.pages() as usize > slot).then_some(folio);
            }
        }
        None
    }
}

fn remove_below(node: &mut Node, page: u64, level: u32) -> (Option<Arc<Folio>>, bool) {
    let at = slot(page, level);
    match node {
        Node::Leaf(leaf) => {
            let folio = leaf.folios[at].take();
            (folio, leaf.marks[Mark::Present as usize] == 0)
        }
        Node::Branch(branch) => {
            let Some(child) = &mut branch.children[at] else { return (None, false) };
            let (folio, empty) = remove_below(child, page, level - 1);
            if empty {
                branch.children[at] = None;
            }
            (folio, branch.marks[Mark::Present as usize] == 0)
        }
    }
}

/// Sets or clears the mark on the way down; whether the node still has it somewhere.
fn mark_below(node: &mut Node, page: u64, level: u32, mark: Mark, on: bool) -> bool {
    let at = slot(page, level);
    let (marks, on) = match node {
        Node::Leaf(leaf) => {
            let on = on && leaf.folios[at].is_some();
            (&mut leaf.marks, on)
        }
        Node::Branch(branch) => {
            let below = branch.children[at].as_mut().is_some_and(|child| mark_below(child, page, level - 1, mark, on));
            (&mut branch.marks, below)
        }
    };
    let bits = &mut marks[mark as usize];
    *bits = *bits & !(1 << at) | u64::from(on) << at;
    *bits != 0
}

fn find_from(node: &Node, page: u64, level: u32, mark: Mark) -> Option<&Arc<Folio>> {
    let first = slot(page, level);
    match node {
        Node::Leaf(leaf) => {
            let bits = leaf.marks[mark as usize] & (u64::MAX << first);
            (bits != 0).then(|| leaf.folios[bits.trailing_zeros() as usize].as_ref())?
        }
        Node::Branch(branch) => {
            let mut bits = branch.marks[mark as usize] & (u64::MAX << first);
            let mut page = page;
            while bits != 0 {
                let at = bits.trailing_zeros() as usize;
                if at != first {
                    page = 0;
                }
                if let Some(found) =
                    branch.children[at].as_ref().and_then(|child| find_from(child, page, level - 1, mark))
                {
                    return Some(found);
                }
                bits &= bits - 1;
            }
            None
        }
    }
}
