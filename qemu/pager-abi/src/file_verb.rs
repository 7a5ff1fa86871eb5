//! CALL verbs on a file of the server: what files need beyond Redox's own calls.
//!
//! Word 0 of the metadata is the [`FileVerb`], words 1 and 2 its arguments (at most 3 words reach a
//! scheme). The call reaches the server as `Opcode::Call` with args = [file id, payload, length,
//! word 0, word 1, word 2].
//!
//! Links, renames and times go the way that redox_syscall 0.9.4 and 0.9.5 have for them: FLINK and
//! FRENAME, and `StdFsCall` kinds ([`STD_FS_RENAMEAT`], [`STD_FS_LINKAT`] are 0.9.5's).

/// `StdFsCallKind::Frenameat` of redox_syscall 0.9.5.
pub const STD_FS_RENAMEAT: u8 = 15;

/// `StdFsCallKind::Flinkat` of redox_syscall 0.9.5.
pub const STD_FS_LINKAT: u8 = 16;

/// Word 0 of the metadata of a CALL on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum FileVerb {
    /// Writes back the dirty pages of [word 1, word 1 + word 2) bytes and waits until they and the
    /// metadata to reach them are on the disk (`msync(MS_SYNC)`). Word 2 = 0: to the end.
    Msync = 0x464c_0001,
    /// As fsync, without metadata that only tells times.
    Fdatasync = 0x464c_0002,
    /// Result: the offset of the first hole at or after word 1.
    SeekHole = 0x464c_0003,
    /// Result: the offset of the first data at or after word 1; `ENXIO` if there is none.
    SeekData = 0x464c_0004,
    /// Writes back everything of this file system and waits (`syncfs`).
    Syncfs = 0x464c_0005,
}

impl FileVerb {
    /// The verb that `raw` stands for, if any.
    pub fn from_raw(raw: u64) -> Option<Self> {
        use FileVerb::*;
        [Msync, Fdatasync, SeekHole, SeekData, Syncfs].into_iter().find(|&verb| verb as u64 == raw)
    }
}
