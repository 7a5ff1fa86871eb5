//! Private mappings: the kernel copies on write, copies survive what the server revokes (except a
//! truncation), and a new process inherits them by copy and shared mappings by reference.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::pager_abi::{fault::Access, socket::ZapWhat};
    use userland_tests::{pager_server::*, prelude::*};

    const PAGES: usize = 8;

    pub fn run() -> Outcome {
        let server = Server::start(PAGES)?;
        copies(&server)?;
        inheritance(&server)
    }

    fn map(sharing: Sharing) -> Result<Mapping, Errno> {
        let file = File::open("file", Open::READ | Open::WRITE, 0)?;
        Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, sharing)
    }

    fn copies(server: &Server) -> Outcome {
        let steps = Steps::new()?;
        let client = in_child(|| {
            let mapping = map(Sharing::Private)?;
            check_eq!(mapping.load_u64(0), 1000, "a load");
            mapping.store_u64(8, 5);
            check_eq!(mapping.load_u64(0), 1000, "the rest of a copy");
            mapping.store_u64(PAGE + 8, 6);
            check_eq!(mapping.load_u64(PAGE), 1001, "the rest of a copy made at once");
            steps.set(0, 1);
            steps.wait(1, 1)?;
            check_eq!((mapping.load_u64(8), mapping.load_u64(PAGE + 8)), (5, 6), "copies after a ZAP");
            mapping.protect(0, PAGE, Protection::Read)?;
            mapping.protect(0, PAGE, Protection::ReadWrite)?;
            mapping.store_u64(16, 7);
            check_eq!(mapping.load_u64(8), 5, "a copy after mprotect");
            steps.set(0, 2);
            steps.wait(1, 2)?;
            check_eq!(mapping.load_u64(8), 5, "a copy before the new end");
            check_eq!(mapping.load_u64(PAGE), 1003, "a page past the new end is the file's again");
            Ok(())
        })?;
        let request = server.fault_at(0, Access::Read)?;
        check!(request.record.private, "{request:?}");
        server.provide(&request)?;
        let request = server.fault_at(1, Access::Read)?;
        check!(request.record.private, "a store to an absent private page asks to read: {request:?}");
        server.provide(&request)?;
        steps.wait(0, 1)?;
        check_eq!(server.memory().load_u64(8), 0, "the file's page after a private store");
        check_eq!(server.counters()?.private_copies, 2, "private pages copied");
        server.socket().zap(COOKIE, 0, 0, ZapWhat::Shared)?;
        steps.set(1, 1);
        steps.wait(0, 2)?;
        server.socket().zap(COOKIE, PAGE as u64, 0, ZapWhat::SharedAndPrivate)?;
        steps.set(1, 2);
        server.provide_from(&server.fault_at(1, Access::Read)?, 3, 0, 1, false)?;
        client.join()?;
        server.drain_grants()?;
        note!("the kernel copies on write; copies survive ZAP, and go by truncation");
        Ok(())
    }

    fn inheritance(server: &Server) -> Outcome {
        let steps = Steps::new()?;
        let client = in_child(|| {
            let (private, shared) = (map(Sharing::Private)?, map(Sharing::Shared)?);
            private.store_u64(8, 5);
            shared.store_u64(PAGE + 8, 6);
            in_child(|| {
                check_eq!(private.load_u64(8), 5, "an inherited copy");
                check_eq!(shared.load_u64(PAGE + 8), 6, "an inherited shared page");
                private.store_u64(8, 50);
                shared.store_u64(PAGE + 8, 60);
                Ok(())
            })?
            .join()?;
            check_eq!(private.load_u64(8), 5, "the parent's copy after the child's store");
            check_eq!(shared.load_u64(PAGE + 8), 60, "the shared page after the child's store");
            steps.set(0, 1);
            Ok(())
        })?;
        // Who needs which pages again is the kernel's choice; every page is given as asked.
        while steps.value(0) == 0 {
            match server.poll()? {
                Some(Message::Fault(request)) => server.provide(&request)?,
                Some(Message::Munmap(_)) | None => sys::yield_now(),
                Some(other) => return Err(unexpected("a fault", other)),
            }
        }
        client.join()?;
        server.drain_grants()?;
        note!("a new process inherits copies by copy and shared mappings by reference");
        Ok(())
    }
}
