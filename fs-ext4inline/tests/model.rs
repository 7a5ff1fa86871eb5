//! Random operations on a disk and on a plain model of it: both tell the same story, before and after
//! a remount, and e2fsck finds nothing.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use fs_ext4inline::Access;
use proptest::collection::vec;
use proptest::prelude::*;
use vfs_server::error::Error;
use vfs_server::fs::*;

/// Files and directories of the model have small numbers, which are taken modulo what there is.
#[derive(Clone, Debug)]
enum Action {
    Create { directory: u8, name: u8 },
    Mkdir { directory: u8, name: u8 },
    Symlink { directory: u8, name: u8, length: u16 },
    Write { file: u8, pos: u32, length: u32, seed: u8 },
    Truncate { file: u8, size: u32 },
    Map { file: u8 },
    Link { file: u8, directory: u8, name: u8 },
    Remove { directory: u8, name: u8 },
    Rename { old: u8, old_name: u8, new: u8, new_name: u8 },
    Reopen,
    Sync,
}

fn size() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..70, 100_u32..140, 800_u32..1100, 4000_u32..4200, 0_u32..60_000]
}

fn action() -> impl Strategy<Value = Action> {
    use Action::*;
    let name = 0_u8..40;
    prop_oneof![
        4 => (any::<u8>(), name.clone()).prop_map(|(directory, name)| Create { directory, name }),
        2 => (any::<u8>(), name.clone()).prop_map(|(directory, name)| Mkdir { directory, name }),
        1 => (any::<u8>(), name.clone(), 1_u16..1000)
            .prop_map(|(directory, name, length)| Symlink { directory, name, length }),
        8 => (any::<u8>(), size(), size(), any::<u8>())
            .prop_map(|(file, pos, length, seed)| Write { file, pos, length, seed }),
        4 => (any::<u8>(), size()).prop_map(|(file, size)| Truncate { file, size }),
        1 => any::<u8>().prop_map(|file| Map { file }),
        2 => (any::<u8>(), any::<u8>(), name.clone())
            .prop_map(|(file, directory, name)| Link { file, directory, name }),
        3 => (any::<u8>(), name.clone()).prop_map(|(directory, name)| Remove { directory, name }),
        3 => (any::<u8>(), name.clone(), any::<u8>(), name)
            .prop_map(|(old, old_name, new, new_name)| Rename { old, old_name, new, new_name }),
        1 => Just(Reopen),
        1 => Just(Sync),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    File(Vec<u8>),
    Link(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, usize>),
}

struct Model {
    nodes: Vec<Option<Node>>,
    parents: Vec<usize>,
}

impl Model {
    fn live(&self, which: u8, is: impl Fn(&Node) -> bool) -> Option<usize> {
        let all: Vec<usize> = (0..self.nodes.len()).filter(|&at| self.nodes[at].as_ref().is_some_and(&is)).collect();
        (!all.is_empty()).then(|| all[which as usize % all.len()])
    }

    fn directory(&self, which: u8) -> usize {
        self.live(which, |node| matches!(node, Node::Directory(_))).unwrap()
    }

    fn file(&self, which: u8) -> Option<usize> {
        self.live(which, |node| matches!(node, Node::File(_)))
    }

    fn entries(&mut self, directory: usize) -> &mut BTreeMap<Vec<u8>, usize> {
        match self.nodes[directory].as_mut() {
            Some(Node::Directory(entries)) => entries,
            other => panic!("{other:?}"),
        }
    }

    fn get(&self, directory: usize, name: &[u8]) -> Option<usize> {
        match &self.nodes[directory] {
            Some(Node::Directory(entries)) => entries.get(name).copied(),
            _ => None,
        }
    }

    fn links(&self, node: usize) -> usize {
        let directories = self.nodes.iter().flatten().filter_map(|node| match node {
            Node::Directory(entries) => Some(entries),
            _ => None,
        });
        directories.map(|entries| entries.values().filter(|&&at| at == node).count()).sum()
    }

    fn is_empty(&self, node: usize) -> bool {
        matches!(&self.nodes[node], Some(Node::Directory(entries)) if entries.is_empty())
    }

    fn is_directory(&self, node: usize) -> bool {
        matches!(&self.nodes[node], Some(Node::Directory(_)))
    }

    fn is_below(&self, mut node: usize, above: usize) -> bool {
        loop {
            if node == above {
                return true;
            }
            if node == 0 {
                return false;
            }
            node = self.parents[node];
        }
    }

    fn path(&self, node: usize) -> String {
        if node == 0 {
            return String::new();
        }
        for (at, holder) in self.nodes.iter().enumerate() {
            if let Some(Node::Directory(entries)) = holder
                && let Some((name, _)) = entries.iter().find(|&(_, &child)| child == node)
            {
                return format!("{}/{}", self.path(at), String::from_utf8_lossy(name));
            }
        }
        panic!("node {node} has no name")
    }
}

fn name(number: u8) -> Vec<u8> {
    // Lengths that make inline directories overflow at different places.
    format!("{number}{}", "n".repeat(number as usize * 3 % 41)).into_bytes()
}

struct Run {
    mounted: Mounted,
    model: Model,
}

impl Run {
    fn inode(&self, node: usize) -> Arc<Inode> {
        self.mounted.walk(&self.model.path(node)).unwrap()
    }

    fn add(&mut self, directory: usize, name: Vec<u8>, node: Node) {
        self.model.nodes.push(Some(node));
        self.model.parents.push(directory);
        let number = self.model.nodes.len() - 1;
        self.model.entries(directory).insert(name, number);
    }

    fn apply(&mut self, action: &Action) {
        match *action {
            Action::Create { directory, name: number } => {
                let directory = self.model.directory(directory);
                let made = self.mounted.create(&self.inode(directory), &name(number)).map(drop);
                self.made(directory, number, made, Node::File(Vec::new()));
            }
            Action::Mkdir { directory, name: number } => {
                let directory = self.model.directory(directory);
                let made = self.mounted.mkdir(&self.inode(directory), &name(number)).map(drop);
                self.made(directory, number, made, Node::Directory(BTreeMap::new()));
            }
            Action::Symlink { directory, name: number, length } => {
                let directory = self.model.directory(directory);
                let target = vec![b'a' + number % 26; length as usize];
                let made = self.mounted.symlink(&self.inode(directory), &name(number), &target).map(drop);
                self.made(directory, number, made, Node::Link(target));
            }
            Action::Write { file, pos, length, seed } => {
                let Some(file) = self.model.file(file) else { return };
                let bytes = pattern(seed as u64, length as usize);
                let inode = self.inode(file);
                match self.mounted.write(&inode, pos as u64, &bytes) {
                    Ok(()) if bytes.is_empty() => {}
                    Ok(()) => {
                        let Some(Node::File(contents)) = self.model.nodes[file].as_mut() else { unreachable!() };
                        let end = pos as usize + bytes.len();
                        contents.resize(contents.len().max(end), 0);
                        contents[pos as usize..end].copy_from_slice(&bytes);
                    }
                    Err(error) => assert_eq!(error, Error::NoSpace),
                }
                self.compare(file, &inode);
            }
            Action::Truncate { file, size } => {
                let Some(file) = self.model.file(file) else { return };
                let inode = self.inode(file);
                self.mounted.truncate(&inode, size as u64).unwrap();
                let Some(Node::File(contents)) = self.model.nodes[file].as_mut() else { unreachable!() };
                contents.resize(size as usize, 0);
                self.compare(file, &inode);
            }
            Action::Map { file } => {
                let Some(file) = self.model.file(file) else { return };
                let inode = self.inode(file);
                let operations = inode.operations();
                operations.prepare_mmap(&inode).unwrap();
                if inode.size() > 0 {
                    // The first store.
                    match operations.page_mkwrite(&inode, 0, inode.size().min(4096)) {
                        Ok(()) => {
                            assert_ne!(operations.map_blocks(&inode, 0, 1).unwrap().state, MappingState::Inline)
                        }
                        Err(error) => assert_eq!(error, Error::NoSpace),
                    }
                }
                self.compare(file, &inode);
            }
            Action::Link { file, directory, name: number } => {
                let Some(file) = self.model.file(file) else { return };
                let directory = self.model.directory(directory);
                let inode = self.inode(directory);
                let target = self.inode(file);
                match inode.operations().link(&inode, &name(number), &target, &who()) {
                    Ok(()) => {
                        assert_eq!(self.model.entries(directory).insert(name(number), file), None);
                    }
                    Err(Error::Exists) => assert!(self.model.get(directory, &name(number)).is_some()),
                    Err(error) => assert_eq!(error, Error::NoSpace),
                }
            }
            Action::Remove { directory, name: number } => self.remove(directory, &name(number)),
            Action::Rename { old, old_name, new, new_name } => self.rename(old, &name(old_name), new, &name(new_name)),
            Action::Reopen => {
                let image = std::mem::replace(&mut self.mounted, Mounted::nothing()).unmount_clean();
                self.mounted = Mounted::new(image, Access::ReadWrite).unwrap();
            }
            Action::Sync => self.mounted.fs.sync(SyncMode::Wait).unwrap(),
        }
    }

    fn made(&mut self, directory: usize, number: u8, made: Result<(), Error>, node: Node) {
        let there = self.model.get(directory, &name(number)).is_some();
        match made {
            Ok(()) => {
                assert!(!there);
                self.add(directory, name(number), node);
            }
            Err(Error::Exists) => assert!(there),
            Err(error) => assert_eq!(error, Error::NoSpace),
        }
    }

    fn remove(&mut self, directory: u8, name: &[u8]) {
        let directory = self.model.directory(directory);
        let inode = self.inode(directory);
        let Some(victim) = self.model.get(directory, name) else {
            assert_eq!(self.mounted.lookup(&inode, name).err(), Some(Error::NotFound));
            return;
        };
        if !self.model.is_directory(victim) {
            self.mounted.unlink(&inode, name).unwrap();
        } else if self.model.is_empty(victim) {
            self.mounted.rmdir(&inode, name).unwrap();
        } else {
            assert_eq!(self.mounted.rmdir(&inode, name), Err(Error::NotEmpty));
            return;
        }
        self.model.entries(directory).remove(name);
        self.forget(victim);
    }

    fn forget(&mut self, node: usize) {
        if self.model.links(node) == 0 {
            self.model.nodes[node] = None;
        }
    }

    fn rename(&mut self, old: u8, old_name: &[u8], new: u8, new_name: &[u8]) {
        let (old, new) = (self.model.directory(old), self.model.directory(new));
        let Some(moved) = self.model.get(old, old_name) else { return };
        let replaced = self.model.get(new, new_name);
        // The server refuses these before it asks the file system.
        if self.model.is_directory(moved) && self.model.is_below(new, moved) {
            return;
        }
        let done = self.mounted.rename(&self.inode(old), old_name, &self.inode(new), new_name);
        match replaced {
            Some(replaced) if replaced == moved => assert_eq!(done, Ok(())),
            Some(replaced) if self.model.is_directory(moved) != self.model.is_directory(replaced) => {
                assert!(matches!(done, Err(Error::NotDirectory | Error::IsDirectory)))
            }
            Some(replaced) if self.model.is_directory(replaced) && !self.model.is_empty(replaced) => {
                assert_eq!(done, Err(Error::NotEmpty))
            }
            _ if done == Err(Error::NoSpace) => {}
            _ => {
                assert_eq!(done, Ok(()));
                self.model.entries(old).remove(old_name);
                self.model.entries(new).insert(new_name.to_vec(), moved);
                self.model.parents[moved] = new;
                if let Some(replaced) = replaced {
                    self.forget(replaced);
                }
            }
        }
    }

    fn compare(&self, node: usize, inode: &Arc<Inode>) {
        match self.model.nodes[node].as_ref().unwrap() {
            Node::File(contents) => {
                assert_eq!(inode.size(), contents.len() as u64);
                assert!(self.mounted.read(inode).unwrap() == *contents, "contents of {}", self.model.path(node));
                assert_eq!(inode.attributes().nlink as usize, self.model.links(node));
            }
            Node::Link(target) => assert_eq!(inode.operations().readlink(inode).unwrap(), *target),
            Node::Directory(entries) => {
                let mut names: Vec<Vec<u8>> =
                    self.mounted.names(inode).unwrap().into_iter().map(|(name, _)| name).collect();
                names.retain(|name| !matches!(&name[..], b"." | b".." | b"lost+found"));
                names.sort();
                assert_eq!(names, entries.keys().cloned().collect::<Vec<_>>());
                if node != 0 {
                    let parent = self.inode(self.model.parents[node]);
                    assert_eq!(inode.operations().parent(inode).unwrap(), parent.ino);
                }
            }
        }
    }

    fn compare_all(&self) {
        for node in (0..self.model.nodes.len()).filter(|&node| self.model.nodes[node].is_some()) {
            self.compare(node, &self.inode(node));
        }
    }
}

fn run(image: Vec<u8>, actions: &[Action]) {
    let mounted = Mounted::new(image, Access::ReadWrite).unwrap();
    let model = Model { nodes: vec![Some(Node::Directory(BTreeMap::new()))], parents: vec![0] };
    let mut run = Run { mounted, model };
    for action in actions {
        run.apply(action);
    }
    run.compare_all();
    run.apply(&Action::Reopen);
    run.compare_all();
}

fn check(shape: &[&str], megabytes: u64, cases: u32) {
    if !have_e2fsprogs() {
        return;
    }
    let image = mke2fs(shape, megabytes);
    // More on demand: MODEL_CASES=1000 cargo test.
    let cases = std::env::var("MODEL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(cases);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(actions in vec(action(), 1..250))| run(image.clone(), &actions));
}

#[test]
fn small_blocks_with_inline_data() {
    check(&["-b", "1024", "-O", "inline_data,^has_journal"], 4, 30);
}

#[test]
fn large_inodes_with_inline_data() {
    check(&["-b", "4096", "-I", "512", "-O", "inline_data,^has_journal"], 8, 20);
}

#[test]
fn without_inline_data() {
    check(&["-b", "2048", "-O", "^has_journal"], 8, 20);
}

#[test]
fn a_disk_that_is_nearly_full() {
    check(&["-b", "1024", "-N", "48", "-O", "inline_data,^has_journal,^resize_inode"], 1, 30);
}

#[test]
fn many_small_groups() {
    check(&["-b", "1024", "-g", "256", "-N", "512", "-O", "inline_data,^has_journal,^resize_inode"], 4, 20);
}
