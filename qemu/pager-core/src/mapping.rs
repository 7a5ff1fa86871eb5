//! Mappings come, change and go: FMAP, FUNMAP, MPROTECT, MREMAP, and a new process's inheritance.
//!
//! Owns the rules: what may be mapped over what, the maximum protection, that the W bit of a page of
//! a shared file is set by the server's answers only, and that shared mappings are inherited by
//! reference while private copies are inherited as copies (made when one of the two stores).

use crate::{
    FilePage, Mmu, Pager, PagerError, Progress, REVOKE_MAX, Revoked, Rights, Sharing, SocketId, VirtPage, VspaceId,
    vspace::Region,
};
use pager_abi::{Cookie, PAGE_SIZE};

/// Pages of a lower-half address space.
const USER_PAGES: u64 = (1 << 47) / PAGE_SIZE;

/// A mapping to be made, after a lazy `MmapPrep` answer.
#[derive(Clone, Copy, Debug)]
pub struct NewMapping {
    /// Where.
    pub vspace: VspaceId,
    /// Its first page; the kernel has chosen a place that is free of mappings of its own.
    pub start: VirtPage,
    /// How many.
    pub pages: u64,
    /// What the first page shows.
    pub file: FilePage,
    /// What may be done to it now.
    pub protection: Rights,
    /// What MPROTECT may ever allow (`pager_abi::grant::lazy_protection`).
    pub maximum: Rights,
    /// What becomes of stores.
    pub sharing: Sharing,
}

/// A change of protection under way; call [`Pager::protect`] until it is done.
#[derive(Debug)]
pub struct Protect {
    vspace: VspaceId,
    start: VirtPage,
    end: VirtPage,
    protection: Rights,
    cursor: Option<VirtPage>,
}

impl Protect {
    /// All file mappings within the pages get `protection`.
    pub fn new(vspace: VspaceId, start: VirtPage, pages: u64, protection: Rights) -> Self {
        let end = VirtPage(start.0.saturating_add(pages));
        Self { vspace, start, end, protection, cursor: None }
    }
}

impl Pager {
    /// Maps pages of the object that `cookie` names, which a lazy `MmapPrep` answer has just granted.
    /// The grant is the pager's from now on: if mapping fails it goes back to the server.
    pub fn map(&mut self, socket: SocketId, cookie: Cookie, new: &NewMapping) -> Result<(), PagerError> {
        let object = self.open_grant(socket, cookie)?;
        let mapped = self.check_new(new).and_then(|()| {
            self.insert_region(
                new.vspace,
                Region {
                    start: new.start,
                    pages: new.pages,
                    file: new.file,
                    object,
                    protection: new.protection,
                    maximum: new.maximum,
                    sharing: new.sharing,
                    expected: new.start,
                    ahead: 0,
                    dying: false,
                },
            )
        });
        self.settle_object(object);
        mapped
    }

    fn check_new(&mut self, new: &NewMapping) -> Result<(), PagerError> {
        if new.pages == 0 || new.pages > USER_PAGES || new.start.0 > USER_PAGES - new.pages {
            return Err(PagerError::BadRange);
        }
        if new.file.0 > u64::MAX / PAGE_SIZE - new.pages {
            return Err(PagerError::BadRange);
        }
        if !new.maximum.include(new.protection) {
            return Err(PagerError::Forbidden);
        }
        if self.mapping_in(new.vspace, new.start, new.pages).is_some() {
            return Err(PagerError::Overlap);
        }
        Ok(())
    }

    /// Unmaps all file mappings within the pages, splitting those that reach beyond. Call it again
    /// after the flush while there is more; from the first call on no fault is taken there.
    pub fn unmap(
        &mut self,
        mmu: &mut impl Mmu,
        vspace: VspaceId,
        start: VirtPage,
        pages: u64,
        revoked: &mut Revoked,
    ) -> Result<Progress, PagerError> {
        let end = VirtPage(start.0.saturating_add(pages));
        let mut budget = REVOKE_MAX;
        self.split_at(vspace, start)?;
        self.split_at(vspace, end)?;
        while let Some(region) = self.vspace_mut(vspace).first_in(start, end) {
            if budget == 0 {
                return Ok(Progress::More);
            }
            budget -= 1;
            if !self.empty_region(mmu, vspace, &region, revoked, &mut budget) {
                let space = self.vspace_mut(vspace);
                let index = space.at_or_after(region.start);
                space.regions[index].dying = true;
                return Ok(Progress::More);
            }
            self.remove_region(vspace, region.start);
            self.settle_object(region.object);
        }
        Ok(Progress::Done)
    }

    /// Takes translations and private copies away; `false` if the budget ended before.
    fn empty_region(
        &mut self,
        mmu: &mut impl Mmu,
        vspace: VspaceId,
        region: &Region,
        revoked: &mut Revoked,
        budget: &mut usize,
    ) -> bool {
        if !self.drop_translations(mmu, vspace, region.start, region.end(), revoked, budget) {
            return false;
        }
        let copies = &mut self.vspace_mut(vspace).copies;
        while let Some((&page, &frame)) = copies.range(region.start..region.end()).next() {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            copies.remove(&page);
            revoked.frames.push(frame);
        }
        true
    }

    /// Takes translations away; private copies stay in their table. `false` if the budget ended.
    pub(crate) fn drop_translations(
        &mut self,
        mmu: &mut impl Mmu,
        vspace: VspaceId,
        from: VirtPage,
        to: VirtPage,
        revoked: &mut Revoked,
        budget: &mut usize,
    ) -> bool {
        let mut at = from;
        while let Some(page) = mmu.next_present(vspace, at, to) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            self.drop_translation(mmu, vspace, page, revoked);
            at = page.forward(1);
        }
        true
    }

    fn drop_translation(&mut self, mmu: &mut impl Mmu, vspace: VspaceId, page: VirtPage, revoked: &mut Revoked) {
        let Some(old) = mmu.unmap(vspace, page) else { return };
        revoked.flush.push((vspace, page));
        if !self.vspace_mut(vspace).copies.contains_key(&page) {
            revoked.frames.push(old.frame);
        }
    }

    /// MPROTECT: refuses as a whole what exceeds a maximum protection. Rights that are taken away are
    /// gone when it is done and flushed; rights that are given come by faults, so that the server
    /// sees the first store.
    pub fn protect(
        &mut self,
        mmu: &mut impl Mmu,
        protect: &mut Protect,
        revoked: &mut Revoked,
    ) -> Result<Progress, PagerError> {
        let Protect { vspace, start, end, protection, .. } = *protect;
        if protect.cursor.is_none() {
            self.begin_protect(vspace, start, end, protection)?;
        }
        let mut budget = REVOKE_MAX;
        let mut at = protect.cursor.unwrap_or(start);
        while let Some(region) = self.vspace_mut(vspace).first_in(at, end) {
            let (from, to) = (at.max(region.start), region.end().min(end));
            at = from;
            while let Some(page) = mmu.next_present(vspace, at, to) {
                if budget == 0 {
                    protect.cursor = Some(page);
                    return Ok(Progress::More);
                }
                budget -= 1;
                at = page.forward(1);
                self.restrict(mmu, vspace, page, protection, revoked);
            }
            at = to;
        }
        self.merge_around(vspace, start, end);
        Ok(Progress::Done)
    }

    /// The part of MPROTECT that concerns the mappings, at once and as a whole.
    fn begin_protect(
        &mut self,
        vspace: VspaceId,
        start: VirtPage,
        end: VirtPage,
        protection: Rights,
    ) -> Result<(), PagerError> {
        let mut at = start;
        while let Some(region) = self.vspace_mut(vspace).first_in(at, end) {
            if !region.maximum.include(protection) {
                return Err(PagerError::Forbidden);
            }
            at = region.end();
        }
        self.split_at(vspace, start)?;
        self.split_at(vspace, end)?;
        let space = self.vspace_mut(vspace);
        let first = space.at_or_after(start);
        for region in space.regions[first..].iter_mut().take_while(|region| region.start < end) {
            region.protection = protection;
        }
        Ok(())
    }

    /// Takes the rights of a translation that `protection` does not have.
    fn restrict(
        &mut self,
        mmu: &mut impl Mmu,
        vspace: VspaceId,
        page: VirtPage,
        protection: Rights,
        revoked: &mut Revoked,
    ) {
        let Some(old) = mmu.translation(vspace, page) else { return };
        let left = old.rights.and(protection);
        if left.none() {
            self.drop_translation(mmu, vspace, page, revoked);
        } else if left != old.rights {
            mmu.protect(vspace, page, left);
            revoked.flush.push((vspace, page));
        }
    }

    /// MREMAP: file mappings within `[start, start + pages)` move so that `start` becomes
    /// `new_start`. Pages of the file are faulted in again at the new place, private copies move.
    /// The two ranges must not overlap, and the new one must be free.
    pub fn relocate(
        &mut self,
        mmu: &mut impl Mmu,
        vspace: VspaceId,
        start: VirtPage,
        pages: u64,
        new_start: VirtPage,
        revoked: &mut Revoked,
    ) -> Result<Progress, PagerError> {
        if pages == 0 || pages > USER_PAGES || start.0.max(new_start.0) > USER_PAGES - pages {
            return Err(PagerError::BadRange);
        }
        let (end, new_end) = (start.forward(pages), new_start.forward(pages));
        if start < new_end && new_start < end || self.mapping_in(vspace, new_start, pages).is_some() {
            return Err(PagerError::Overlap);
        }
        self.split_at(vspace, start)?;
        self.split_at(vspace, end)?;
        let mut budget = REVOKE_MAX;
        if !self.drop_translations(mmu, vspace, start, end, revoked, &mut budget) {
            return Ok(Progress::More);
        }
        let mut at = start;
        while let Some(region) = self.vspace_mut(vspace).first_in(at, end) {
            if self.objects[region.object].zapping > 0 {
                // A copy must not slip past the walk that is taking copies.
                return Ok(Progress::More);
            }
            at = region.end();
        }
        let moved = |page: VirtPage| VirtPage(page.0 - start.0 + new_start.0);
        while let Some(region) = self.vspace_mut(vspace).first_in(start, end) {
            self.remove_region(vspace, region.start);
            self.insert_region(vspace, Region { start: moved(region.start), ..region })
                .expect("the place of the region that was just removed is reserved");
        }
        let copies = &mut self.vspace_mut(vspace).copies;
        let mut tail = copies.split_off(&start);
        let mut after = tail.split_off(&end);
        copies.append(&mut after);
        copies.extend(tail.into_iter().map(|(page, frame)| (moved(page), frame)));
        self.merge_around(vspace, new_start, new_end);
        Ok(Progress::Done)
    }

    /// Makes the mapping that ends at `end` longer, showing the file further on.
    pub fn extend(&mut self, vspace: VspaceId, end: VirtPage, by: u64) -> Result<(), PagerError> {
        if end.0 == 0 || by > USER_PAGES || end.0 > USER_PAGES - by {
            return Err(PagerError::BadRange);
        }
        if self.mapping_in(vspace, end, by).is_some() {
            return Err(PagerError::Overlap);
        }
        let space = self.vspace_mut(vspace);
        let index = space.at_or_after(VirtPage(end.0 - 1));
        let region = space.regions.get_mut(index).filter(|region| region.end() == end).ok_or(PagerError::NotMapped)?;
        if region.file.0 > u64::MAX / PAGE_SIZE - region.pages - by {
            return Err(PagerError::BadRange);
        }
        region.pages += by;
        Ok(())
    }

    /// Gives `child`, a new address space in which nothing runs yet, all file mappings of `parent`:
    /// shared ones by reference, with the private copies of private ones shared until either stores.
    pub fn inherit(
        &mut self,
        mmu: &mut impl Mmu,
        parent: VspaceId,
        child: VspaceId,
        revoked: &mut Revoked,
    ) -> Result<Progress, PagerError> {
        self.vspace_mut(child);
        if self.vspace_mut(parent).regions.iter().any(|region| region.sharing == Sharing::Private)
            && self.copies_are_being_taken(parent)
        {
            return Ok(Progress::More);
        }
        if self.vspace_mut(child).regions.is_empty() {
            let count = self.vspace_mut(parent).regions.len();
            for index in 0..count {
                let region = self.vspace_mut(parent).regions[index];
                if !region.dying {
                    self.insert_region(child, region)?;
                }
            }
        }
        let mut budget = REVOKE_MAX;
        let mut at = self.vspace_mut(child).copies.last_key_value().map_or(VirtPage(0), |(page, _)| page.forward(1));
        while let Some((&page, &frame)) = self.vspace_mut(parent).copies.range(at..).next() {
            if budget == 0 {
                return Ok(Progress::More);
            }
            budget -= 1;
            at = page.forward(1);
            // The parent's other threads may have mapped something else there between two calls.
            let shown = |region: Region| (region.object, region.file_page(page), region.sharing);
            let theirs = self.vspace_mut(child).find(page).map(shown);
            if theirs.is_none() || theirs != self.vspace_mut(parent).find(page).map(shown) {
                continue;
            }
            mmu.hold(frame);
            self.vspace_mut(child).copies.insert(page, frame);
            if let Some(old) = mmu.translation(parent, page).filter(|old| old.rights.write) {
                mmu.protect(parent, page, old.rights.without_write());
                revoked.flush.push((parent, page));
            }
        }
        Ok(Progress::Done)
    }

    fn copies_are_being_taken(&self, vspace: VspaceId) -> bool {
        let regions = self.vspace(vspace).map_or(&[][..], |space| &space.regions);
        regions.iter().any(|region| self.objects[region.object].zapping > 0)
    }
}
