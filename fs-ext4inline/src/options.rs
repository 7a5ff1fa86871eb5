//! Mount options: `name=value`.

use crate::error::{Error, Result};
use crate::protocol::InlineProtocol;

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
