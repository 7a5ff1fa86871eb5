//! The arguments of this program; most of ours are `key=value`.

use crate::entry::start_block;

/// All arguments in order (there is no program name among them).
pub fn all() -> impl Iterator<Item = &'static str> {
    let block = start_block();
    (0..).map_while(move |index| block?.get(index))
}

/// The value of the first argument `key=value`.
pub fn value(key: &str) -> Option<&'static str> {
    all().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='))
}
