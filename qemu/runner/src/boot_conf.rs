//! `etc/boot.conf` of the boot archive: what the guest is to do, as `key=value` lines.
//!
//! root-task reads it and hands the disk's and the mount's lines to `vfsd` as arguments.

use std::fmt::Write;

/// What root-task does after the server is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Run the test programs one after another, then shut down.
    Test,
    /// An interactive shell on the serial line.
    Shell,
    /// Run the benchmark programs, then shut down.
    Bench,
    /// The program that shows Redox's scheme contract; no file server.
    Contract,
}

/// Where the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// The first virtio block device.
    Virtio,
    /// `ramdisk.img` of the boot archive.
    Ram,
}

/// Where a machine has its virtio devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtio {
    /// In memory-mapped slots.
    Mmio {
        /// Physical address of the first one.
        base: u64,
        /// Bytes from one to the next.
        stride: u64,
        /// How many there are.
        count: u32,
        /// Interrupt (GSI) of the first one; the others follow.
        irq: u32,
    },
    /// On PCI bus 0.
    Pci {
        /// Physical address of the bus's configuration space.
        ecam: u64,
    },
}

/// Everything that the guest is told.
#[derive(Clone, Debug)]
pub struct BootConf {
    /// What to do.
    pub mode: Mode,
    /// Programs of `bin/` to run, in this order.
    pub programs: Vec<String>,
    /// Where the file system is.
    pub disk: Disk,
    /// Mounted for writing, or read-only.
    pub access: Access,
    /// Where virtio devices are looked for.
    pub virtio: Virtio,
    /// Mount options, name and value.
    pub options: Vec<(String, String)>,
    /// Whether messages and faults are printed.
    pub trace: Trace,
    /// Lines for one mode only, such as the images of a corruption run.
    pub extra: Vec<(String, String)>,
}

/// How the file system is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing on the disk changes.
    ReadOnly,
    /// Ordinary.
    ReadWrite,
}

/// Whether messages and faults are printed on the serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// No.
    Off,
    /// Yes, readable.
    On,
}

impl BootConf {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let mode = match self.mode {
            Mode::Test => "test",
            Mode::Shell => "shell",
            Mode::Bench => "bench",
            Mode::Contract => "contract",
        };
        let disk = match self.disk {
            Disk::Virtio => "virtio0",
            Disk::Ram => "ramdisk",
        };
        let mut text = String::new();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{key}={value}").expect("writing to a String cannot fail");
        };
        line("mode", &mode);
        line("tests", &self.programs.join(","));
        match self.virtio {
            Virtio::Mmio { base, stride, count, irq } => {
                line("virtio-mmio", &format_args!("{base:#x},{stride:#x},{count}"));
                line("virtio-irq", &irq);
            }
            Virtio::Pci { ecam } => line("virtio-pci", &format_args!("{ecam:#x}")),
        }
        line("disk", &disk);
        line("rw", &u8::from(self.access == Access::ReadWrite));
        for (name, value) in &self.options {
            line(&format!("opt.{name}"), value);
        }
        line("trace", &u8::from(self.trace == Trace::On));
        for (name, value) in &self.extra {
            line(name, value);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_a_line() {
        let conf = BootConf {
            mode: Mode::Test,
            programs: vec!["read_write".into(), "map".into()],
            disk: Disk::Virtio,
            access: Access::ReadWrite,
            virtio: Virtio::Mmio { base: 0xfeb0_0000, stride: 0x200, count: 24, irq: 24 },
            options: vec![("inline".into(), "mmap-time".into())],
            trace: Trace::Off,
            extra: vec![],
        };
        assert_eq!(
            conf.to_text(),
            "mode=test\ntests=read_write,map\nvirtio-mmio=0xfeb00000,0x200,24\nvirtio-irq=24\ndisk=virtio0\nrw=1\n\
             opt.inline=mmap-time\ntrace=0\n"
        );
    }
}
