//! Makes the scheme and the second process, step by step and by number.

use crate::{client, server};
use userland_tests::user_rt::{
    descriptor::{self, Fd},
    first_process,
    memory::{Sharing, map_anonymous},
    pager, println,
    syscall::{O_RDWR, UPPER_FDTBL_TAG, data::GlobalSchemes, dup_into, openat_into, write},
};

/// The descriptors, by the transcript's numbers.
pub mod number {
    pub const DEBUG: usize = 1;
    pub const OWN_CONTEXT: usize = 10;
    pub const CLIENT_CONTEXT: usize = 11;
    pub const OWN_SPACE: usize = 12;
    pub const CLIENT_SPACE: usize = 13;
    pub const SPACE_CHOICE: usize = 14;
    pub const OWN_TABLE: usize = 15;
    pub const CLIENT_TABLE: usize = 16;
    pub const TABLE_CHOICE: usize = 17;
    pub const START: usize = 18;
    pub const SOCKET: usize = 20;
    pub const ROOT: usize = 21;
    pub const FILE: usize = 30;
}
use number::*;

/// Bytes of the client's stack.
const STACK_SIZE: usize = 128 << 10;

userland_tests::user_rt::first_process!(main);

fn main() -> i32 {
    // The runtime has opened the console already; the transcript begins with it.
    descriptor::close(Fd(DEBUG));
    let debug = openat_into(UPPER_FDTBL_TAG | GlobalSchemes::Debug as usize, DEBUG, "", O_RDWR, 0);
    println!("[boot] debug open {debug:?}");
    let metadata = first_process::metadata();
    let (count, right) = (metadata.schemes.len(), metadata.scheme_creation.0);
    println!("[boot] {count} kernel schemes, scheme-creation cap fd {right:#x}");

    println!("[boot] create-scheme -> {:?}", dup_into(right, SOCKET, b"create-scheme"));
    println!("[boot] root fd {:?}", dup_into(SOCKET, ROOT, &pager::root_params(0)));
    start_client();
    server::serve()
}

/// The second process: a copy of this one that begins in the client.
fn start_client() {
    let proc = UPPER_FDTBL_TAG | GlobalSchemes::Proc as usize;
    let own = dup_into(proc, OWN_CONTEXT, b"cur-context");
    println!("[boot] cur-context {own:?} new-context {:?}", dup_into(proc, CLIENT_CONTEXT, b"new-context"));
    // The copy of this address space has the client's stack in it.
    let stack = match map_anonymous(STACK_SIZE, Sharing::Private) {
        Ok(stack) => stack.as_ptr() as usize + STACK_SIZE,
        Err(error) => panic!("no stack for the client: {error}"),
    };
    let space = dup_into(OWN_CONTEXT, OWN_SPACE, b"addrspace");
    println!("[boot] addrspace {space:?} clone {:?}", dup_into(OWN_SPACE, CLIENT_SPACE, b"exclusive"));
    println!("[boot] sel {:?}", dup_into(CLIENT_CONTEXT, SPACE_CHOICE, b"current-addrspace"));
    let words = [CLIENT_SPACE, stack, client::start as *const () as usize].map(usize::to_ne_bytes);
    println!("[boot] set as {:?} close {:?}", write(SPACE_CHOICE, words.as_flattened()), close(SPACE_CHOICE));

    let table = dup_into(OWN_CONTEXT, OWN_TABLE, b"filetable");
    let copy = dup_into(OWN_TABLE, CLIENT_TABLE, b"copy");
    println!(
        "[boot] ft {table:?} copy {copy:?} sel {:?}",
        dup_into(CLIENT_CONTEXT, TABLE_CHOICE, b"current-filetable")
    );
    let word = CLIENT_TABLE.to_ne_bytes();
    println!("[boot] set ft {:?} close {:?}", write(TABLE_CHOICE, &word), close(TABLE_CHOICE));
    // The client's address space must end with the client, so that its mappings are given back.
    println!("[boot] drop as fds {:?} {:?}", close(CLIENT_SPACE), close(OWN_SPACE));
    let start = dup_into(CLIENT_CONTEXT, START, b"start");
    println!("[boot] start {start:?} {:?}", write(START, b"1"));
}

/// CLOSE, with its result.
pub fn close(fd: usize) -> userland_tests::user_rt::Result<usize> {
    use userland_tests::user_rt::syscall::{SYS_CLOSE, syscall1};
    // SAFETY: no memory is touched.
    unsafe { syscall1(SYS_CLOSE, fd) }
}
