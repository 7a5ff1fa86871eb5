//! Buffers of requests: prefaulted before the request is queued, copied by tag and by the current
//! translations, RETRY when a page has gone, the bounce buffer when it goes again.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::pager_abi::{
        Tag,
        fault::{Access, retry_cqe},
        socket::ZapWhat,
    };
    use userland_tests::user_rt::syscall::{
        error::{EBADF, EFAULT, EINVAL, EIO},
        schemev2::Opcode,
    };
    use userland_tests::{pager_server::*, prelude::*, user_rt};

    const PAGES: usize = 8;

    pub fn run() -> Outcome {
        let server = Server::start(PAGES)?;
        copy(&server)?;
        retry_of_a_write(&server)?;
        retry_of_a_read(&server)?;
        bad_buffers(&server)
    }

    fn copy(server: &Server) -> Outcome {
        let client = in_child(|| {
            let file = File::open("file", Open::READ | Open::WRITE, 0)?;
            let bytes: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
            check_eq!(file.write_at(&bytes, 77)?, 10_000, "write");
            let mut bytes = vec![0; 9000];
            check_eq!(file.read_at(&mut bytes, 5)?, 9000, "read");
            check!(bytes.iter().enumerate().all(|(n, byte)| *byte == n as u8 ^ 0x55), "what was read");
            Ok(())
        })?;
        let request = server.request(Opcode::Write)?;
        let tag = Tag(request.tag);
        check_eq!((request.args[2], request.args[3]), (10_000, 77), "length and offset of the write");
        let mut bytes = vec![0; 10_000];
        check_eq!(server.socket().copy_in(tag, 0, &mut bytes)?, 10_000, "COPY in");
        check!(bytes.iter().enumerate().all(|(n, byte)| *byte == n as u8), "what was copied in");
        check_eq!(server.socket().copy_in(tag, 9_990, &mut bytes[..10])?, 10, "COPY of the end");
        check_eq!(bytes[0], 9_990u32 as u8, "the byte at the offset");
        let errno = |result: user_rt::Result<usize>| result.map_err(|error| error.errno);
        check_eq!(errno(server.socket().copy_in(tag, 9_990, &mut bytes[..11])), Err(EINVAL), "beyond the buffer");
        check_eq!(errno(server.socket().copy_out(tag, 0, &bytes[..1])), Err(EINVAL), "against the direction");
        check_eq!(errno(server.socket().copy_in(Tag(tag.0 ^ 0x100), 0, &mut bytes[..1])), Err(EBADF), "no such tag");
        server.reply(tag, 10_000)?;
        check_eq!(errno(server.socket().copy_in(tag, 0, &mut bytes[..1])), Err(EBADF), "an answered tag");

        let tag = Tag(server.request(Opcode::Read)?.tag);
        let bytes: Vec<u8> = (0..9000u32).map(|n| n as u8 ^ 0x55).collect();
        check_eq!(server.socket().copy_out(tag, 0, &bytes)?, 9000, "COPY out");
        server.reply(tag, 9000)?;
        client.join()?;
        note!("COPY reaches the buffer of its tag, in its direction, and nothing else");
        Ok(())
    }

    /// The client writes from a mapping of the same file, whose pages the server takes away.
    fn retry_of_a_write(server: &Server) -> Outcome {
        let client = in_child(|| {
            let file = File::open("file", Open::READ | Open::WRITE, 0)?;
            let mapping = Mapping::new(&file, 0, PAGES * PAGE, Protection::Read, Sharing::Shared)?;
            check_eq!(file.write_mapped(&mapping, 0, 2 * PAGE, 0)?, 2 * PAGE, "write from a mapping");
            Ok(())
        })?;
        for page in 0..2 {
            let request = server.fault_at(page, Access::Read)?;
            check!(request.record.prefault, "the buffer is faulted in before the request: {request:?}");
            server.provide(&request)?;
        }
        let tag = Tag(server.request(Opcode::Write)?.tag);
        let zap = || server.socket().zap(COOKIE, PAGE as u64, PAGE as u64, ZapWhat::Shared);
        let mut bytes = [0; PAGE];
        let mut copy =
            |offset| server.socket().copy_in(tag, offset, &mut bytes).map(|count| (count, bytes[0], bytes[1]));

        zap()?;
        check_eq!(copy(PAGE as u64)?.0, 0, "COPY from a page that is gone");
        check_eq!(copy(100)?.0, 0, "COPY that needs a page that is gone, as a whole");
        check_eq!(copy(0)?.0, PAGE, "COPY from the other page");
        server.write_answers(&[retry_cqe(tag, PAGE as u64)])?;
        server.provide(&server.fault_at(1, Access::Read)?)?;
        check_eq!(server.request(Opcode::Write)?.tag, tag.0, "the same request again, under the same tag");
        check_eq!(copy(PAGE as u64)?, (PAGE, 1001 as u16 as u8, 3), "COPY after RETRY");

        zap()?;
        server.write_answers(&[retry_cqe(tag, PAGE as u64)])?;
        server.provide(&server.fault_at(1, Access::Read)?)?;
        check_eq!(server.request(Opcode::Write)?.tag, tag.0, "the same request for the third time");
        zap()?;
        check_eq!(copy(PAGE as u64)?, (PAGE, 1001 as u16 as u8, 3), "COPY by the bounce buffer");
        server.reply(tag, 2 * PAGE as u64)?;
        client.join()?;
        check_eq!(server.counters()?.retries, 2, "retries");
        server.drain_grants()?;
        note!("RETRY faults a buffer in again, and the second one cannot be defeated by eviction");
        Ok(())
    }

    /// The client reads into a private mapping of the file: the bounce buffer is emptied by the caller.
    fn retry_of_a_read(server: &Server) -> Outcome {
        let client = in_child(|| {
            let file = File::open("file", Open::READ | Open::WRITE, 0)?;
            let mapping = Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, Sharing::Shared)?;
            check_eq!(file.read_mapped(&mapping, 8, 16, 0)?, 16, "read into a mapping");
            check_eq!((mapping.load_u64(8), mapping.load_u64(16)), (0x1111, 0x2222), "what was read");
            check_eq!(mapping.load_u64(24), 0, "what was not");
            Ok(())
        })?;
        let zap = || server.socket().zap(COOKIE, 0, PAGE as u64, ZapWhat::Shared);
        let bytes: Vec<u8> = [0x1111u64, 0x2222].iter().flat_map(|word| word.to_ne_bytes()).collect();
        for page in [8, 16, 24] {
            server.memory().store_u64(page, 0);
        }
        let request = server.fault_at(0, Access::Write)?;
        check!(request.record.prefault, "{request:?}");
        server.provide(&request)?;
        let tag = Tag(server.request(Opcode::Read)?.tag);
        zap()?;
        check_eq!(server.socket().copy_out(tag, 0, &bytes)?, 0, "COPY to a page that is gone");
        server.write_answers(&[retry_cqe(tag, 0)])?;
        server.provide(&server.fault_at(0, Access::Write)?)?;
        check_eq!(server.request(Opcode::Read)?.tag, tag.0, "the same request");
        zap()?;
        server.write_answers(&[retry_cqe(tag, 0)])?;
        check_eq!(server.request(Opcode::Read)?.tag, tag.0, "the same request, with a bounce buffer");
        check_eq!(server.socket().copy_out(tag, 0, &bytes)?, 16, "COPY to the bounce buffer");
        server.reply(tag, 16)?;
        // The caller empties the bounce buffer into its own page, which is gone.
        server.provide(&server.fault_at(0, Access::Write)?)?;
        // Nobody evicts it now; its loads fault no more.
        client.join()?;
        server.drain_grants()?;
        note!("a read by the bounce buffer arrives in the caller's page");
        Ok(())
    }

    fn bad_buffers(server: &Server) -> Outcome {
        let client = in_child(|| {
            let file = File::open("file", Open::READ | Open::WRITE, 0)?;
            let mapping = Mapping::new(&file, 0, PAGES * PAGE, Protection::Read, Sharing::Shared)?;
            check_eq!(file.read_mapped(&mapping, 0, 8, 0), Err(Errno(EFAULT)), "a read into a read-only mapping");
            check_eq!(file.write_mapped(&mapping, 0, 8, 0), Err(Errno(EFAULT)), "a write from a page with an error");
            Ok(())
        })?;
        let request = server.fault_at(0, Access::Read)?;
        check!(request.record.prefault, "{request:?}");
        server.fail(request.tag, EIO)?;
        client.join()?;
        server.drain_grants()?;
        note!("a buffer that cannot be had is EFAULT, and its thread lives");
        Ok(())
    }
}
