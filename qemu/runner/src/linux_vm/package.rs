//! The Linux kernel, the modules that our VM needs and busybox, from Debian's packages.
//!
//! The packages are fetched by `apt-get download`, which needs no administrator, unpacked by
//! dpkg-deb, and what we need of them is kept in the user's cache. ext4, the console and PCI are
//! built into Debian's cloud kernel; the block driver is a module.

use super::modules::Modules;
use crate::ext4_image::recreate;
use crate::tool::{self, Tool};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const APT_GET: Tool = Tool { name: "apt-get", package: "apt" };
const APT_CACHE: Tool = Tool { name: "apt-cache", package: "apt" };
const DPKG_DEB: Tool = Tool { name: "dpkg-deb", package: "dpkg" };

/// Debian's names for the kernel that our figures are compared with.
const KERNEL_PACKAGES: &str = r"^linux-image-6\.12.*-cloud-amd64-unsigned$";
const BUSYBOX_PACKAGE: &str = "busybox-static";
/// What the machine's devices and ext4 need, built in or not.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_console", "ext4"];
/// 35 MB over a slow line.
const DOWNLOAD: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);

/// What the VM is made of, as files in the cache.
#[derive(Clone, Debug)]
pub struct LinuxKernel {
    /// The Debian package's name, which has the version.
    pub package: String,
    /// The kernel image.
    pub image: PathBuf,
    /// The static busybox.
    pub busybox: PathBuf,
    /// Kernel modules, in load order.
    pub modules: Vec<PathBuf>,
}

impl LinuxKernel {
    /// The kernel in the cache, or a fresh one from Debian; `say` is told before anything slow.
    ///
    /// # Errors
    /// It is not in the cache and cannot be fetched: no apt, no network, no such package. The error
    /// is the reason to give where the VM's results would stand.
    pub fn obtain(say: &dyn Fn(&str)) -> Result<Self> {
        let folder = cache_folder()?.join("linux-vm");
        match Self::in_folder(&folder) {
            Some(kernel) => Ok(kernel),
            None => {
                fetch(&folder, say)?;
                Self::in_folder(&folder).context("the cache is incomplete right after it was filled")
            }
        }
    }

    /// The kernel in the cache, if it is there.
    pub fn in_cache() -> Option<Self> {
        Self::in_folder(&cache_folder().ok()?.join("linux-vm"))
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let package = fs::read_to_string(folder.join("package")).ok()?;
        let order = fs::read_to_string(folder.join("modules.order")).ok()?;
        Some(Self {
            package,
            image: folder.join("vmlinuz"),
            busybox: folder.join("busybox"),
            modules: order.lines().map(|name| folder.join(name)).collect(),
        })
    }
}

/// The user's cache folder for us, by the XDG base directory specification.
fn cache_folder() -> Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let base = match (named, std::env::var_os("HOME")) {
        (Some(folder), _) => folder,
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => bail!("neither XDG_CACHE_HOME nor HOME says where the cache is"),
    };
    Ok(base.join("faultline"))
}

/// Fills `folder`, in one step: a fetch that fails half way leaves nothing behind that looks whole.
fn fetch(folder: &Path, say: &dyn Fn(&str)) -> Result<()> {
    let work = folder.with_extension(format!("new-{}", std::process::id()));
    recreate(&work)?;
    let filled = fill(&work, say).and_then(|()| {
        fs::remove_dir_all(folder).ok();
        fs::rename(&work, folder).with_context(|| format!("moving it to {}", folder.display()))
    });
    fs::remove_dir_all(&work).ok();
    filled
}

fn fill(work: &Path, say: &dyn Fn(&str)) -> Result<()> {
    let package = match newest_kernel()? {
        Some(package) => package,
        None => {
            update_lists(say)?;
            newest_kernel()?.with_context(|| {
                format!("Debian offers no package {KERNEL_PACKAGES} here (bookworm-security or -backports has it)")
            })?
        }
    };
    say(&format!("Fetching {package} and {BUSYBOX_PACKAGE} (35 MB, once)"));
    let download = || {
        let mut command = APT_GET.command()?;
        tool::run_ok(command.current_dir(work).args(["download", "-q", &package, BUSYBOX_PACKAGE]), DOWNLOAD)
    };
    if download().is_err() {
        // The lists may name a version that is no longer there.
        update_lists(say)?;
        download()?;
    }
    let root = work.join("root");
    for entry in fs::read_dir(work)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            tool::run_ok(DPKG_DEB.command()?.arg("-x").arg(&file).arg(&root), MINUTE)?;
            fs::remove_file(file)?;
        }
    }
    keep(&root, work)?;
    fs::remove_dir_all(&root)?;
    Ok(fs::write(work.join("package"), package)?)
}

/// Copies what we need of the unpacked packages.
fn keep(root: &Path, work: &Path) -> Result<()> {
    let busybox = ["bin/busybox", "usr/bin/busybox"].iter().map(|path| root.join(path)).find(|path| path.is_file());
    let busybox = busybox.context("busybox-static has no busybox")?;
    fs::copy(&busybox, work.join("busybox"))?;
    let image = only_entry(&root.join("boot"), "vmlinuz-")?;
    fs::copy(image, work.join("vmlinuz"))?;
    let versions = ["lib/modules", "usr/lib/modules"].iter().map(|path| root.join(path)).find(|path| path.is_dir());
    let folder = only_entry(&versions.context("the kernel package has no modules")?, "6.12")?;
    let unpack = |file: &Path| -> Result<Vec<u8>> {
        let name = file.to_string_lossy();
        match name.rsplit('.').next() {
            Some("ko") => Ok(fs::read(file)?),
            // The busybox that we have just unpacked reads it; the machine need not have an xz.
            Some("xz") => {
                let finished = Command::new(&busybox).arg("xzcat").arg(file).output()?;
                if !finished.status.success() {
                    bail!("busybox xzcat failed: {}", String::from_utf8_lossy(&finished.stderr));
                }
                Ok(finished.stdout)
            }
            _ => bail!("it is compressed in a way that we do not know"),
        }
    };
    let mut order = String::new();
    for module in Modules::below(&folder)?.in_load_order(&MODULES, &unpack)? {
        let name = format!("{}.ko", module.name);
        fs::write(work.join(&name), module.object)?;
        order.push_str(&name);
        order.push('\n');
    }
    Ok(fs::write(work.join("modules.order"), order)?)
}

fn only_entry(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut found = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix)));
    found.next().with_context(|| format!("nothing named {prefix}* in {}", folder.display()))
}

/// The newest package in apt's lists.
fn newest_kernel() -> Result<Option<String>> {
    let mut command = APT_CACHE.command()?;
    let output = tool::run_ok(command.args(["search", "--names-only", KERNEL_PACKAGES]), MINUTE)?;
    let names = output.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.max_by_key(|name| version(name)).map(str::to_string))
}

/// The numbers in a package's name: 6.12.9 comes before 6.12.10.
fn version(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn update_lists(say: &dyn Fn(&str)) -> Result<()> {
    let mut command = tool::administrator("apt-get")?;
    command.args(["update", "-q"]);
    say(&format!("Running: {}", tool::describe(&command)));
    tool::run_ok(&mut command, DOWNLOAD).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let old = "linux-image-6.12.9+deb12-cloud-amd64-unsigned";
        let new = "linux-image-6.12.107+deb12-cloud-amd64-unsigned";
        assert!(version(old) < version(new));
    }
}
