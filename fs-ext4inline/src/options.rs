//! Mount options: `name=value`.

use crate::protocol::InlineProtocol;
use alloc::string::ToString;
use vfs_server::mount_option::{Choice, OptionError, choose};

/// The options of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `inline=`
    pub inline: InlineProtocol,
}

impl Options {
    /// Parses options; an unknown one is an error.
    pub fn parse<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OptionError> {
        let mut parsed = Self::default();
        for (name, value) in options {
            match name {
                InlineProtocol::OPTION => parsed.inline = choose(value)?,
                _ => return Err(OptionError::Unknown { name: name.to_string(), known: InlineProtocol::OPTION }),
            }
        }
        Ok(parsed)
    }
}
