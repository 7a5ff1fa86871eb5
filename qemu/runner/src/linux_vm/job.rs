//! One run of the Linux VM: disks, files and a script; lines out, a status.
//!
//! The script runs as root under busybox's shell with the disks as /dev/vda, /dev/vdb, .. and the
//! job's files in /job. What it prints comes over a virtio console, apart from the kernel's own
//! messages, which go to a log.

use super::package::LinuxKernel;
use crate::archive::Archive;
use crate::guest::{Guest, Heard};
use crate::qemu::{Clock, Drive, clock, drive_argument};
use crate::tool::{self, QEMU};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Disks: /dev/vda, ..
    pub drives: Vec<Drive>,
    /// Executable files for /job: name and bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// A shell script.
    pub script: String,
    /// CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub mebibytes: u32,
    /// What passes for time.
    pub clock: Clock,
    /// Most time it may take.
    pub limit: Duration,
    /// An existing folder for the initramfs and the logs.
    pub folder: PathBuf,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The script's exit status.
    pub status: i32,
    /// The script's output.
    pub lines: Vec<String>,
}

/// Ends the output; the script's status follows.
const EXIT: &str = "##vm exit ";

const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /bin /proc /sys /dev /tmp /run /mnt /etc
/bin/busybox --install -s /bin
export PATH=/bin:/job
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp
echo root:x:0:0:root:/:/bin/sh >/etc/passwd
while read m; do insmod /modules/$m || echo insmod $m failed >/dev/hvc0; done </modules/order
cd /
sh /job/script </dev/null >/dev/hvc0 2>&1
echo \"##vm exit $?\" >/dev/hvc0
umount -a 2>/dev/null; sync; poweroff -f
";

impl Job {
    /// A job on `drives` with two CPUs and 1 GiB, that may take five minutes.
    pub fn new(folder: PathBuf, drives: Vec<Drive>, script: &str) -> Self {
        Self {
            drives,
            files: Vec::new(),
            script: script.to_string(),
            cpus: 2,
            mebibytes: 1024,
            clock: Clock::Host,
            limit: Duration::from_secs(300),
            folder,
        }
    }

    /// Starts the machine; for those who read its lines themselves.
    ///
    /// # Errors
    /// QEMU is missing or a file cannot be read or written.
    pub fn start(&self, kernel: &LinuxKernel) -> Result<Guest> {
        Guest::start(self.command(kernel)?, &self.log())
    }

    /// Where the script's lines go.
    pub fn log(&self) -> PathBuf {
        self.folder.join("linux.log")
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// The machine could not be started, hung, or ended without the script's status; the error has
    /// the end of its output.
    pub fn run(&self, kernel: &LinuxKernel) -> Result<Done> {
        match self.follow(kernel)? {
            (lines, Some(status)) => Ok(Done { status, lines }),
            (lines, None) => bail!("the Linux VM ended before its script did\n{}", self.end(&lines)),
        }
    }

    /// Runs a script that ends in a reset of the machine.
    ///
    /// # Errors
    /// As [`Job::run`], and if the script came to its end.
    pub fn run_to_reset(&self, kernel: &LinuxKernel) -> Result<()> {
        match self.follow(kernel)? {
            (_, None) => Ok(()),
            (lines, Some(status)) => {
                bail!("the script ended with status {status}, not in a reset\n{}", self.end(&lines))
            }
        }
    }

    /// The script's lines, and its status if it came to its end.
    fn follow(&self, kernel: &LinuxKernel) -> Result<(Vec<String>, Option<i32>)> {
        let mut guest = self.start(kernel)?;
        let deadline = Instant::now() + self.limit;
        let mut lines = Vec::new();
        let mut status = None;
        loop {
            match guest.hear(deadline.saturating_duration_since(Instant::now())) {
                Heard::Line(line) => match line.strip_prefix(EXIT) {
                    Some(text) => {
                        status = Some(text.trim().parse().with_context(|| format!("bad status {text:?}"))?);
                    }
                    None => lines.push(line),
                },
                Heard::Silence => {
                    bail!("the Linux VM did not finish in {} s\n{}", self.limit.as_secs(), self.end(&lines))
                }
                // The disks are whole only once QEMU has ended.
                Heard::Closed => match guest.wait(self.limit)? {
                    Some(_) => return Ok((lines, status)),
                    None => bail!("QEMU closed the console but did not end"),
                },
            }
        }
    }

    /// The last lines of the script and of the kernel, for an error.
    fn end(&self, lines: &[String]) -> String {
        let console = fs::read(self.console_log()).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).replace('\r', "");
        format!("{}\n{}", lines[lines.len().saturating_sub(20)..].join("\n"), tool::tail(&console, 20))
    }

    fn console_log(&self) -> PathBuf {
        self.folder.join("linux-console.log")
    }

    fn command(&self, kernel: &LinuxKernel) -> Result<Command> {
        let initrd = self.folder.join("initramfs.img");
        fs::write(&initrd, self.initramfs(kernel)?).with_context(|| format!("writing {}", initrd.display()))?;
        let mut command = QEMU.command()?;
        command.args(["-M", "q35"]).args(clock(self.clock));
        command.args(["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.mebibytes)]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initrd);
        command.args(["-append", "console=ttyS0 quiet loglevel=4 tsc=reliable panic=-1"]);
        command.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        command.arg("-serial").arg(format!("file:{}", self.console_log().display()));
        command.args(["-device", "virtio-serial-pci", "-chardev", "stdio,id=out,signal=off"]);
        command.args(["-device", "virtconsole,chardev=out"]);
        for (index, drive) in self.drives.iter().enumerate() {
            command.arg("-drive").arg(drive_argument(drive, index));
            command.args(["-device", &format!("virtio-blk-pci,drive=disk{index}")]);
        }
        Ok(command)
    }

    fn initramfs(&self, kernel: &LinuxKernel) -> Result<Vec<u8>> {
        let read = |path: &PathBuf| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let mut archive = Archive::new();
        archive.program("init", INIT.as_bytes()).directory("bin").program("bin/busybox", &read(&kernel.busybox)?);
        archive.directory("modules");
        let mut order = String::new();
        for module in &kernel.modules {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&format!("modules/{name}"), &read(module)?);
            order.push_str(&format!("{name}\n"));
        }
        archive.file("modules/order", order.as_bytes());
        archive.directory("job").program("job/script", self.script.as_bytes());
        for (name, bytes) in &self.files {
            archive.program(&format!("job/{name}"), bytes);
        }
        Ok(archive.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext4_image::{self, Geometry, Health, Image, recreate};
    use crate::qemu::Writes;
    use crate::{manifest, sample_tree};

    /// Runs only where the kernel is already in the cache: a unit test downloads nothing.
    #[test]
    fn linux_reads_a_made_disk_and_we_read_what_it_writes() {
        let Some(kernel) = LinuxKernel::in_cache() else {
            eprintln!("skipped: no Linux kernel in the cache (`cargo xtask linux-tests` fetches it)");
            return;
        };
        if QEMU.find().is_none() || ext4_image::TOOLS.iter().any(|tool| tool.find().is_none()) {
            eprintln!("skipped: QEMU or e2fsprogs is not installed");
            return;
        }
        let folder = std::env::temp_dir().join(format!("faultline-linux-vm-{}", std::process::id()));
        let root = folder.join("root");
        recreate(&root).unwrap();
        sample_tree::generate(&root).unwrap();
        let image = Image::make(&folder.join("disk.img"), Geometry::default(), Some(&root)).unwrap();
        let script = "mount /dev/vda /mnt && cd /mnt && sha256sum -c sample.sha256 | grep -vc ': OK$'
            echo written by Linux >new && sha256sum new >verify/linux.sha256
            cat nothing-there; cd / && umount /mnt && exit 7";
        let drives = vec![Drive { path: image.path.clone(), writes: Writes::Kept }];
        let done = Job::new(folder.clone(), drives, script).run(&kernel).unwrap();
        assert_eq!(done.status, 7, "{:?}", done.lines);
        assert_eq!(done.lines[0], "0", "{:?}", done.lines);
        assert!(done.lines[1].contains("nothing-there"), "{:?}", done.lines);
        assert_eq!(image.check().unwrap(), Health::Clean);
        let lists = manifest::on_image(&image, &folder.join("scratch")).unwrap();
        assert_eq!(lists.len(), 2);
        for (name, list) in lists {
            manifest::ensure_same(&name, &list.check(&image, &folder.join("scratch")).unwrap()).unwrap();
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
