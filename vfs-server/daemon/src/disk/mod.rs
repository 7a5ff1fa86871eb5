//! The block devices that the server can mount: virtio disks and a RAM disk.
//!
//! Which one is an argument, `disk=virtio0` or `disk=ramdisk`; where the machine has its virtio
//! devices are others (`virtio-mmio=BASE,STRIDE,COUNT` with `virtio-irq=GSI`, or `virtio-pci=ECAM`).

mod ram_disk;
mod virtio_mmio;
mod virtio_pci;

use crate::dma::PoolDma;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use platform::block::BlockDevice;
use platform::thread::{self, ThreadKind};
use ram_disk::RamDisk;
use syscall::O_RDWR;
use syscall::data::GlobalSchemes;
use user_rt::{args, kernel_scheme};
use virtio_blk::VirtioBlk;
use virtio_blk::transport::Transport;

/// Takes the disk that the arguments name into use.
pub fn open() -> Result<Arc<dyn BlockDevice>, String> {
    let name = args::value("disk").unwrap_or("virtio0");
    if name == "ramdisk" {
        let place = args::value("ramdisk").ok_or("disk=ramdisk, but the boot archive has no ramdisk.img")?;
        // SAFETY: root-task mapped the range for the server alone before it started it.
        let disk = unsafe { RamDisk::from_argument(place) }.ok_or_else(|| format!("bad argument ramdisk={place}"))?;
        return Ok(Arc::new(disk));
    }
    let wanted = name.strip_prefix("virtio").and_then(parse_number);
    let wanted = wanted.ok_or_else(|| format!("no such disk: {name} (there are virtioN and ramdisk)"))?;
    match args::value("virtio-pci") {
        Some(ecam) => virtio_pci::open(ecam, wanted),
        None => virtio_mmio::open(args::value("virtio-mmio"), args::value("virtio-irq"), wanted),
    }
}

/// A number in decimal or, behind `0x`, in hexadecimal.
fn parse_number(text: &str) -> Option<usize> {
    match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Takes a virtio block device into use and serves its interrupt on a thread.
fn start<T: Transport + Send + 'static>(
    name: String,
    transport: T,
    interrupt: usize,
) -> Result<Arc<dyn BlockDevice>, String> {
    let line = kernel_scheme::open(GlobalSchemes::Irq, &format!("{interrupt}"), O_RDWR)
        .map_err(|error| format!("{name}: interrupt {interrupt}: {error}"))?;
    let disk = VirtioBlk::<PoolDma, T>::new(name, transport).map_err(|error| format!("virtio disk: {error:?}"))?;
    let disk = Arc::new(disk);
    let served = disk.clone();
    let started = thread::spawn("disk interrupt", ThreadKind::Other, move || {
        let mut count = [0; 8];
        while line.fd().read(&mut count).is_ok() {
            served.interrupt();
            if line.fd().write(&count).is_err() {
                break;
            }
        }
        log::error!("{}: the interrupt line is gone", served.name());
    });
    if started { Ok(disk) } else { Err("no thread for the disk's interrupts".into()) }
}
