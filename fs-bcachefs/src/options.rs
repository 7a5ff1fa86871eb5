//! Mount options: `name=value`.

use crate::error::{Error, Result};
use core::str::FromStr;
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

impl FromStr for WriteProtocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == text).ok_or(Error::Option("write"))
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
    pub fn parse<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut parsed = Self::default();
        for (name, value) in options {
            match name {
                "write" => parsed.write = value.parse()?,
                "folios" => {
                    let folios = value.parse().map_err(|_| Error::Option("folios"))?;
                    if !(1..=FolioBatch::MAX).contains(&folios) {
                        return Err(Error::Option("folios"));
                    }
                    parsed.folios_at_once = folios;
                }
                "volume" if value == "scratch" => parsed.volume = VolumeKind::Scratch,
                "volume" => return Err(Error::Option("volume")),
                _ => return Err(Error::Option("that is not known")),
            }
        }
        Ok(parsed)
    }
}
