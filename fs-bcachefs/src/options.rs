//! Mount options: `name=value`.

use alloc::format;
use alloc::string::ToString;
use vfs_server::mount_option::{Choice, OptionError, choose};
use vfs_server::page_cache::FolioBatch;

/// How buffered writes of one file exclude each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteProtocol {
    /// The inode lock for the whole write: Linux 6.12 and later.
    InodeLock,
    /// No inode lock unless the write appends or extends: Linux 6.9 and 6.10 (7e64c86cdc6c), with its
    /// defects.
    Lockless,
    /// The inode lock shared, all folios of the range, and the client's bytes at hand before: ours.
    #[default]
    SharedInodeLock,
}

impl WriteProtocol {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::InodeLock, Self::Lockless, Self::SharedInodeLock];

    /// As it is written in an option.
    pub fn name(self) -> &'static str {
        match self {
            Self::InodeLock => "inode-lock",
            Self::Lockless => "lockless",
            Self::SharedInodeLock => "shared-inode-lock",
        }
    }
}

impl Choice for WriteProtocol {
    const OPTION: &'static str = "write";
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.name()
    }
}

/// What the device holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeKind {
    /// A bcachefs.
    #[default]
    Disk,
    /// Nothing that anybody wants to keep: an empty volume for this mount.
    Scratch,
}

/// The options of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `write=`
    pub write: WriteProtocol,
    /// `folios=`: the most folios that a write locks at once (Linux: about 1 MiB).
    pub folios_at_once: usize,
    /// `volume=`
    pub volume: VolumeKind,
}

impl Default for Options {
    fn default() -> Self {
        Self { write: WriteProtocol::default(), folios_at_once: FolioBatch::MAX, volume: VolumeKind::default() }
    }
}

impl Options {
    /// Parses options; an unknown one is an error.
    pub fn parse<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OptionError> {
        let mut parsed = Self::default();
        for (name, value) in options {
            match name {
                WriteProtocol::OPTION => parsed.write = choose(value)?,
                "folios" => {
                    let folios = value.parse().ok().filter(|folios| (1..=FolioBatch::MAX).contains(folios));
                    let range = || OptionError::value("folios", value, &format!("1 to {}", FolioBatch::MAX));
                    parsed.folios_at_once = folios.ok_or_else(range)?;
                }
                "volume" if value == "scratch" => parsed.volume = VolumeKind::Scratch,
                "volume" => return Err(OptionError::value("volume", value, "scratch")),
                _ => return Err(OptionError::Unknown { name: name.to_string(), known: "write, folios, volume" }),
            }
        }
        Ok(parsed)
    }
}
