//! COPY goes on without the kernel's lock while another CPU takes its pages away: once ZAP or
//! WRPROTECT has returned, not one more byte of a COPY arrives.
//!
//! The client reads into a mapping of the file, so that the server's COPY writes to the server's own
//! pages. A third process revokes them one by one and looks whether they stay as they are until they
//! are provided again.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::{
        pager::Queue,
        pager_abi::{Tag, fault::retry_cqe, socket::ZapWhat},
        syscall::schemev2::Opcode,
    };
    use userland_tests::{pager_server::*, prelude::*};

    const PAGES: usize = 16;
    const READS: u64 = 400;
    /// How often a revoked page is looked at.
    const LOOKS: usize = 4;

    /// Counters: a revoked page is being looked at and must not be provided; the client has ended; pages revoked.
    const LOOKING: usize = 0;
    const ENDED: usize = 1;
    const REVOKED: usize = 2;

    pub fn run() -> Outcome {
        let server = Server::start(PAGES)?;
        let steps = Steps::new()?;
        let client = in_child(|| read(&steps))?;
        let revoker = in_child(|| revoke(&server, &steps))?;
        let (mut copies, mut short) = (0u64, 0u64);
        while steps.value(ENDED) == 0 || server.grants.get() > 0 {
            match server.next(Queue::Both)? {
                Message::Fault(request) => {
                    while steps.value(LOOKING) != 0 {
                        sys::yield_now();
                    }
                    server.provide(&request)?;
                }
                Message::Request(sqe) if sqe.opcode == Opcode::Read as u8 => {
                    copies += 1;
                    let bytes = copies.to_ne_bytes().repeat(PAGES * PAGE / 8);
                    let copied = server.socket().copy_out(Tag(sqe.tag), 0, &bytes)?;
                    if copied < bytes.len() {
                        short += 1;
                        server.write_answers(&[retry_cqe(Tag(sqe.tag), copied as u64)])?;
                    } else {
                        server.reply(Tag(sqe.tag), copied as u64)?;
                    }
                }
                Message::Munmap(_) => {}
                other => return Err(unexpected("a fault or a read", other)),
            }
        }
        client.join()?;
        revoker.join()?;
        let revoked = steps.value(REVOKED);
        check!(revoked > 0, "nothing was revoked");
        note!("{copies} COPYs of {PAGES} pages, {short} cut short, {revoked} pages revoked meanwhile");
        Ok(())
    }

    fn read(steps: &Steps) -> Outcome {
        let file = File::open("file", Open::READ | Open::WRITE, 0)?;
        let mapping = Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, Sharing::Shared)?;
        for _ in 0..READS {
            check_eq!(file.read_mapped(&mapping, 0, PAGES * PAGE, 0)?, PAGES * PAGE, "read into a mapping");
        }
        steps.set(ENDED, 1);
        Ok(())
    }

    fn revoke(server: &Server, steps: &Steps) -> Outcome {
        let mut n = 0;
        while steps.value(ENDED) == 0 {
            let page = n % PAGES;
            wait_for_copy_to_reach(server, page);
            let offset = (page * PAGE) as u64;
            steps.set(LOOKING, 1);
            if n / PAGES % 2 == 0 {
                server.socket().zap(COOKIE, offset, PAGE as u64, ZapWhat::Shared)?;
            } else {
                server.socket().write_protect(COOKIE, offset, PAGE as u64)?;
            }
            let before = contents(server, page);
            for look in 0..LOOKS {
                check!(contents(server, page) == before, "page {page} changed after it was revoked (look {look}, {n})");
            }
            steps.set(LOOKING, 0);
            n += 1;
            steps.set(REVOKED, n as u64);
            sys::yield_now();
        }
        Ok(())
    }

    /// Waits, not for long, until a COPY has begun with the page before `page`.
    fn wait_for_copy_to_reach(server: &Server, page: usize) {
        let before = page.saturating_sub(1) * PAGE;
        let stamp = server.memory().load_u64(before);
        _ = (0..20_000).find(|_| server.memory().load_u64(before) != stamp);
    }

    /// The last word first, which a COPY that is still on its way has yet to write.
    fn contents(server: &Server, page: usize) -> Vec<u64> {
        (0..PAGE / 8).rev().map(|word| server.memory().load_u64(page * PAGE + word * 8)).collect()
    }
}
