//! Starts the file server and notices its end.
//!
//! The server gets its scheme socket as descriptor 3; this process keeps none, so that the kernel
//! sees the server die. Then descriptor 3 here becomes the root directory, as programs know it.

use alloc::{format, string::String, vec, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use pager_abi::server_verb::ServerVerb;
use root_task::{boot_archive::Archive, boot_conf::BootConf};
use user_rt::{
    Error,
    descriptor::{self, ROOT},
    first_process, pager, power, println, process, spawn, syscall, thread,
};

/// The running server.
pub struct Server(());

/// The file system is off the disk: from now on the server may end.
static UNMOUNTED: AtomicBool = AtomicBool::new(false);

/// Where the RAM disk appears in the server's address space.
const RAM_DISK_ADDRESS: usize = 0x6000_0000_0000;

impl Server {
    /// Starts `bin/vfsd` with the lines of `conf` that are not ours.
    pub fn start(archive: Archive, conf: BootConf) -> Result<Self, String> {
        let image = archive.find("bin/vfsd").ok_or("the boot archive has no bin/vfsd")?;
        let refused = |what: &'static str| move |error: Error| format!("{what}: {error}");

        let right = first_process::metadata().scheme_creation;
        let socket = pager::create_scheme(right).map_err(refused("no scheme socket"))?;
        socket.fd().dup_to(ROOT).map_err(refused("no scheme socket at its place"))?;

        let mut args: Vec<&str> = conf.server_lines().collect();
        let mut regions = vec![];
        let ram_disk;
        if let Some(bytes) = archive.find("ramdisk.img") {
            ram_disk = format!("ramdisk={RAM_DISK_ADDRESS:#x},{}", bytes.len());
            args.push(&ram_disk);
            regions.push(spawn::Region { address: RAM_DISK_ADDRESS, bytes });
        }
        let child = spawn::spawn_with(image, &args, &regions).map_err(refused("bin/vfsd does not start"))?;

        descriptor::close(ROOT);
        let root = pager::root_params(0);
        syscall::dup_into(socket.fd().0, ROOT.0, &root).map_err(refused("no root directory"))?;
        drop(socket);
        watch(child)?;
        Ok(Self(()))
    }

    /// Has it write everything back and let go of the disk.
    pub fn unmount(self) -> Result<(), String> {
        UNMOUNTED.store(true, Relaxed);
        match ROOT.server_do(ServerVerb::Unmount) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the file system could not be unmounted: {error}")),
        }
    }
}

/// A server that ends before it is told to takes the machine down: nothing could go on.
fn watch(child: process::Child) -> Result<(), String> {
    let watcher = move || {
        let status = child.wait();
        if !UNMOUNTED.load(Relaxed) {
            println!("root-task: vfsd ended: {status:x?}");
            power::off(1);
        }
    };
    thread::spawn(watcher).map_err(|error| format!("nobody can watch vfsd: {error}"))?.detach();
    Ok(())
}
