//! The file mappings of one address space, and the private copies it made.
//!
//! Owns: [`Region`]s, sorted and never overlapping, and the table of private copies. Does not own
//! page tables. The reverse map of an object names regions by (address space, first page), so every
//! change of a first page goes through [`crate::Pager`]'s `insert_region` / `remove_region`.

use crate::{
    FilePage, Frame, Pager, PagerError, Rights, Sharing, SocketId, VirtPage, VspaceId,
    object::{Object, ObjectIndex},
    slab::Slab,
};
use alloc::{collections::BTreeMap, vec::Vec};

/// A run of pages that shows a run of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: VirtPage,
    pub(crate) pages: u64,
    /// The page of the file that `start` shows.
    pub(crate) file: FilePage,
    pub(crate) object: ObjectIndex,
    pub(crate) protection: Rights,
    pub(crate) maximum: Rights,
    pub(crate) sharing: Sharing,
    /// The page after the last that a Provide mapped: a fault there is the next of a sequence.
    pub(crate) expected: VirtPage,
    /// Pages asked for ahead by the last fault of the sequence; 0: there is none.
    pub(crate) ahead: u16,
    /// An unmap has begun and needs more calls: no fault is taken here any more.
    pub(crate) dying: bool,
}

impl Region {
    /// The page after the last.
    pub(crate) fn end(&self) -> VirtPage {
        self.start.forward(self.pages)
    }

    #[inline]
    pub(crate) fn contains(&self, page: VirtPage) -> bool {
        page >= self.start && page.0 - self.start.0 < self.pages
    }

    /// The page of the file that `page` shows.
    pub(crate) fn file_page(&self, page: VirtPage) -> FilePage {
        self.file.forward(page.0 - self.start.0)
    }

    /// The pages of this region that show `[from, to)` of the file.
    pub(crate) fn showing(&self, from: FilePage, to: FilePage) -> Option<(VirtPage, VirtPage)> {
        let low = from.0.max(self.file.0);
        let high = to.0.min(self.file.0 + self.pages);
        (low < high).then(|| (self.start.forward(low - self.file.0), self.start.forward(high - self.file.0)))
    }

    /// Whether `next` goes on where this region ends, as one mapping.
    fn goes_on_in(&self, next: &Self) -> bool {
        let Self { start, pages, file, expected, ahead, .. } = *next;
        Self { start, pages, file, expected, ahead, ..*self } == *next
            && self.end() == next.start
            && self.file.forward(self.pages) == next.file
    }
}

/// One address space, as the pager sees it.
#[derive(Default)]
pub(crate) struct Vspace {
    /// Sorted by first page, no two overlap.
    pub(crate) regions: Vec<Region>,
    /// Where the last look-up succeeded.
    last: usize,
    /// Private copies, each with one reference to its frame. An entry may lack a translation
    /// (mprotect took it away); a translation in a private region without an entry is a file page.
    pub(crate) copies: BTreeMap<VirtPage, Frame>,
    /// The clients that this address space is, one per socket that it has used.
    pub(crate) clients: Vec<(SocketId, u32)>,
}

impl Vspace {
    /// Index of the first region that ends after `page`.
    pub(crate) fn at_or_after(&self, page: VirtPage) -> usize {
        self.regions.partition_point(|region| region.end() <= page)
    }

    #[inline(always)]
    pub(crate) fn find(&mut self, page: VirtPage) -> Option<Region> {
        self.find_mut(page).map(|region| *region)
    }

    /// As [`Vspace::find`], to note something of the sequence of faults.
    #[inline(always)]
    pub(crate) fn find_mut(&mut self, page: VirtPage) -> Option<&mut Region> {
        if !self.regions.get(self.last).is_some_and(|region| region.contains(page)) {
            self.last = self.search(page)?;
        }
        self.regions.get_mut(self.last)
    }

    fn search(&self, page: VirtPage) -> Option<usize> {
        let index = self.at_or_after(page);
        self.regions.get(index).is_some_and(|region| region.contains(page)).then_some(index)
    }

    /// The first region that overlaps `[start, end)`.
    pub(crate) fn first_in(&self, start: VirtPage, end: VirtPage) -> Option<Region> {
        self.regions.get(self.at_or_after(start)).filter(|region| region.start < end).copied()
    }
}

impl Pager {
    #[inline]
    pub(crate) fn vspace_mut(&mut self, vspace: VspaceId) -> &mut Vspace {
        let index = vspace.0 as usize;
        if index >= self.vspaces.len() {
            self.add_vspaces(index + 1);
        }
        &mut self.vspaces[index]
    }

    #[cold]
    fn add_vspaces(&mut self, count: usize) {
        self.vspaces.resize_with(count, Vspace::default);
    }

    pub(crate) fn vspace(&self, vspace: VspaceId) -> Option<&Vspace> {
        self.vspaces.get(vspace.0 as usize)
    }

    /// The first file mapping of `vspace` that overlaps the pages, as (first page, pages).
    pub fn mapping_in(&self, vspace: VspaceId, start: VirtPage, pages: u64) -> Option<(VirtPage, u64)> {
        let region = self.vspace(vspace)?.first_in(start, VirtPage(start.0.saturating_add(pages)))?;
        Some((region.start, region.pages))
    }

    /// The protection and the sharing of the file mapping at `page`.
    pub fn mapping_at(&mut self, vspace: VspaceId, page: VirtPage) -> Option<(Rights, Sharing)> {
        self.vspace_mut(vspace).find(page).map(|region| (region.protection, region.sharing))
    }

    /// The object and its page that `page` of a shared mapping shows: a name for the memory that stays while the
    /// page is evicted and comes back.
    pub fn shared_place(&mut self, vspace: VspaceId, page: VirtPage) -> Option<(u32, FilePage)> {
        let region = self.vspace_mut(vspace).find(page).filter(|region| region.sharing == Sharing::Shared)?;
        Some((region.object, region.file_page(page)))
    }

    /// Puts `region` into the address space and into the reverse map. The pages must be free.
    pub(crate) fn insert_region(&mut self, vspace: VspaceId, region: Region) -> Result<(), PagerError> {
        let limit = self.config.regions;
        let space = self.vspace_mut(vspace);
        if space.regions.len() >= limit {
            return Err(PagerError::NoMemory);
        }
        space.regions.try_reserve(1).map_err(|_| PagerError::NoMemory)?;
        let index = space.at_or_after(region.start);
        space.regions.insert(index, region);
        self.objects[region.object].regions.insert((vspace, region.start));
        Ok(())
    }

    /// Takes the region that begins at `start` out of both.
    pub(crate) fn remove_region(&mut self, vspace: VspaceId, start: VirtPage) -> Region {
        let space = self.vspace_mut(vspace);
        let index = space.at_or_after(start);
        let region = space.regions.remove(index);
        self.objects[region.object].regions.remove(&(vspace, start));
        region
    }

    /// Makes `page` the first page of its region.
    pub(crate) fn split_at(&mut self, vspace: VspaceId, page: VirtPage) -> Result<(), PagerError> {
        let limit = self.config.regions;
        let space = self.vspace_mut(vspace);
        let Some(region) = space.find(page).filter(|region| region.start < page) else { return Ok(()) };
        if space.regions.len() >= limit {
            return Err(PagerError::NoMemory);
        }
        space.regions.try_reserve(1).map_err(|_| PagerError::NoMemory)?;
        let index = space.at_or_after(page);
        let head = page.0 - region.start.0;
        space.regions[index].pages = head;
        let tail = Region { start: page, pages: region.pages - head, file: region.file.forward(head), ..region };
        space.regions.insert(index + 1, tail);
        self.objects[region.object].regions.insert((vspace, page));
        Ok(())
    }

    /// Joins neighbours in `[start, end]` that have become one mapping again.
    pub(crate) fn merge_around(&mut self, vspace: VspaceId, start: VirtPage, end: VirtPage) {
        let Self { vspaces, objects, .. } = self;
        let Some(space) = vspaces.get_mut(vspace.0 as usize) else { return };
        let mut index = space.at_or_after(VirtPage(start.0.saturating_sub(1)));
        while index + 1 < space.regions.len() && space.regions[index + 1].start <= end {
            let [one, next] = [space.regions[index], space.regions[index + 1]];
            if one.goes_on_in(&next) {
                space.regions[index].pages += next.pages;
                space.regions.remove(index + 1);
                forget(objects, vspace, &next);
            } else {
                index += 1;
            }
        }
    }
}

fn forget(objects: &mut Slab<Object>, vspace: VspaceId, region: &Region) {
    objects[region.object].regions.remove(&(vspace, region.start));
}
