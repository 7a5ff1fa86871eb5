//! Which kernel modules a machine needs, in the order in which they load.
//!
//! Debian's package has no `modules.dep` (an installation makes it), so each module's own
//! `depends=` in its `.modinfo` section is followed.

use anyhow::{Context, Result};
use elf::{ElfBytes, endian::LittleEndian};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules below a `lib/modules/VERSION` folder.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// A module as `insmod` takes it.
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// The object file, not compressed.
    pub object: Vec<u8>,
}

impl Modules {
    /// Looks through `folder`.
    ///
    /// # Errors
    /// It is not a modules folder.
    pub fn below(folder: &Path) -> Result<Self> {
        let list = folder.join("modules.builtin");
        let list = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
        let built_in = list.lines().filter_map(|line| name_of(Path::new(line))).collect();
        let mut files = BTreeMap::new();
        collect(&folder.join("kernel"), &mut files)?;
        Ok(Self { files, built_in })
    }

    /// The objects of `wanted` and of all that they depend on, each after what it depends on. What
    /// is built into the kernel is left out. `unpack` gives the plain bytes of a module's file.
    ///
    /// # Errors
    /// A module is not there or is malformed.
    pub fn in_load_order(&self, wanted: &[&str], unpack: &dyn Fn(&Path) -> Result<Vec<u8>>) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(name, unpack, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        unpack: &dyn Fn(&Path) -> Result<Vec<u8>>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> Result<()> {
        if self.built_in.contains(name) || !seen.insert(name.to_string()) {
            return Ok(());
        }
        let file = self.files.get(name).with_context(|| format!("the kernel package has no module {name}"))?;
        let object = unpack(file).with_context(|| format!("unpacking {}", file.display()))?;
        for needed in depends(&object).with_context(|| format!("reading {}", file.display()))? {
            self.visit(&needed, unpack, seen, order)?;
        }
        order.push(Module { name: name.to_string(), object });
        Ok(())
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `drivers/block/virtio-blk.ko.xz` is the module `virtio_blk`.
fn name_of(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// The module names in a module's `.modinfo` section, which is NUL-terminated `key=value` strings.
fn depends(object: &[u8]) -> Result<Vec<String>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(object).context("not an ELF file")?;
    let section = elf.section_header_by_name(".modinfo")?.context("no .modinfo section")?;
    let (bytes, _) = elf.section_data(&section)?;
    let list = bytes.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"depends=")).unwrap_or_default();
    let list = std::str::from_utf8(list).context(".modinfo is not text")?;
    Ok(list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_gives_the_modules_name() {
        assert_eq!(name_of(Path::new("kernel/drivers/block/virtio_blk.ko.xz")).as_deref(), Some("virtio_blk"));
        assert_eq!(name_of(Path::new("kernel/lib/libcrc32c.ko")).as_deref(), Some("libcrc32c"));
        assert_eq!(name_of(Path::new("a/xhci-pci.ko.zst")).as_deref(), Some("xhci_pci"));
        assert_eq!(name_of(Path::new("modules.order")), None);
    }

    #[test]
    fn a_file_that_is_no_module_is_an_error() {
        assert!(depends(b"hello").is_err());
    }
}
