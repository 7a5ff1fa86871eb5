//! From the first instruction to the last.

use crate::{programs, server::Server, status_key};
use alloc::{format, string::String};
use root_task::{
    boot_archive::{Archive, Entry, HEADER, Sizes},
    boot_conf::{BootConf, Mode},
};
use user_rt::syscall::{self, data::GlobalSchemes};
use user_rt::{descriptor::SCHEME_CREATION, first_process, kernel_scheme, power, println};

user_rt::first_process!(main);

fn main() -> i32 {
    let code = match run() {
        Ok(code) => code,
        Err(reason) => {
            println!("root-task: {reason}");
            1
        }
    };
    power::off(code)
}

/// Does all of it; the machine's exit code, or why it could not even begin.
fn run() -> Result<u8, String> {
    let archive = find_archive()?;
    let conf = archive.find("etc/boot.conf").ok_or("the boot archive has no etc/boot.conf")?;
    let conf = BootConf(core::str::from_utf8(conf).map_err(|_| "etc/boot.conf is not text")?);
    let mode = conf.mode().ok_or("etc/boot.conf names no mode that is known")?;
    if conf.trace() {
        start_trace().map_err(|error| format!("the kernel has no trace: {error}"))?;
    }

    if let Some(deadline) = conf.value("deadline") {
        set_deadline(deadline).map_err(|error| format!("the kernel refuses deadline={deadline}: {error}"))?;
    }
    if mode == Mode::Contract {
        // The programs are servers themselves.
        let right = first_process::metadata().scheme_creation;
        right.dup_to(SCHEME_CREATION).map_err(|error| format!("no right to create schemes to give away: {error}"))?;
        return Ok(programs::run_all(archive, conf.programs()).code());
    }
    let server = Server::start(archive, conf)?;
    let tally = match mode {
        Mode::Shell => programs::run_shell(archive),
        _ => {
            status_key::watch();
            programs::run_all(archive, conf.programs())
        }
    };
    server.unmount()?;
    Ok(tally.code())
}

/// Has the kernel print messages and faults.
fn start_trace() -> syscall::Result<()> {
    let switch = kernel_scheme::open(GlobalSchemes::Sys, "trace", syscall::O_RDWR)?;
    switch.fd().write(b"1").map(|_| ())
}

/// When a message is late, and what happens then: `print:MS` or `fail:MS`.
fn set_deadline(deadline: &str) -> syscall::Result<()> {
    let file = kernel_scheme::open(GlobalSchemes::Sys, "deadline", syscall::O_RDWR)?;
    file.fd().write(deadline.as_bytes()).map(|_| ())
}

/// The archive begins on the page after this image; where it ends, only its entries tell.
fn find_archive() -> Result<Archive<'static>, String> {
    let mut len = 0;
    loop {
        // SAFETY: the boot loader appended a whole archive: up to its trailer, a header follows
        // each entry, and each entry is as long as its header says.
        let header = unsafe { first_process::after_image(len + HEADER) };
        let sizes = Sizes::parse(&header[len..]).ok_or_else(|| format!("no boot archive: entry at {len:#x}"))?;
        // SAFETY: as above.
        let bytes = unsafe { first_process::after_image(len + sizes.entry()) };
        let (entry, _) = Entry::parse(&bytes[len..]).ok_or_else(|| format!("boot archive: bad entry at {len:#x}"))?;
        if entry.is_trailer() {
            return Ok(Archive(bytes));
        }
        len += sizes.entry();
    }
}
