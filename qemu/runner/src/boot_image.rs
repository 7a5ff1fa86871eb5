//! The initrd: the first process's raw image, and behind it the boot archive.
//!
//! The kernel copies the whole of it to [`LOAD_ADDRESS`] of the first process and jumps to the
//! address that stands at [`ENTRY_OFFSET`], without a stack; zeroed memory (bss) is part of the
//! image. This is Redox's bootstrap format, so that one file boots on both kernels. root-task finds
//! the archive at the page-aligned end of its own image.

use anyhow::{Context, Result, bail, ensure};
use elf::{ElfBytes, abi, endian::LittleEndian};

/// Virtual address of the image's first byte.
pub const LOAD_ADDRESS: u64 = 0x1000;
/// Offset of the entry address, a little-endian u64.
pub const ENTRY_OFFSET: usize = 0x1a;
/// The image's first bytes.
pub const MAGIC: &[u8; 8] = b"RedoxFtw";

const PAGE: usize = 4096;
/// An image beyond this is a linking mistake (a stray section far away), not a program.
const LARGEST: u64 = 64 << 20;

/// The initrd of `root_task` (an ELF file linked at [`LOAD_ADDRESS`]) with `archive` behind it.
///
/// # Errors
/// The ELF file is not one that the bootstrap can start.
pub fn boot_image(root_task: &[u8], archive: &[u8]) -> Result<Vec<u8>> {
    let mut image = flatten(root_task).context("root-task is not a first process")?;
    image.extend_from_slice(archive);
    Ok(image)
}

/// The memory of a static ELF program from [`LOAD_ADDRESS`] on, padded to a page.
fn flatten(program: &[u8]) -> Result<Vec<u8>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(program).context("not an ELF file")?;
    ensure!(elf.ehdr.e_machine == abi::EM_X86_64, "not an x86_64 ELF file");
    ensure!(elf.ehdr.e_type == abi::ET_EXEC, "not statically linked at a fixed address");
    let mut image = Vec::new();
    let mut code = None;
    for segment in elf.segments().context("no program headers")? {
        if segment.p_type != abi::PT_LOAD || segment.p_memsz == 0 {
            continue;
        }
        let (start, end) = (segment.p_vaddr, segment.p_vaddr.checked_add(segment.p_memsz));
        let Some(end) = end.filter(|end| start >= LOAD_ADDRESS && end - LOAD_ADDRESS <= LARGEST) else {
            bail!("a segment at {start:#x} lies outside {LOAD_ADDRESS:#x}..{:#x}", LOAD_ADDRESS + LARGEST);
        };
        let (from, to) = ((start - LOAD_ADDRESS) as usize, (end - LOAD_ADDRESS) as usize);
        let data = elf.segment_data(&segment).context("a segment's bytes are not in the file")?;
        ensure!(data.len() <= to - from, "a segment has more bytes in the file than in memory");
        image.resize(image.len().max(to), 0);
        image[from..from + data.len()].copy_from_slice(data);
        if segment.p_flags & abi::PF_X != 0 && (start..end).contains(&elf.ehdr.e_entry) {
            code = Some(start..end);
        }
    }
    ensure!(image.starts_with(MAGIC), "it does not begin with \"RedoxFtw\" at {LOAD_ADDRESS:#x}");
    let entry = image.get(ENTRY_OFFSET..ENTRY_OFFSET + 8).context("too short for the entry address")?;
    let entry = u64::from_le_bytes(entry.try_into().expect("the slice has 8 bytes"));
    let code = code.context("the ELF entry is in no executable segment")?;
    ensure!(code.contains(&entry), "the entry address {entry:#x} of the header is not in the program's code");
    image.resize(image.len().next_multiple_of(PAGE), 0);
    Ok(image)
}

/// A program without its section headers and debug information, which only debuggers read: what lies
/// behind the last byte of its segments is cut off.
///
/// # Errors
/// It is not an ELF file.
pub fn stripped(program: &[u8]) -> Result<Vec<u8>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(program).context("not an ELF file")?;
    let headers = elf.ehdr.e_phoff.saturating_add(u64::from(elf.ehdr.e_phnum) * u64::from(elf.ehdr.e_phentsize));
    let segments = elf.segments().context("no program headers")?;
    let end = segments.iter().map(|segment| segment.p_offset.saturating_add(segment.p_filesz)).max();
    let end = end.unwrap_or(0).max(headers);
    let mut bytes = program.get(..end as usize).context("a segment's bytes are not in the file")?.to_vec();
    // e_shoff (8 bytes at 0x28); e_shnum and e_shstrndx (2 bytes each at 0x3c).
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of one segment: `data` at `address`, `memory` bytes long, entry right behind the header.
    fn program(address: u64, data: &[u8], memory: u64, entry: u64) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend_from_slice(&2u16.to_le_bytes());
        file.extend_from_slice(&62u16.to_le_bytes());
        file.extend_from_slice(&1u32.to_le_bytes());
        file.extend_from_slice(&entry.to_le_bytes());
        file.extend_from_slice(&64u64.to_le_bytes());
        file.extend_from_slice(&0u64.to_le_bytes());
        file.extend_from_slice(&0u32.to_le_bytes());
        for half in [64u16, 56, 1, 64, 0, 0] {
            file.extend_from_slice(&half.to_le_bytes());
        }
        file.extend_from_slice(&1u32.to_le_bytes());
        file.extend_from_slice(&7u32.to_le_bytes());
        for word in [120, address, address, data.len() as u64, memory, 8] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(data);
        file
    }

    fn header(entry: u64) -> Vec<u8> {
        let mut data = MAGIC.to_vec();
        data.resize(ENTRY_OFFSET, 0);
        data.extend_from_slice(&entry.to_le_bytes());
        data.resize(64, 0x90);
        data
    }

    #[test]
    fn bss_is_zeroed_and_the_archive_starts_on_a_page() {
        let image = boot_image(&program(0x1000, &header(0x1030), 5000, 0x1030), b"070701").unwrap();
        assert_eq!(&image[..8], MAGIC);
        assert_eq!(image[64..8192].iter().filter(|byte| **byte != 0).count(), 0);
        assert_eq!(&image[8192..], b"070701");
    }

    #[test]
    fn what_the_bootstrap_cannot_start_is_refused() {
        let reason = |file: &[u8]| format!("{:#}", boot_image(file, b"").unwrap_err());
        assert!(reason(b"#!/bin/sh").contains("not an ELF file"));
        assert!(reason(&program(0x1000, &[0x90; 64], 64, 0x1030)).contains("RedoxFtw"));
        assert!(reason(&program(0x1000, &header(0x9000), 64, 0x1030)).contains("entry address 0x9000"));
        assert!(reason(&program(0x40_0000_0000, &header(0x1030), 64, 0x1030)).contains("lies outside"));
        assert!(reason(&program(0x0, &header(0x1030), 64, 0x1030)).contains("lies outside"));
    }

    #[test]
    fn stripping_keeps_the_segments_and_drops_the_rest() {
        let whole = program(0x1000, &header(0x1030), 5000, 0x1030);
        let mut with_sections = whole.clone();
        with_sections[0x28..0x30].copy_from_slice(&(whole.len() as u64 + 8).to_le_bytes());
        with_sections.resize(whole.len() + 8 + 64, 0);
        with_sections[0x3c] = 1;
        let stripped = stripped(&with_sections).unwrap();
        assert_eq!(stripped.len(), whole.len());
        assert_eq!(flatten(&stripped).unwrap(), flatten(&whole).unwrap());
    }
}
