//! Writes cpio "newc" archives.
//!
//! The boot archive behind the first process and Linux's initramfs are both of this format. It is
//! small enough to write by hand, and doing so keeps the host from needing a `cpio` program.
//!
//! Layout: cpio(5), "New ASCII format": a 110-byte header of hexadecimal fields, the name with its
//! NUL padded to 4, the data padded to 4; a last entry named `TRAILER!!!`.

/// An archive under construction. Names are relative paths without a leading slash.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// File type and permission bits as `st_mode` has them.
const DIRECTORY: u32 = 0o040755;
const PROGRAM: u32 = 0o100755;
const FILE: u32 = 0o100644;

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory. Linux wants it before the files in it; our root-task does not care.
    pub fn directory(&mut self, name: &str) -> &mut Self {
        self.entry(name, DIRECTORY, &[])
    }

    /// Adds a file with mode 0755.
    pub fn program(&mut self, name: &str, data: &[u8]) -> &mut Self {
        self.entry(name, PROGRAM, data)
    }

    /// Adds a file with mode 0644.
    pub fn file(&mut self, name: &str, data: &[u8]) -> &mut Self {
        self.entry(name, FILE, data)
    }

    /// The archive with its trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) -> &mut Self {
        self.entries += 1;
        let links = if mode & 0o170000 == 0o040000 { 2 } else { 1 };
        let size = u32::try_from(data.len()).expect("a newc entry is at most 4 GiB, and ours are programs");
        // inode, mode, uid, gid, nlink, mtime, filesize, dev and rdev (major, minor), namesize, check
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(bytes: &[u8], index: usize) -> usize {
        let at = 6 + index * 8;
        usize::from_str_radix(std::str::from_utf8(&bytes[at..at + 8]).unwrap(), 16).unwrap()
    }

    #[test]
    fn an_entry_is_header_name_and_data_each_padded_to_four() {
        let mut archive = Archive::new();
        archive.program("bin/vfsd", b"ELF..");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(field(&bytes, 1), 0o100755);
        assert_eq!((field(&bytes, 6), field(&bytes, 11)), (5, 9));
        assert_eq!(&bytes[110..119], b"bin/vfsd\0");
        assert_eq!(&bytes[120..125], b"ELF..");
        assert_eq!(&bytes[128..134], b"070701");
        assert!(bytes.windows(11).any(|w| w == b"TRAILER!!!\0"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn the_reference_tool_lists_it() {
        let mut archive = Archive::new();
        archive.directory("etc").file("etc/boot.conf", b"mode=test\n").program("bin/a", &[7; 4097]);
        let Ok(mut cpio) = std::process::Command::new("cpio")
            .arg("-itv")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
        else {
            eprintln!("no cpio program here: only the layout test above ran");
            return;
        };
        std::io::Write::write_all(&mut cpio.stdin.take().unwrap(), &archive.finish()).unwrap();
        let listed = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let names: Vec<_> = listed.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(names, ["etc", "etc/boot.conf", "bin/a"]);
        assert!(listed.contains("4097"), "{listed}");
    }
}
