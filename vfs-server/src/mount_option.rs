//! Mount options as text: names, values, and an error that lists what there is.
//!
//! Owns: options that are one of several names ([`Choice`]). Does not own: which options there are, which the
//! server ([`Config::set`](crate::Config::set)) and each file system say.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// An option whose value is one of several names: an enum of protocols.
pub trait Choice: Copy + 'static {
    /// The option's name.
    const OPTION: &'static str;
    /// All its values.
    const ALL: &'static [Self];

    /// A value as it is written in an option.
    fn name(self) -> &'static str;
}

/// A mount option that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Nobody knows it.
    #[error("there is no mount option {name}; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: &'static str,
    },
    /// It has other values.
    #[error("{option} cannot be {value:?}; it is one of: {known}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was asked for.
        value: String,
        /// What there is.
        known: String,
    },
}

impl OptionError {
    /// `option` is `known`, in words, and `value` is not.
    pub fn value(option: &'static str, value: &str, known: &str) -> Self {
        Self::Value { option, value: value.to_string(), known: known.to_string() }
    }
}

/// The value of a choice that `text` names.
///
/// # Errors
/// None has that name; the error lists them.
pub fn choose<T: Choice>(text: &str) -> Result<T, OptionError> {
    T::ALL.iter().copied().find(|value| value.name() == text).ok_or_else(|| {
        let names: Vec<_> = T::ALL.iter().map(|value| value.name()).collect();
        OptionError::value(T::OPTION, text, &names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CopyProtocol;

    #[test]
    fn a_value_that_is_not_there_is_told_with_those_that_are() {
        assert_eq!(choose::<CopyProtocol>("faulting"), Ok(CopyProtocol::Faulting));
        let error = choose::<CopyProtocol>("fast").unwrap_err();
        assert_eq!(error.to_string(), "copy cannot be \"fast\"; it is one of: retry, faulting");
    }
}
