//! `vfsd`: the server as a process on the microkernel.
//!
//! Owns: what the arguments mean, the disk, the memory, the threads' host. Does not own: the server
//! (`vfs-server`) and the file systems, of which `file_systems` is the table.
//!
//! | argument | meaning |
//! |---|---|
//! | `disk=virtioN` or `disk=ramdisk` | what to mount (`virtio0`) |
//! | `fs=ext4`, `fs=mini` or `fs=bcachefs` | the type of file system (`ext4`) |
//! | `rw=0` | mount without the right to write |
//! | `opt.NAME=VALUE` | a mount option: the server's (`vfs_server::Config::set`) or the file system's |
//! | `trace=1` | log more |
#![no_std]
#![no_main]

extern crate alloc;

mod arguments;
mod clock;
mod disk;
mod dma;
mod frame_pool;
mod host;
mod mmio;

const _: () = assert!(!platform::mutant::POSSIBLE, "a server that serves files cannot be made faulty on purpose");

use alloc::format;
use alloc::string::String;
use host::SOCKET;
use user_rt::println;
use vfs_server::Server;

user_rt::entry!(main);

/// Pages beyond the page cache's: bounce buffers, DMA rings, metadata reads, staged writes.
const EXTRA_PAGES: usize = 2048;

fn main() -> i32 {
    match run() {
        Ok(()) => 0,
        Err(error) => {
            println!("vfsd: {error}");
            1
        }
    }
}

/// Mounts the disk and serves it until it is unmounted.
fn run() -> Result<(), String> {
    let arguments = arguments::parse()?;
    user_rt::console::start_log(arguments.log_level);
    platform::waits::name_current("main");
    clock::start();
    let version = SOCKET.version().map_err(|error| {
        format!("the kernel has no paging protocol ({error}), and the portable profile is not built in")
    })?;
    if version != pager_abi::VERSION {
        return Err(format!("the kernel speaks version {version} of the paging protocol, not {}", pager_abi::VERSION));
    }
    let wanted = arguments.config.cache_pages + EXTRA_PAGES;
    let pages = frame_pool::fill(wanted).map_err(|error| format!("no memory for the page cache: {error}"))?;
    let mut config = arguments.config;
    config.cache_pages = config.cache_pages.min(pages.saturating_sub(EXTRA_PAGES));
    let device = disk::open()?;
    let (name, sectors) = (String::from(device.name()), device.sectors());
    let kind = arguments.file_system.map_or(Ok(&file_systems::ALL[0]), file_systems::find)?;
    let fs = (kind.mount)(device.clone(), arguments.access, &arguments.options)
        .map_err(|error| format!("cannot mount {name} as {}: {error}", kind.name))?;
    log::info!("vfsd: {name} ({} MiB) is mounted as {}", sectors >> 11, fs.name());
    let server = Server::start(fs, device, config).map_err(|error| format!("cannot serve {name}: {error}"))?;
    server.start_threads().map_err(|error| format!("no threads to serve {name}: {error}"))?;
    server.wait_until_unmounted();
    log::info!("vfsd: {name} is unmounted");
    Ok(())
}
