//! Disk images of file systems that bring their own mkfs and check, as nobody else knows their formats.

use crate::ext4_image::{Health, Image};
use anyhow::{Context, Error, Result};
pub use file_systems::{ALL, FileSystemType, Tools, find};
use linux::FileDisk;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Makes an empty file system in a new image.
///
/// # Errors
/// The file cannot be made, or no file system fits.
pub fn make(tools: &Tools, path: &Path, mebibytes: u32, block_size: u32) -> Result<Image> {
    fs::File::create(path)
        .and_then(|file| file.set_len(u64::from(mebibytes) << 20))
        .with_context(|| format!("creating {}", path.display()))?;
    let disk = FileDisk::open(path, false).with_context(|| format!("opening {}", path.display()))?;
    (tools.make)(Arc::new(disk), block_size)
        .map_err(Error::msg)
        .with_context(|| format!("mkfs on {}", path.display()))?;
    Ok(Image::open(path))
}

/// What its check says about an image; it changes nothing.
///
/// # Errors
/// The file cannot be opened.
pub fn check(tools: &Tools, image: &Image) -> Result<Health> {
    let disk = FileDisk::open(&image.path, true).with_context(|| format!("opening {}", image.path.display()))?;
    let problems = (tools.check)(Arc::new(disk));
    Ok(match problems.is_empty() {
        true => Health::Clean,
        false => Health::Damaged(problems.iter().map(|problem| format!("{problem}\n")).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_image_is_clean_and_a_damaged_one_is_not() {
        let path = std::env::temp_dir().join(format!("faultline-own-image-{}.img", std::process::id()));
        let tools = find("mini").unwrap().tools.as_ref().unwrap();
        let image = make(tools, &path, 4, 1024).unwrap();
        assert_eq!(check(tools, &image).unwrap(), Health::Clean);
        let mut bytes = fs::read(&path).unwrap();
        bytes[..8192].fill(0);
        fs::write(&path, bytes).unwrap();
        assert!(matches!(check(tools, &image).unwrap(), Health::Damaged(why) if why.contains("superblock")));
        fs::remove_file(&path).unwrap();
    }
}
