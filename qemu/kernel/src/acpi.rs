//! The ACPI tables that name CPUs and interrupt controllers.
//!
//! Reads bytes, touches no hardware. Layouts: ACPI specification 6.5, 5.2.5 (RSDP), 5.2.7 (RSDT),
//! 5.2.8 (XSDT), 5.2.12 (MADT). The firmware's tables are claims: what does not add up is skipped.

use alloc::vec::Vec;

/// An interrupt controller for devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Physical address of its registers.
    pub address: u64,
    /// The first global system interrupt that it serves.
    pub gsi_base: u32,
}

/// An ISA interrupt that is wired otherwise than one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The ISA number.
    pub irq: u8,
    /// The global system interrupt.
    pub gsi: u32,
    /// MPS INTI flags: polarity in bits 1..0, trigger mode in bits 3..2.
    pub flags: u16,
}

/// What the MADT tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Madt {
    /// Physical address of every CPU's own local APIC.
    pub local_apic: u64,
    /// APIC ids of the CPUs that may be started.
    pub cpus: Vec<u8>,
    /// The interrupt controllers.
    pub io_apics: Vec<IoApic>,
    /// ISA interrupts that are not one to one.
    pub overrides: Vec<Override>,
}

/// How a table is read: the bytes at a physical address, or `None` if they are not memory.
pub trait Memory {
    /// `len` bytes at `paddr`.
    fn bytes(&self, paddr: u64, len: usize) -> Option<&[u8]>;
}

/// Walks from the root pointer to the MADT.
pub fn find_madt(memory: &impl Memory, rsdp: u64) -> Option<Madt> {
    let root = memory.bytes(rsdp, 36).or_else(|| memory.bytes(rsdp, 20))?;
    if &root[..8] != b"RSD PTR " {
        return None;
    }
    let xsdt = if root[15] >= 2 { u64_at(root, 24) } else { None }.filter(|&address| address != 0);
    let (address, width) = match xsdt {
        Some(address) => (address, 8),
        None => (u64::from(u32_at(root, 16)?), 4),
    };
    let entries = table(memory, address)?.get(36..)?;
    entries.chunks_exact(width).find_map(|entry| {
        let address = if width == 8 { u64_at(entry, 0)? } else { u64::from(u32_at(entry, 0)?) };
        let bytes = table(memory, address)?;
        (&bytes[..4] == b"APIC").then(|| parse_madt(bytes)).flatten()
    })
}

/// The root pointer, searched where the BIOS may leave it.
pub fn search_rsdp(memory: &impl Memory) -> Option<u64> {
    let (start, len) = (0xe_0000, 0x2_0000);
    let area = memory.bytes(start, len)?;
    (0..len - 20).step_by(16).find(|&at| &area[at..at + 8] == b"RSD PTR ").map(|at| start + at as u64)
}

fn table(memory: &impl Memory, address: u64) -> Option<&[u8]> {
    let len = u32_at(memory.bytes(address, 36)?, 4)? as usize;
    if len < 36 { None } else { memory.bytes(address, len) }
}

fn parse_madt(bytes: &[u8]) -> Option<Madt> {
    let mut madt = Madt { local_apic: u64::from(u32_at(bytes, 36)?), ..Madt::default() };
    let mut rest = bytes.get(44..)?;
    while let [kind, len, ..] = *rest {
        let entry = rest.get(..len as usize).filter(|entry| entry.len() >= 2)?;
        rest = &rest[len as usize..];
        match kind {
            // Enabled, or can be enabled.
            0 if u32_at(entry, 4)? & 0b11 != 0 => madt.cpus.push(*entry.get(3)?),
            1 => madt.io_apics.push(IoApic { address: u64::from(u32_at(entry, 4)?), gsi_base: u32_at(entry, 8)? }),
            2 => madt.overrides.push(Override {
                irq: *entry.get(3)?,
                gsi: u32_at(entry, 4)?,
                flags: u16::from_le_bytes(entry.get(8..10)?.try_into().ok()?),
            }),
            5 => madt.local_apic = u64_at(entry, 4)?,
            _ => {}
        }
    }
    Some(madt)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    struct Fake(Vec<u8>);
    impl Memory for Fake {
        fn bytes(&self, paddr: u64, len: usize) -> Option<&[u8]> {
            self.0.get(paddr as usize..paddr as usize + len)
        }
    }

    fn fake() -> Fake {
        let mut bytes = vec![0; 0x400];
        bytes[0..8].copy_from_slice(b"RSD PTR ");
        bytes[16..20].copy_from_slice(&0x100u32.to_le_bytes());
        bytes[0x104..0x108].copy_from_slice(&40u32.to_le_bytes());
        bytes[0x124..0x128].copy_from_slice(&0x200u32.to_le_bytes());
        bytes[0x200..0x204].copy_from_slice(b"APIC");
        bytes[0x224..0x228].copy_from_slice(&0xfee0_0000u32.to_le_bytes());
        let entries: &[&[u8]] = &[
            &[0, 8, 0, 7, 1, 0, 0, 0],
            &[0, 8, 1, 8, 0, 0, 0, 0],
            &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0],
            &[2, 10, 0, 0, 2, 0, 0, 0, 13, 0],
        ];
        let mut at = 0x22c;
        for entry in entries {
            bytes[at..at + entry.len()].copy_from_slice(entry);
            at += entry.len();
        }
        bytes[0x204..0x208].copy_from_slice(&(at as u32 - 0x200).to_le_bytes());
        Fake(bytes)
    }

    #[test]
    fn madt_names_cpus_and_controllers() {
        let madt = find_madt(&fake(), 0).unwrap();
        assert_eq!(madt.local_apic, 0xfee0_0000);
        assert_eq!(madt.cpus, [7]);
        assert_eq!(madt.io_apics, [IoApic { address: 0xfec0_0000, gsi_base: 24 }]);
        assert_eq!(madt.overrides, [Override { irq: 0, gsi: 2, flags: 13 }]);
    }

    #[test]
    fn a_broken_entry_ends_in_none_not_in_a_loop() {
        let mut memory = fake();
        memory.0[0x22d] = 0;
        assert_eq!(find_madt(&memory, 0), None);
        memory.0[0] = 0;
        assert_eq!(find_madt(&memory, 0), None);
    }
}
