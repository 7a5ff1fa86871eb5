//! QEMU command lines of the machines that our kernel runs on.

use crate::boot_conf::Virtio;
use crate::tool::QEMU;
use anyhow::Result;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Small, with virtio-mmio: ours.
    Microvm,
    /// A PC with PCI.
    Q35,
}

impl Machine {
    /// Where its virtio devices are.
    ///
    /// QEMU's microvm with ACPI has a second I/O APIC, whose 24 inputs (GSI 24 to 47) are the
    /// transports' (QEMU: docs/system/i386/microvm.rst). On q35 the firmware puts the configuration
    /// space of PCI Express at 0xb0000000 (the MCFG table says so, too).
    pub fn virtio(self) -> Virtio {
        match self {
            Self::Microvm => Virtio::Mmio { base: 0xfeb0_0000, stride: 0x200, count: 24, irq: 24 },
            Self::Q35 => Virtio::Pci { ecam: 0xb000_0000 },
        }
    }
}

/// What passes for time in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's time.
    Host,
    /// One instruction is one nanosecond: for measurements. One CPU only.
    Instructions,
}

/// What becomes of writes to a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// They go to the image.
    Kept,
    /// They go to a temporary file of QEMU; the image stays as it is.
    Discarded,
}

/// Whether a debugger is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debugger {
    /// None.
    Off,
    /// QEMU stops before the first instruction and listens on TCP port 1234.
    Waits,
}

/// Who is at the serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// A program that reads lines.
    Lines,
    /// A human: Ctrl-A X ends QEMU, Ctrl-C goes to the guest.
    Interactive,
}

/// A disk image as a block device.
#[derive(Clone, Debug)]
pub struct Drive {
    /// The image file.
    pub path: PathBuf,
    /// What becomes of writes to it.
    pub writes: Writes,
}

/// A machine that boots our kernel.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Machine type.
    pub machine: Machine,
    /// CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub mebibytes: u32,
    /// The kernel's ELF file.
    pub kernel: PathBuf,
    /// What [`crate::boot_image`] made.
    pub initrd: PathBuf,
    /// Disks, the first is the guest's virtio0.
    pub drives: Vec<Drive>,
    /// What passes for time.
    pub clock: Clock,
    /// Whether a debugger is waited for.
    pub debugger: Debugger,
    /// Who is at the serial line.
    pub terminal: Terminal,
}

/// The I/O port by which our kernel ends QEMU. Its exit status is `code << 1 | 1`.
const DEBUG_EXIT: &str = "isa-debug-exit,iobase=0xf4,iosize=1";

impl Vm {
    /// The command to run.
    ///
    /// # Errors
    /// QEMU is not installed.
    pub fn command(&self) -> Result<Command> {
        let mut command = QEMU.command()?;
        command.args(["-M", if self.machine == Machine::Microvm { "microvm,acpi=on" } else { "q35" }]);
        command.args(clock(self.clock));
        command.args(["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.mebibytes)]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd).args(["-append", ""]);
        command.args(["-nodefaults", "-no-reboot", "-display", "none", "-device", DEBUG_EXIT]);
        match self.terminal {
            Terminal::Lines => command.args(["-chardev", "stdio,id=tty,signal=off", "-serial", "chardev:tty"]),
            Terminal::Interactive => command.args(["-serial", "mon:stdio"]),
        };
        for (index, drive) in self.drives.iter().enumerate() {
            command.arg("-drive").arg(drive_argument(drive, index));
            let device = match self.machine {
                Machine::Microvm => "virtio-blk-device",
                Machine::Q35 => "virtio-blk-pci,disable-legacy=on",
            };
            command.args(["-device", &format!("{device},drive=disk{index}")]);
        }
        if self.debugger == Debugger::Waits {
            command.args(["-s", "-S"]);
        }
        Ok(command)
    }
}

/// Accelerator and CPU model. For measurements the CPU has no fast string instructions: under TCG
/// `rep movsb` costs an instruction a byte, and whoever uses it would look slow. Our kernel and the
/// Linux VM are measured with the same arguments.
pub fn clock(clock: Clock) -> &'static [&'static str] {
    match clock {
        Clock::Host => &["-accel", "tcg,thread=multi", "-cpu", "max"],
        Clock::Instructions => &["-accel", "tcg", "-icount", "shift=0", "-cpu", "max,-erms,-fsrm"],
    }
}

/// The `-drive` argument of disk number `index`, without a device.
pub fn drive_argument(drive: &Drive, index: usize) -> OsString {
    let mut argument = OsString::from("file=");
    argument.push(escape(&drive.path));
    let snapshot = if drive.writes == Writes::Discarded { ",snapshot=on" } else { "" };
    argument.push(format!(",format=raw,if=none,cache=unsafe,id=disk{index}{snapshot}"));
    argument
}

/// A comma in a QEMU option's value is written twice.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> Vm {
        Vm {
            machine: Machine::Microvm,
            cpus: 2,
            mebibytes: 256,
            kernel: "kernel".into(),
            initrd: "boot.img".into(),
            drives: vec![Drive { path: "a,b.img".into(), writes: Writes::Discarded }],
            clock: Clock::Host,
            debugger: Debugger::Off,
            terminal: Terminal::Lines,
        }
    }

    fn line(vm: &Vm) -> Option<String> {
        QEMU.find()?;
        Some(crate::tool::describe(&vm.command().unwrap()))
    }

    #[test]
    fn choices_show_on_the_command_line() {
        let Some(text) = line(&vm()) else {
            eprintln!("skipped: QEMU is not installed");
            return;
        };
        for part in ["-M microvm,acpi=on", "-smp 2", "file=a,,b.img", "snapshot=on", "virtio-blk-device,drive=disk0"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains(" -S"));
        let other = Vm {
            machine: Machine::Q35,
            clock: Clock::Instructions,
            debugger: Debugger::Waits,
            terminal: Terminal::Interactive,
            ..vm()
        };
        let text = line(&other).unwrap();
        for part in ["-M q35", "-icount shift=0", "max,-erms,-fsrm", "-s -S", "mon:stdio", "virtio-blk-pci"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
