//! The arguments, checked: an unknown one or a bad value ends the server before it touches a disk.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use log::LevelFilter;
use user_rt::args;
use vfs_server::Config;
use vfs_server::fs::Access;

/// What the server was asked to do.
pub struct Arguments {
    /// The type of file system, if it was named.
    pub file_system: Option<&'static str>,
    /// May the disk be changed?
    pub access: Access,
    /// Mount options of the file system, name and value.
    pub options: Vec<(&'static str, &'static str)>,
    /// Sizes and counts.
    pub config: Config,
    /// What is logged.
    pub log_level: LevelFilter,
}

/// Reads all arguments.
pub fn parse() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        file_system: None,
        access: Access::ReadWrite,
        options: Vec::new(),
        config: Config::default(),
        log_level: LevelFilter::Info,
    };
    for argument in args::all() {
        let (key, value) = argument.split_once('=').ok_or_else(|| format!("argument {argument:?} is no key=value"))?;
        match key {
            // Read where they are used.
            "disk" | "ramdisk" | "virtio-mmio" | "virtio-irq" | "virtio-pci" => {}
            "fs" => parsed.file_system = Some(value),
            "rw" => parsed.access = if flag(key, value)? { Access::ReadWrite } else { Access::ReadOnly },
            "trace" => parsed.log_level = if flag(key, value)? { LevelFilter::Trace } else { LevelFilter::Info },
            _ => {
                let name = key.strip_prefix("opt.").ok_or_else(|| format!("unknown argument {key:?}"))?;
                // What is none of the server's is the file system's.
                if !parsed.config.set(name, value).map_err(|error| format!("{error}"))? {
                    parsed.options.push((name, value));
                }
            }
        }
    }
    Ok(parsed)
}

fn flag(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(format!("{key}={value}: 0 or 1 is wanted")),
    }
}
