//! Instructions of the operations that the design has a budget for: `##fl bench ROW COUNT` lines.
//!
//! Meant for QEMU's `-icount shift=0`, where the time-stamp counter counts executed instructions of
//! everything that runs: program, kernel and server. Each row is the median of many single
//! measurements, less what an empty measurement costs.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;
use userland_tests::{model::pattern, prelude::*};

userland_tests::test!(run);

const PAGE: usize = 4096;
const PAGES: usize = 1024;

fn run() -> Outcome {
    let dir = Scratch::new("bench")?;
    let mut nothing = (0..99).map(|_| cost(|| Ok(()))).collect::<Result<Vec<_>, _>>()?;
    let overhead = median(&mut nothing);
    let bench = Bench { dir, overhead };
    if let Some(count) = sys::instructions_to_first_program() {
        bench.print("first_program", count);
    }
    bench.call_and_reply()?;
    bench.faults()?;
    bench.mkwrite()?;
    bench.inline_first_store()?;
    bench.reads_and_writes()?;
    bench.names()?;
    bench.syncs()?;
    bench.metadata()
}

struct Bench {
    dir: Scratch,
    /// What a measurement of nothing gives.
    overhead: u64,
}

/// The instructions of `f`.
fn cost<T>(f: impl FnOnce() -> Result<T, Failure>) -> Result<u64, Failure> {
    let start = sys::instructions();
    f()?;
    Ok(sys::instructions() - start)
}

fn median(costs: &mut [u64]) -> u64 {
    costs.sort_unstable();
    costs[costs.len() / 2]
}

impl Bench {
    /// Prints the row of `times` measurements, each of what `operation` does with its number.
    fn row(&self, row: &str, times: usize, mut operation: impl FnMut(usize) -> Result<u64, Failure>) -> Outcome {
        let mut costs = (0..times).map(&mut operation).collect::<Result<Vec<_>, _>>()?;
        self.print(row, median(&mut costs).saturating_sub(self.overhead));
        Ok(())
    }

    fn print(&self, row: &str, cost: u64) {
        sys::print_line(format_args!("##fl bench {row} {cost}"));
    }

    fn call_and_reply(&self) -> Outcome {
        let echo = sys::Echo::start()?;
        for _ in 0..20 {
            echo.call()?;
        }
        self.row("call_reply", 200, |_| cost(|| Ok(echo.call()?)))?;
        echo.stop()
    }

    /// Read faults on pages that the cache has.
    fn faults(&self) -> Outcome {
        let file = self.dir.create("faults")?;
        let chunk = pattern(1, 0, 64 * PAGE);
        for offset in (0..PAGES * PAGE).step_by(chunk.len()) {
            check_eq!(file.write_at(&chunk, offset as u64)?, chunk.len(), "write");
        }
        file.sync()?;
        let map = |page: usize, pages: usize| {
            Mapping::new(&file, (page * PAGE) as u64, pages * PAGE, Protection::Read, Sharing::Shared)
        };
        self.row("read_fault_1_page", 100, |index| {
            let mapping = map(index, 1)?;
            cost(|| Ok(mapping.load(0)))
        })?;
        self.row("read_fault_16_pages", 60, |index| {
            let mapping = map(16 * index, 16)?;
            cost(|| Ok(mapping.load(0)))
        })?;
        let mapping = map(0, PAGES)?;
        let total = cost(|| Ok((0..PAGES).map(|page| u64::from(mapping.load(page * PAGE))).sum::<u64>()))?;
        self.print("mapped_read_per_page", total / PAGES as u64);
        Ok(())
    }

    /// A store to a clean page that is mapped read-only.
    fn mkwrite(&self) -> Outcome {
        let file = self.dir.open("faults")?;
        let mapping = Mapping::new(&file, 0, 64 * PAGE, Protection::ReadWrite, Sharing::Shared)?;
        for page in 0..64 {
            mapping.load(page * PAGE);
        }
        self.row("page_mkwrite", 64, |page| {
            cost(|| {
                mapping.store(page * PAGE, 1);
                Ok(())
            })
        })
    }

    fn inline_first_store(&self) -> Outcome {
        self.row("inline_first_store", 24, |index| {
            let file = self.dir.create(&format!("inline-{index}"))?;
            check_eq!(file.write_at(&[1; 50], 0)?, 50, "write");
            file.sync()?;
            let mapping = Mapping::new(&file, 0, PAGE, Protection::ReadWrite, Sharing::Shared)?;
            mapping.load(0);
            cost(|| {
                mapping.store(0, 2);
                Ok(())
            })
        })
    }

    /// Of pages that the cache has.
    fn reads_and_writes(&self) -> Outcome {
        let file = self.dir.open("faults")?;
        let mut buf = vec![1; PAGE];
        self.row("pread_4k", 200, |index| cost(|| Ok(file.read_at(&mut buf, (index % 64 * PAGE) as u64)?)))?;
        // The first round makes the pages dirty.
        for index in 0..64 {
            file.write_at(&buf, (index * PAGE) as u64)?;
        }
        self.row("pwrite_4k", 200, |index| cost(|| Ok(file.write_at(&buf, (index % 64 * PAGE) as u64)?)))?;
        let file = self.dir.create("append")?;
        file.write_at(&buf, 0)?;
        self.row("append_1_byte", 200, |index| cost(|| Ok(file.write_at(&[1], (PAGE + index) as u64)?)))
    }

    fn names(&self) -> Outcome {
        let path = self.dir.path("append");
        self.row("open_close", 200, |_| {
            cost(|| {
                drop(File::open(&path, Open::READ, 0)?);
                Ok(())
            })
        })?;
        self.row("stat", 200, |_| cost(|| Ok(sys::stat(&path)?)))?;
        let path = |index| self.dir.path(&format!("name-{index}"));
        let how = Open::WRITE | Open::CREATE;
        self.row("create_close", 100, |index| {
            let path = path(index);
            cost(|| {
                drop(File::open(&path, how, 0o644)?);
                Ok(())
            })
        })?;
        self.row("unlink", 100, |index| {
            let path = path(index);
            cost(|| Ok(sys::unlink(&path)?))
        })
    }

    fn syncs(&self) -> Outcome {
        let bytes = vec![3; PAGE];
        self.row("create_write_4k_fsync", 24, |index| {
            let name = format!("synced-{index}");
            cost(|| {
                let file = self.dir.create(&name)?;
                file.write_at(&bytes, 0)?;
                Ok(file.sync()?)
            })
        })?;
        let file = self.dir.open("faults")?;
        file.sync()?;
        self.row("fsync_1_page", 24, |index| {
            file.write_at(&bytes, (index * PAGE) as u64)?;
            cost(|| Ok(file.sync()?))
        })
    }

    /// The server's memory for each page of a file that it caches, besides the page itself: of a file that
    /// comes page by page, and of one that comes in large pieces, for which large folios serve.
    fn metadata(&self) -> Outcome {
        let Some(limit) = sys::counter("pages_limit") else { return Ok(()) };
        let slots = sys::counter("slot_bytes").unwrap_or(0).div_ceil(limit.max(1));
        for (row, piece) in [("metadata_per_page", PAGE), ("metadata_per_page_of_16", 16 * PAGE)] {
            let file = self.dir.create(row)?;
            let bytes = vec![1; piece];
            let state = || (sys::counter("heap_bytes").unwrap_or(0), sys::counter("pages").unwrap_or(0));
            let before = state();
            for offset in (0..PAGES * PAGE).step_by(piece) {
                check_eq!(file.write_at(&bytes, offset as u64)?, piece, "write");
            }
            // Clean, as a cache is most of the time: what writeback needs for a while does not count.
            file.sync()?;
            let after = state();
            let pages = after.1.saturating_sub(before.1).max(1);
            self.print(row, after.0.saturating_sub(before.0) / pages + slots);
        }
        Ok(())
    }
}
