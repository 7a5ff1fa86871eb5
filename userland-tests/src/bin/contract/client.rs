//! The client: each call that a file has, in the transcript's order, and then further.

use super::boot::{
    close,
    number::{CLIENT_CONTEXT, CLIENT_SPACE, FILE, OWN_SPACE, ROOT},
};
use core::str::from_utf8;
use userland_tests::user_rt::{
    Result,
    memory::{Sharing, map_anonymous},
    println,
    syscall::{
        Map, MapFlags, O_CREAT, O_RDWR, SEEK_SET, Stat, StdFsCallKind, StdFsCallMeta, fmap, fstat, fsync, funmap,
        lseek, mprotect, openat_into, read, std_fs_call, write,
    },
};

/// Bytes of the mappings.
const MAPPED: usize = 16 << 10;

/// The client's first instructions.
#[unsafe(naked)]
pub extern "C" fn start() -> ! {
    core::arch::naked_asm!("xor ebp, ebp", "and rsp, -16", "call {client}", "ud2", client = sym client)
}

extern "C" fn client() -> ! {
    println!("[cli] hello from second address space");
    plain_calls();
    let mapping = shared_mapping();
    end_of_shared_mapping(mapping);
    private_mapping();
    println!("[cli] closing as fds {:?} {:?}; killing self", close(CLIENT_SPACE), close(OWN_SPACE));
    println!("[cli] ?? {:?}", write(CLIENT_CONTEXT, &usize::MAX.to_ne_bytes()));
    unreachable!("the context has ended itself");
}

/// Reads from the file's start.
fn read_start(buf: &mut [u8]) -> Result<usize> {
    let _ = lseek(FILE, 0, SEEK_SET);
    read(FILE, buf)
}

fn plain_calls() {
    println!("[cli] openat {:?}", openat_into(ROOT, FILE, "dir/file.txt", O_RDWR | O_CREAT, 0));
    println!("[cli] write {:?}", write(FILE, b"hello redox vfs server"));
    println!("[cli] lseek {:?}", lseek(FILE, 0, SEEK_SET));
    let mut buf = [0; 64];
    let count = read(FILE, &mut buf);
    println!("[cli] read {count:?} {:?}", from_utf8(&buf[..22]));
    let mut stat = Stat::default();
    println!("[cli] fstat {:?} size {}", fstat(FILE, &mut stat), stat.st_size);
    let truncate = StdFsCallMeta::new(StdFsCallKind::Ftruncate, 8192, 0);
    println!("[cli] ftruncate {:?}", std_fs_call(FILE, &mut [], &truncate));
}

/// A mapping of the file, of which nobody but these calls knows.
struct Window(*mut u8);

impl Window {
    fn map(how: MapFlags, name: &str) -> Self {
        let flags = MapFlags::PROT_READ | MapFlags::PROT_WRITE | how;
        // SAFETY: the kernel chooses addresses that nothing uses.
        let address = unsafe { fmap(FILE, &Map { offset: 0, size: MAPPED, flags, address: 0 }) };
        println!("[cli] fmap {name} {address:x?}");
        match address {
            Ok(address) => Self(address as *mut u8),
            Err(error) => panic!("fmap: {error}"),
        }
    }

    fn text<const N: usize>(&self, at: usize) -> [u8; N] {
        assert!(at + N <= MAPPED);
        // SAFETY: inside the mapping.
        unsafe { self.0.add(at).cast::<[u8; N]>().read_unaligned() }
    }

    fn store(&self, at: usize, text: &[u8]) {
        assert!(at + text.len() <= MAPPED);
        // SAFETY: inside the mapping.
        unsafe { self.0.add(at).copy_from(text.as_ptr(), text.len()) }
    }
}

fn shared_mapping() -> Window {
    let window = Window::map(MapFlags::MAP_SHARED | MapFlags::MAP_LAZY, "shared lazy");
    println!("[cli] mapped reads {:?}", from_utf8(&window.text::<22>(0)));
    window.store(0, b"MMAPD");
    window.store(4096, b"page2 ok!");
    println!("[cli] mapped store done (no daemon message seen above = no fault notification)");
    let mut buf = [0; 64];
    let count = read_start(&mut buf);
    println!("[cli] read() sees store: {count:?} {:?}", from_utf8(&buf[..22]));

    // A whole page of the file's own mapping as the buffer: it is lent to the server.
    let _ = lseek(FILE, 8192, SEEK_SET);
    // SAFETY: the first page of the mapping, which nobody writes meanwhile.
    let page = unsafe { core::slice::from_raw_parts(window.0, 4096) };
    println!("[cli] write(buf=own mapping of same file) {:?}", write(FILE, page));
    println!("[cli] mapped p3 now {:?}", from_utf8(&window.text::<16>(8192)));
    println!("[cli] beyond-EOF byte {}", window.text::<1>(12288 + 10)[0]);

    let fresh = match map_anonymous(MAPPED, Sharing::Private) {
        // SAFETY: the memory is fresh, and stays.
        Ok(fresh) => unsafe { core::slice::from_raw_parts_mut(fresh.as_ptr(), 12288) },
        Err(error) => panic!("no memory: {error}"),
    };
    println!("[cli] read 12k into unfaulted buf {:?}", read_start(fresh));
    println!("[cli] fsync {:?}", fsync(FILE));
    window
}

fn end_of_shared_mapping(window: Window) {
    // SAFETY: nobody stores to it any more.
    println!("[cli] mprotect ro {:?}", unsafe { mprotect(window.0 as usize, MAPPED, MapFlags::PROT_READ) });
    // SAFETY: nobody uses it any more.
    println!("[cli] funmap {:?}", unsafe { funmap(window.0 as usize, MAPPED) });
}

/// From the store on, Redox hangs.
fn private_mapping() {
    let window = Window::map(MapFlags::MAP_PRIVATE, "private");
    println!("[cli] private reads {:?}", from_utf8(&window.text::<16>(0)));
    window.store(0, b"mine!");
    println!("[cli] private store done, mapped now {:?}", from_utf8(&window.text::<16>(0)));
    let mut buf = [0; 16];
    let count = read_start(&mut buf);
    println!("[cli] the file is as it was: {count:?} {:?}", from_utf8(&buf));

    // Redox lets this read overwrite the file's own page.
    let _ = lseek(FILE, 4096, SEEK_SET);
    // SAFETY: the second page of the private mapping, which nobody else has.
    let page = unsafe { core::slice::from_raw_parts_mut(window.0.add(4096), 4096) };
    println!("[cli] read a whole page into the private mapping {:?}", read(FILE, page));
    println!("[cli] mapped page 2 {:?}", from_utf8(&window.text::<9>(4096)));
    // SAFETY: nobody uses it any more.
    println!("[cli] funmap {:?}", unsafe { funmap(window.0 as usize, MAPPED) });

    let truncate = StdFsCallMeta::new(StdFsCallKind::Ftruncate, 1, 0);
    println!("[cli] ftruncate to 1 {:?}", std_fs_call(FILE, &mut [], &truncate));
    let count = read_start(&mut buf);
    println!("[cli] read after it {count:?} {:?}", from_utf8(&buf[..1]));
}
