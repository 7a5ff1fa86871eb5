//! The commands: each is a function of its arguments.

use crate::{keys, mapping};
use userland_tests::{model::write_all, prelude::*, sys::print_line};

/// What comes after a command.
pub enum Next {
    /// Another one.
    Line,
    /// The end.
    Leave,
}

/// Why a command did nothing, or not all.
pub enum Refusal {
    /// Its arguments are not as the text says.
    Usage(&'static str),
    /// A call failed.
    Error(String, Errno),
}

pub type Done = Result<(), Refusal>;

/// Names what failed.
pub trait About<T> {
    fn about(self, what: &str) -> Result<T, Refusal>;
}

impl<T> About<T> for Result<T, Errno> {
    fn about(self, what: &str) -> Result<T, Refusal> {
        self.map_err(|errno| Refusal::Error(what.into(), errno))
    }
}

/// Bytes that are read or copied at once.
const CHUNK: usize = 64 << 10;

const HELP: &[&str] = &[
    "ls [-l] [DIR]            names of a directory",
    "cat FILE                 contents",
    "stat PATH                what is known of an inode",
    "cp FROM TO               copy a file",
    "write FILE TEXT..        make FILE hold TEXT",
    "append FILE TEXT..       add TEXT to FILE",
    "truncate FILE SIZE       cut or grow FILE",
    "rm FILE, mkdir DIR, rmdir DIR, mv FROM TO, ln [-s] TARGET NAME",
    "map FILE [OFFSET [TEXT..]]   map FILE, store TEXT through the mapping, show it",
    "sync                     write everything back",
    "df                       room on the disk",
    "faults                   counters of the page cache and of the fault messages",
    "waits                    who waits for whom (as Ctrl-T)",
    "drop-caches              drop every clean page",
    "exit                     leave and power off (as Ctrl-D)",
];

/// Runs the command in `line`.
pub fn run(line: &str) -> Next {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some((&command, rest)) = words.split_first() else { return Next::Line };
    let done = match (command, rest) {
        ("exit" | "quit", []) => return Next::Leave,
        ("help", _) => {
            HELP.iter().for_each(|line| print_line(format_args!("{line}")));
            Ok(())
        }
        ("ls", ["-l", path]) => list(path, Detail::Long),
        ("ls", ["-l"]) => list(".", Detail::Long),
        ("ls", [path]) => list(path, Detail::Names),
        ("ls", []) => list(".", Detail::Names),
        ("cat", [path]) => cat(path),
        ("stat", [path]) => stat(path),
        ("cp", [from, to]) => copy(from, to),
        ("write", [path, text @ ..]) => write(path, Open::TRUNCATE, text),
        ("append", [path, text @ ..]) => write(path, Open::APPEND, text),
        ("truncate", [path, size]) => truncate(path, size),
        ("rm", [path]) => sys::unlink(path).about(path),
        ("mkdir", [path]) => sys::make_directory(path, 0o755).about(path),
        ("rmdir", [path]) => sys::remove_directory(path).about(path),
        ("mv", [from, to]) => sys::rename(from, to).about(&format!("{from} to {to}")),
        ("ln", ["-s", target, name]) => sys::make_symlink(name, target).about(name),
        ("ln", [target, name]) => sys::link(target, name).about(name),
        ("map", [path, rest @ ..]) => mapping::show(path, rest),
        ("sync", []) => sys::sync_all().about("sync"),
        ("df", []) => room(),
        ("faults", []) => counters(),
        ("waits", []) => {
            keys::print_waits();
            Ok(())
        }
        ("drop-caches", []) => sys::drop_caches().about("drop-caches"),
        _ => Err(Refusal::Usage("no such command, or not with these arguments; see help")),
    };
    match done {
        Ok(()) => {}
        Err(Refusal::Usage(why)) => print_line(format_args!("{command}: {why}")),
        Err(Refusal::Error(what, errno)) => print_line(format_args!("{command}: {what}: {errno}")),
    }
    Next::Line
}

/// How much of each name is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Names,
    Long,
}

fn list(path: &str, detail: Detail) -> Done {
    let directory = File::open(path, Open::READ | Open::DIRECTORY, 0).about(path)?;
    let mut entries = directory.entries().about(path)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        if detail == Detail::Names {
            let mark = if entry.kind == Some(Kind::Directory) { "/" } else { "" };
            print_line(format_args!("{}{mark}", entry.name));
            continue;
        }
        let full = format!("{path}/{}", entry.name);
        let stat = sys::stat(&full).about(&full)?;
        let arrow = match stat.kind {
            Kind::Symlink => format!(" -> {}", sys::read_symlink(&full).about(&full)?),
            _ => String::new(),
        };
        let (kind, mode) = (letter(stat.kind), stat.mode);
        print_line(format_args!(
            "{kind}{mode:04o} {:3} {:10} inode {:6} {}{arrow}",
            stat.links, stat.size, stat.inode, entry.name
        ));
    }
    Ok(())
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Other => '?',
    }
}

/// Gives every piece of a file to `f`.
fn each_piece(path: &str, mut f: impl FnMut(u64, &[u8]) -> Done) -> Done {
    let file = File::open(path, Open::READ, 0).about(path)?;
    let mut buf = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buf, offset).about(path)? {
            0 => return Ok(()),
            count => {
                f(offset, &buf[..count])?;
                offset += count as u64;
            }
        }
    }
}

fn cat(path: &str) -> Done {
    let mut last = b'\n';
    each_piece(path, |_, bytes| {
        last = bytes[bytes.len() - 1];
        sys::print_text(format_args!("{}", String::from_utf8_lossy(bytes)));
        Ok(())
    })?;
    if last != b'\n' {
        print_line(format_args!(""));
    }
    Ok(())
}

fn stat(path: &str) -> Done {
    let stat = sys::stat(path).about(path)?;
    let sys::Stat { inode, kind, mode, links, size, blocks, modified_ns } = stat;
    print_line(format_args!("{kind:?} inode {inode} mode {mode:04o} links {links}"));
    print_line(format_args!(
        "size {size} allocated {} modified {}.{:09}",
        blocks * 512,
        modified_ns / 1_000_000_000,
        modified_ns % 1_000_000_000
    ));
    Ok(())
}

fn copy(from: &str, to: &str) -> Done {
    let target = File::open(to, Open::WRITE | Open::CREATE | Open::TRUNCATE, 0o644).about(to)?;
    each_piece(from, |offset, bytes| write_all(&target, bytes, offset).about(to))
}

fn write(path: &str, how: Open, text: &[&str]) -> Done {
    let mut text = text.join(" ");
    text.push('\n');
    let file = File::open(path, Open::WRITE | Open::CREATE | how, 0o644).about(path)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match file.write(rest).about(path)? {
            0 => return Err(Refusal::Error(path.into(), Errno::EIO)),
            count => rest = &rest[count..],
        }
    }
    Ok(())
}

fn truncate(path: &str, size: &str) -> Done {
    let size = size.parse().map_err(|_| Refusal::Usage("SIZE is a number of bytes"))?;
    File::open(path, Open::WRITE | Open::CREATE, 0o644).about(path)?.truncate(size).about(path)
}

fn room() -> Done {
    let room = sys::room().about("df")?;
    let mib = |blocks: u64| blocks * room.block_size / (1 << 20);
    print_line(format_args!("{} MiB in blocks of {}, {} MiB free", mib(room.blocks), room.block_size, mib(room.free)));
    Ok(())
}

fn counters() -> Done {
    sys::counters_text().about("faults")?.lines().for_each(|line| print_line(format_args!("{line}")));
    Ok(())
}
