//! Faults reach the server as messages, and its answers map runs of pages: loads, the first store
//! (`page_mkwrite`), stores to absent pages, fault-around, errors, and answers that are refused.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::pager_abi::fault::{Access, ProvideMmap};
    use userland_tests::user_rt::syscall::error::{EFAULT, EIO, ENOSPC};
    use userland_tests::{
        pager_server::*,
        prelude::*,
        user_rt::{self, process},
    };

    const PAGES: usize = 8;

    pub fn run() -> Outcome {
        let server = Server::start(PAGES)?;
        provide(&server)?;
        stores(&server)?;
        errors(&server)?;
        nonsense(&server)
    }

    fn map() -> Result<Mapping, Errno> {
        let file = File::open("file", Open::READ | Open::WRITE, 0)?;
        Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, Sharing::Shared)
    }

    fn provide(server: &Server) -> Outcome {
        let client = in_child(|| {
            let mapping = map()?;
            check_eq!(mapping.load_u64(2 * PAGE), 1002, "the page that faulted");
            for page in [0, 1, 3, 4] {
                check_eq!(mapping.load_u64(page * PAGE), 1000 + page as u64, "a page that came along");
            }
            check_eq!(mapping.load_u64(7 * PAGE), 1007, "a page outside the run");
            Ok(())
        })?;
        let request = server.fault_at(2, Access::Read)?;
        check_eq!((request.record.before, request.record.after), (2, 5), "the window");
        check!(!request.record.present && !request.record.private && !request.record.prefault, "{request:?}");
        server.provide_from(&request, 0, 2, 5, false)?;
        let request = server.fault_at(7, Access::Read)?;
        check_eq!((request.record.before, request.record.after), (2, 0), "the window beside mapped pages");
        server.provide(&request)?;
        client.join()?;
        server.drain_grants()?;
        note!("a load faults once for a run of pages");
        Ok(())
    }

    fn stores(server: &Server) -> Outcome {
        let client = in_child(|| {
            let mapping = map()?;
            check_eq!(mapping.load_u64(0), 1000, "a load");
            mapping.store_u64(8, 11);
            mapping.store_u64(16, 12);
            mapping.store_u64(PAGE + 8, 13);
            check_eq!(mapping.load_u64(PAGE), 1001, "a load after a store");
            Ok(())
        })?;
        server.provide(&server.fault_at(0, Access::Read)?)?;
        let request = server.fault_at(0, Access::Write)?;
        check!(request.record.present, "a store to a page that is mapped read-only: {request:?}");
        server.provide(&request)?;
        let request = server.fault_at(1, Access::Write)?;
        check!(!request.record.present, "a store to an absent page: {request:?}");
        server.provide(&request)?;
        client.join()?;
        let stored = [8, 16, PAGE + 8].map(|offset| server.memory().load_u64(offset));
        check_eq!(stored, [11, 12, 13], "what the client stored is in the server's page");
        server.drain_grants()?;
        note!("the first store to a page is a message, the second is none");
        Ok(())
    }

    fn errors(server: &Server) -> Outcome {
        for (page, store, errno) in [(3usize, false, EIO), (4, true, ENOSPC)] {
            let client = process::fork(|| {
                let Ok(mapping) = map() else { return 2 };
                if store {
                    mapping.store_u64(page * PAGE, 1)
                } else {
                    _ = mapping.load_u64(page * PAGE + 8)
                };
                0
            })?;
            let access = if store { Access::Write } else { Access::Read };
            server.fail(server.fault_at(page, access)?.tag, errno)?;
            match client.wait()? {
                user_rt::pager_abi::exit::ExitStatus::Fault { errno: seen, address, access: how } => {
                    check_eq!(seen, errno, "the errno that the waiter reads");
                    check_eq!(how, access as u64, "the access that the waiter reads");
                    let offset = if store { 0 } else { 8 };
                    check_eq!(address as usize % PAGE, offset, "the address that the waiter reads");
                }
                ended => return Err(format!("a client whose page could not be had ended: {ended:?}").into()),
            }
            server.drain_grants()?;
        }
        note!("an error ends the thread, and its waiter reads why");
        Ok(())
    }

    /// Answers that the kernel refuses: the access fails, nothing is mapped, nobody hangs.
    fn nonsense(server: &Server) -> Outcome {
        let mine = 0x77usize;
        let answers = [
            ("an address where nothing is", 0x4000_0000_0000, 0, 1),
            ("the server's program", run as *const () as u64 & !0xfff, 0, 99),
            ("more than was asked for", server.memory().at(0, PAGE) as u64, 0, 1000),
            ("the server's stack, beyond its end", (&raw const mine) as u64 & !0xfff, 0, 60),
        ];
        for (what, address, before, count) in answers {
            let client = in_child(|| {
                _ = map()?.load_u64(0);
                Ok(())
            })?;
            let request = server.fault_at(0, Access::Read)?;
            let provide = ProvideMmap { tag: request.tag, address, before, count, writable: false };
            // The answer is refused, which the server may be told or not.
            _ = server.write_answers(&[provide.to_cqe()]);
            match client.wait()? {
                Ended::Fault { errno: Some(EIO | EFAULT) } => {}
                ended => return Err(format!("{what} was given to a client, which ended: {ended:?}").into()),
            }
            server.drain_grants()?;
        }
        check!(server.counters()?.refused_answers >= 4, "refused answers are counted");
        note!("memory that a server may not give is refused");
        Ok(())
    }
}
