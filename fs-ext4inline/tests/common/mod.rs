//! A small server for tests: an inode table and data I/O straight to the disk, over the traits alone.

#![allow(dead_code, unused_imports)]

mod shapes;

pub use shapes::{SHAPES, on_every_shape};

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use fs_ext4inline::{Access, Options, mount};
use linux::MemoryDisk;
use platform::block;
use vfs_server::error::Result;
use vfs_server::fs::*;

/// A mounted image.
pub struct Mounted {
    pub disk: Arc<MemoryDisk>,
    pub fs: Arc<dyn FileSystem>,
    table: Mutex<HashMap<Ino, Arc<Inode>>>,
}

/// What the disk and time are in tests: nothing depends on them.
pub fn who() -> Credentials {
    Credentials { uid: 1000, gid: 1000, now: Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 } }
}

impl Mounted {
    pub fn new(image: Vec<u8>, access: Access) -> Result<Self> {
        let disk = Arc::new(MemoryDisk::new(image));
        let fs = mount(disk.clone(), access, Options::default())?;
        Ok(Self { disk, fs, table: Mutex::default() })
    }

    /// A stand-in while the real one is being mounted anew.
    pub fn nothing() -> Self {
        struct Nothing;
        impl FileSystem for Nothing {
            fn super_block(&self) -> SuperBlock {
                SuperBlock { name: "nothing", block_size: 1024, root: 0, access: Access::ReadOnly, max_file_size: 0 }
            }

            fn read_inode(&self, _: Ino) -> Result<NewInode> {
                Err(vfs_server::error::Error::Stale)
            }
            fn statfs(&self) -> Result<StatFs> {
                Ok(StatFs::default())
            }
            fn sync(&self, _: SyncMode) -> Result<()> {
                Ok(())
            }
            fn unmount(&self) -> Result<()> {
                Ok(())
            }
            fn options(&self) -> String {
                String::new()
            }
        }
        Self { disk: Arc::new(MemoryDisk::new(Vec::new())), fs: Arc::new(Nothing), table: Mutex::default() }
    }

    pub fn root(&self) -> Arc<Inode> {
        self.get(self.fs.root()).expect("root")
    }

    /// The inode with this number, read once.
    pub fn get(&self, ino: Ino) -> Result<Arc<Inode>> {
        let mut table = self.table.lock().unwrap();
        if let Some(inode) = table.get(&ino) {
            return Ok(inode.clone());
        }
        let inode = Arc::new(Inode::new(self.fs.read_inode(ino)?));
        table.insert(ino, inode.clone());
        Ok(inode)
    }

    fn adopt(&self, new: NewInode) -> Arc<Inode> {
        let inode = Arc::new(Inode::new(new));
        let before = self.table.lock().unwrap().insert(inode.ino, inode.clone());
        assert!(before.is_none(), "inode {} was in use", inode.ino);
        inode
    }

    /// The last user of the inode is gone.
    pub fn put(&self, inode: Arc<Inode>) -> Result<()> {
        self.table.lock().unwrap().remove(&inode.ino);
        inode.operations().evict(&inode)
    }

    pub fn lookup(&self, directory: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        self.get(directory.operations().lookup(directory, name)?)
    }

    /// The inode at a path of real names below the root.
    pub fn walk(&self, path: &str) -> Result<Arc<Inode>> {
        let mut inode = self.root();
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            inode = self.lookup(&inode, name.as_bytes())?;
        }
        Ok(inode)
    }

    pub fn names(&self, directory: &Arc<Inode>) -> Result<Vec<(Vec<u8>, Ino)>> {
        let mut names = Vec::new();
        // In small batches, so that going on in the middle is tested too.
        let mut from = 0;
        loop {
            let mut batch = 0;
            directory.operations().readdir(directory, from, &mut |entry| {
                if batch == 7 {
                    return ReaddirControl::Full;
                }
                batch += 1;
                from = entry.next;
                names.push((entry.name.to_vec(), entry.ino));
                ReaddirControl::Continue
            })?;
            if batch == 0 {
                return Ok(names);
            }
        }
    }

    pub fn create(&self, directory: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let new = directory.operations().create(directory, name, FileKind::Regular, 0o644, &who())?;
        Ok(self.adopt(new))
    }

    pub fn mkdir(&self, directory: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let new = directory.operations().mkdir(directory, name, 0o755, &who())?;
        Ok(self.adopt(new))
    }

    pub fn symlink(&self, directory: &Arc<Inode>, name: &[u8], target: &[u8]) -> Result<Arc<Inode>> {
        let new = directory.operations().symlink(directory, name, target, &who())?;
        Ok(self.adopt(new))
    }

    /// Removes a name; the victim is freed at once if that was the last one.
    pub fn unlink(&self, directory: &Arc<Inode>, name: &[u8]) -> Result<()> {
        let victim = self.lookup(directory, name)?;
        directory.operations().unlink(directory, name, &victim, &who())?;
        self.settle(victim)
    }

    pub fn rmdir(&self, directory: &Arc<Inode>, name: &[u8]) -> Result<()> {
        let victim = self.lookup(directory, name)?;
        directory.operations().rmdir(directory, name, &victim, &who())?;
        self.settle(victim)
    }

    fn settle(&self, victim: Arc<Inode>) -> Result<()> {
        if victim.attributes().nlink == 0 { self.put(victim) } else { Ok(()) }
    }

    pub fn rename(&self, old: &Arc<Inode>, old_name: &[u8], new: &Arc<Inode>, new_name: &[u8]) -> Result<()> {
        let inode = self.lookup(old, old_name)?;
        let replaced = self.lookup(new, new_name).ok();
        old.operations().rename(
            &Rename {
                old_directory: old,
                old_name,
                inode: &inode,
                new_directory: new,
                new_name,
                replaced: replaced.as_deref(),
            },
            &who(),
        )?;
        match replaced {
            Some(replaced) if replaced.ino != inode.ino => self.settle(replaced),
            _ => Ok(()),
        }
    }

    fn block_size(&self) -> u64 {
        self.fs.block_size() as u64
    }

    fn sector(&self, block: u64) -> u64 {
        block * self.block_size() / block::SECTOR_SIZE
    }

    fn read_block(&self, inode: &Arc<Inode>, block: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.block_size() as usize];
        match inode.operations().map_blocks(inode, block, 1)?.state {
            MappingState::Hole | MappingState::Unwritten { .. } => {}
            MappingState::Written { device_block } => block::read(&*self.disk, self.sector(device_block), &mut bytes)?,
            MappingState::Inline => {
                let contents = inode.operations().read_inline(inode)?;
                let start = (block * self.block_size()) as usize;
                if let Some(part) = contents.get(start..) {
                    let length = part.len().min(bytes.len());
                    bytes[..length].copy_from_slice(&part[..length]);
                }
            }
        }
        Ok(bytes)
    }

    pub fn read(&self, inode: &Arc<Inode>) -> Result<Vec<u8>> {
        let size = inode.size();
        let mut contents = Vec::with_capacity(size as usize);
        for block in 0..size.div_ceil(self.block_size()) {
            contents.extend(self.read_block(inode, block)?);
        }
        contents.truncate(size as usize);
        Ok(contents)
    }

    /// A write as the generic buffered write does it, with its writeback at once.
    pub fn write(&self, inode: &Arc<Inode>, pos: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let operations = inode.operations();
        let new_size = inode.size().max(pos + bytes.len() as u64);
        loop {
            let begun = operations.write_begin(inode, pos, bytes.len() as u64)?;
            if begun.target == WriteTarget::Blocks {
                break;
            }
            match operations.write_end_inline(inode, pos, bytes, new_size, begun)? {
                InlineWritten::Restart => continue,
                InlineWritten::Stored => {
                    inode.set_size(new_size);
                    return Ok(());
                }
            }
        }
        self.zero_tail(inode)?;
        inode.set_size(new_size);
        self.store(inode, pos, bytes, new_size)
    }

    /// Writes to blocks that are allocated.
    pub fn store(&self, inode: &Arc<Inode>, pos: u64, bytes: &[u8], new_size: u64) -> Result<()> {
        let size = self.block_size();
        let end = pos + bytes.len() as u64;
        for block in pos / size..end.div_ceil(size) {
            let mut whole = self.read_block(inode, block)?;
            let (from, to) = (pos.max(block * size), end.min((block + 1) * size));
            whole[(from - block * size) as usize..(to - block * size) as usize]
                .copy_from_slice(&bytes[(from - pos) as usize..(to - pos) as usize]);
            let device_block = match inode.operations().map_blocks(inode, block, 1)?.state {
                MappingState::Written { device_block } | MappingState::Unwritten { device_block } => device_block,
                other => panic!("block {block} is {other:?} after write_begin"),
            };
            block::write(&*self.disk, self.sector(device_block), &whole)?;
            inode.operations().blocks_written(inode, block, 1, new_size.min(to))?;
        }
        Ok(())
    }

    /// Zeroes what a written last block holds past the end, as the page cache does.
    fn zero_tail(&self, inode: &Arc<Inode>) -> Result<()> {
        let size = inode.size();
        let (block, offset) = (size / self.block_size(), (size % self.block_size()) as usize);
        if offset == 0 {
            return Ok(());
        }
        if let MappingState::Written { device_block } = inode.operations().map_blocks(inode, block, 1)?.state {
            let mut bytes = self.read_block(inode, block)?;
            bytes[offset..].fill(0);
            block::write(&*self.disk, self.sector(device_block), &bytes)?;
        }
        Ok(())
    }

    pub fn truncate(&self, inode: &Arc<Inode>, size: u64) -> Result<()> {
        if size > inode.size() {
            self.zero_tail(inode)?;
        }
        inode.operations().truncate(inode, size, who().now)?;
        inode.set_size(size);
        self.zero_tail(inode)
    }

    /// Ends all inodes in use, unmounts, and gives the image.
    pub fn unmount(self) -> Vec<u8> {
        let inodes: Vec<_> = self.table.lock().unwrap().drain().map(|(_, inode)| inode).collect();
        for inode in inodes {
            inode.operations().evict(&inode).expect("evict");
        }
        self.fs.unmount().expect("unmount");
        self.disk.content()
    }

    /// Ends all inodes in use and unmounts, whatever fails on the way.
    pub fn abandon(self) {
        let inodes: Vec<_> = self.table.lock().unwrap().drain().map(|(_, inode)| inode).collect();
        for inode in inodes {
            let _ = inode.operations().evict(&inode);
        }
        let _ = self.fs.unmount();
    }

    /// Unmounts, and fails unless e2fsck finds nothing.
    pub fn unmount_clean(self) -> Vec<u8> {
        let image = self.unmount();
        assert_fsck_clean(&image);
        image
    }
}

// --- the reference tools -----------------------------------------------------------------------

/// Where shared reference images are, if they are there.
pub fn shared(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/ext4").join(what);
    path.exists().then_some(path)
}

/// Says that a test could not run. `true` so that the caller returns.
pub fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

pub fn have(tool: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/sbin:/usr/sbin command -v {tool}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether mke2fs and e2fsck are there; says so if not.
pub fn have_e2fsprogs() -> bool {
    let have = have("mke2fs") && have("e2fsck") && have("debugfs");
    if !have {
        skip("e2fsprogs is not installed");
    }
    have
}

pub fn tool(name: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["60", name]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// A scratch file that goes away.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(content: &[u8]) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fl-ext4-{}-{}.img", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("scratch file");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A scratch folder that goes away.
pub struct ScratchTree(pub PathBuf);

impl ScratchTree {
    pub fn new() -> Self {
        let file = Scratch::new(&[]);
        let path = file.0.with_extension("tree");
        std::fs::create_dir(&path).expect("scratch folder");
        Self(path)
    }
}

impl Drop for ScratchTree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn unxz(path: &Path) -> Vec<u8> {
    let output = Command::new("xz").arg("-dc").arg(path).output().expect("xz");
    assert!(output.status.success());
    output.stdout
}

/// An image made by mke2fs.
pub fn mke2fs(arguments: &[&str], megabytes: u64) -> Vec<u8> {
    let scratch = Scratch::new(&[]);
    std::fs::File::options().write(true).open(&scratch.0).unwrap().set_len(megabytes << 20).unwrap();
    let output = tool("mke2fs").args(["-q", "-F", "-t", "ext4"]).args(arguments).arg(&scratch.0).output().unwrap();
    assert!(output.status.success(), "mke2fs: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(&scratch.0).unwrap()
}

/// e2fsck -fn: its exit status and what it said.
pub fn fsck(image: &[u8]) -> (i32, String) {
    let scratch = Scratch::new(image);
    let output = tool("e2fsck").arg("-fn").arg(&scratch.0).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), said)
}

pub fn assert_fsck_clean(image: &[u8]) {
    let (status, said) = fsck(image);
    if status != 0 {
        if let Ok(keep) = std::env::var("KEEP_BAD_IMAGE") {
            std::fs::write(keep, image).unwrap();
        }
        panic!("e2fsck -fn says {status}:\n{said}");
    }
}

/// What debugfs prints for a request.
pub fn debugfs(image: &[u8], request: &str) -> String {
    let scratch = Scratch::new(image);
    let output = tool("debugfs").args(["-R", request]).arg(&scratch.0).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lets debugfs change an image.
pub fn debugfs_write(image: &[u8], requests: &str) -> Vec<u8> {
    let scratch = Scratch::new(image);
    let mut child = tool("debugfs")
        .args(["-w", "-f", "-"])
        .arg(&scratch.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(requests.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::read(&scratch.0).unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    let scratch = Scratch::new(bytes);
    let output = Command::new("sha256sum").arg(&scratch.0).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout[..64]).into_owned()
}

/// Bytes that tell where they belong.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}
