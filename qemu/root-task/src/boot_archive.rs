//! Reads the boot archive: cpio's "newc" format (cpio(5), "New ASCII format").
//!
//! An entry is a 110-byte header of hexadecimal fields, the name with its NUL padded to 4, then the
//! data padded to 4; the last one is named `TRAILER!!!`.

/// Bytes of an entry's header.
pub const HEADER: usize = 110;

const MAGIC: &[u8] = b"070701";
const TRAILER: &str = "TRAILER!!!";
/// Hexadecimal digits of a field.
const DIGITS: usize = 8;
/// Which field is the data's size, and which the name's (NUL included).
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;

/// The sizes that a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    name: usize,
    data: usize,
}

impl Sizes {
    /// Reads them from an entry's first [`HEADER`] bytes; `None` if it is no such header.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let fields = header.get(..HEADER)?.strip_prefix(MAGIC)?;
        let field = |index: usize| {
            let digits = core::str::from_utf8(&fields[index * DIGITS..][..DIGITS]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        Some(Self { name: field(NAME_SIZE).filter(|&size| size > 0)?, data: field(FILE_SIZE)? })
    }

    /// Bytes of the entry, up to where the next one begins.
    pub fn entry(&self) -> usize {
        self.data_start() + self.data.next_multiple_of(4)
    }

    fn data_start(&self) -> usize {
        (HEADER + self.name).next_multiple_of(4)
    }
}

/// One file of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Path without a leading slash.
    pub name: &'a str,
    /// Contents.
    pub data: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Splits the first entry off; `None` if there is no whole one.
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let sizes = Sizes::parse(bytes)?;
        let name = bytes.get(HEADER..HEADER + sizes.name - 1)?;
        let data = bytes.get(sizes.data_start()..sizes.data_start() + sizes.data)?;
        let rest = bytes.get(sizes.entry()..).unwrap_or(&[]);
        Some((Self { name: core::str::from_utf8(name).ok()?, data }, rest))
    }

    /// Whether it is the mark of the archive's end.
    pub fn is_trailer(&self) -> bool {
        self.name == TRAILER
    }
}

/// The archive as a whole.
#[derive(Clone, Copy)]
pub struct Archive<'a>(pub &'a [u8]);

impl<'a> Archive<'a> {
    /// Its files in order.
    pub fn entries(self) -> impl Iterator<Item = Entry<'a>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (entry, after) = Entry::parse(rest)?;
            rest = after;
            (!entry.is_trailer()).then_some(entry)
        })
    }

    /// The contents of the file `name`.
    pub fn find(self, name: &str) -> Option<&'a [u8]> {
        self.entries().find(|entry| entry.name == name).map(|entry| entry.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec::Vec};

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, data) in files.iter().chain([&(TRAILER, &b""[..])]) {
            let mut fields = [0; 13];
            fields[FILE_SIZE] = data.len();
            fields[NAME_SIZE] = name.len() + 1;
            bytes.extend_from_slice(MAGIC);
            fields.iter().for_each(|field| bytes.extend_from_slice(format!("{field:08X}").as_bytes()));
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn files_are_found_by_name() {
        let bytes = archive(&[("etc/boot.conf", b"mode=test\n"), ("bin/vfsd", &[7; 33]), ("empty", b"")]);
        let archive = Archive(&bytes);
        assert_eq!(archive.find("etc/boot.conf"), Some(&b"mode=test\n"[..]));
        assert_eq!(archive.find("bin/vfsd"), Some(&[7; 33][..]));
        assert_eq!(archive.find("empty"), Some(&b""[..]));
        assert_eq!(archive.find("bin"), None);
        assert_eq!(archive.entries().count(), 3);
    }

    #[test]
    fn the_sizes_add_up_to_the_archive() {
        let bytes = archive(&[("a", b"12345"), ("bc", b"")]);
        let mut at = 0;
        while at < bytes.len() {
            at += Sizes::parse(&bytes[at..]).unwrap().entry();
        }
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn a_cut_or_foreign_archive_ends() {
        let bytes = archive(&[("bin/vfsd", &[7; 33])]);
        assert_eq!(Archive(&bytes[..140]).entries().count(), 0);
        assert_eq!(Archive(b"").entries().count(), 0);
        assert_eq!(Archive(&[b'0'; 400]).entries().count(), 0);
    }
}
