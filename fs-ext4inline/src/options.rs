//! Mount options: `name=value`.

use core::str::FromStr;

use crate::error::{Error, Result};

/// How a store through a mapping and a write to an inline file come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InlineProtocol {
    /// Contents move to a block when a shared mapping that may become writable is made, under the
    /// inode lock.
    #[default]
    MmapTime,
}

impl InlineProtocol {
    /// As it is written in an option.
    pub fn name(self) -> &'static str {
        match self {
            Self::MmapTime => "mmap-time",
        }
    }
}

impl FromStr for InlineProtocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::MmapTime].into_iter().find(|protocol| protocol.name() == text).ok_or(Error::Invalid)
    }
}

/// The options of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `inline=`
    pub inline: InlineProtocol,
}

impl Options {
    /// Parses options; an unknown one is an error.
    pub fn parse<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut parsed = Self::default();
        for (name, value) in options {
            match name {
                "inline" => parsed.inline = value.parse()?,
                _ => return Err(Error::Invalid),
            }
        }
        Ok(parsed)
    }
}
