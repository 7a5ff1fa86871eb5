//! The performance budget of the design (docs/architecture.md), row by row.

/// A row that the benchmark program measures.
pub struct Row {
    /// Its name in the program's `bench` lines.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// The least of a kernel without locks or bookkeeping, where one was measured.
    pub floor: Option<u64>,
    /// What the first version may cost.
    pub first: u64,
    /// What is aimed at.
    pub aim: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Instructions: fewer are better.
    Instructions,
    /// Bytes: fewer are better.
    Bytes,
    /// Hundredths of the speed of one thread: more are better.
    Speedup,
}

impl Unit {
    /// A value as the table has it.
    pub fn text(self, value: u64) -> String {
        match self {
            Self::Instructions => value.to_string(),
            Self::Bytes => format!("{value} B"),
            Self::Speedup => format!("x{}.{:02}", value / 100, value % 100),
        }
    }

    /// Whether `value` is as good as `wanted`.
    pub fn reaches(self, value: u64, wanted: u64) -> bool {
        match self {
            Self::Instructions | Self::Bytes => value <= wanted,
            Self::Speedup => value >= wanted,
        }
    }
}

const fn row(name: &'static str, title: &'static str, floor: Option<u64>, first: u64, aim: u64) -> Row {
    Row { name, title, floor, first, aim, unit: Unit::Instructions }
}

const fn row_of(unit: Unit, name: &'static str, title: &'static str, first: u64, aim: u64) -> Row {
    Row { name, title, floor: None, first, aim, unit }
}

/// Two threads on bcachefs, beside those on the file system that is measured.
pub const TWO_THREADS_SHARED: &str = "two_threads_shared";

/// The rows, in the design's order.
pub const ROWS: [Row; 19] = [
    row("call_reply", "call + reply through a user scheme", Some(107), 900, 400),
    row("read_fault_1_page", "read fault by message, one page", Some(178), 1_800, 800),
    row("read_fault_16_pages", "16-page window fault", Some(357), 2_400, 1_100),
    row("mapped_read_per_page", "sequential mapped read, per page", Some(13), 80, 25),
    row("page_mkwrite", "page_mkwrite incl. dirty and reservation", Some(180), 2_400, 1_100),
    row("inline_first_store", "first store to a mapped inline file", None, 8_000, 2_500),
    row("pread_4k", "pread 4 KiB cached", Some(780), 1_800, 1_200),
    row("pwrite_4k", "pwrite 4 KiB cached", Some(779), 2_200, 1_500),
    row("append_1_byte", "append 1 byte", None, 1_600, 900),
    row("open_close", "open + close", None, 4_000, 2_000),
    row("stat", "stat", None, 2_000, 1_000),
    row("create_close", "create + close", None, 25_000, 10_000),
    row("unlink", "unlink", None, 15_000, 6_000),
    row("create_write_4k_fsync", "create + write 4 KiB + fsync", None, 110_000, 50_000),
    row("fsync_1_page", "fsync of one dirty page", None, 22_000, 13_000),
    row_of(Unit::Speedup, "two_threads", "two threads overwriting halves of a file", 160, 180),
    row_of(Unit::Speedup, TWO_THREADS_SHARED, "the same on bcachefs, shared-inode-lock", 160, 180),
    row_of(Unit::Bytes, "metadata_per_page", "metadata per cached 4 KiB page", 64, 32),
    row("first_program", "first user instruction after reset", Some(71_000), 5_000_000, 2_000_000),
];
