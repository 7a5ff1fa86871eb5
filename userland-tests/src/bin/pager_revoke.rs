//! What the server takes back is gone when the call returns: WRPROTECT, ZAP, both against answers
//! that are on their way.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::pager_abi::{
        fault::Access,
        socket::{ACCESSED, ZapWhat},
    };
    use userland_tests::{pager_server::*, prelude::*};

    const PAGES: usize = 8;

    pub fn run() -> Outcome {
        let server = Server::start(PAGES)?;
        write_protect(&server)?;
        zap(&server)?;
        zap_in_flight(&server)?;
        write_protect_in_flight(&server)
    }

    fn map() -> Result<Mapping, Errno> {
        let file = File::open("file", Open::READ | Open::WRITE, 0)?;
        Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, Sharing::Shared)
    }

    fn write_protect(server: &Server) -> Outcome {
        let steps = Steps::new()?;
        let client = in_child(|| {
            let mapping = map()?;
            mapping.store_u64(0, 1);
            mapping.store_u64(PAGE, 1);
            steps.set(0, 1);
            steps.wait(1, 1)?;
            check_eq!(mapping.load_u64(0), 1, "a load from a write-protected page");
            mapping.store_u64(0, 2);
            steps.set(0, 2);
            steps.wait(1, 2)?;
            Ok(())
        })?;
        server.provide(&server.fault_at(0, Access::Write)?)?;
        server.provide(&server.fault_at(1, Access::Write)?)?;
        steps.wait(0, 1)?;
        check_eq!(server.socket().write_protect(COOKIE, 0, 0)?, 2, "pages that were writable");
        check_eq!(server.socket().write_protect(COOKIE, 0, 0)?, 0, "pages that still are");
        steps.set(1, 1);
        let request = server.fault_at(0, Access::Write)?;
        check!(request.record.present, "the store after WRPROTECT is page_mkwrite: {request:?}");
        check_eq!(server.memory().load_u64(0), 1, "nothing was stored past the protection");
        server.provide(&request)?;
        steps.wait(0, 2)?;
        check_eq!(server.memory().load_u64(0), 2, "the store that was allowed");
        steps.set(1, 2);
        client.join()?;
        server.drain_grants()?;
        note!("a store after WRPROTECT is a message again");
        Ok(())
    }

    fn zap(server: &Server) -> Outcome {
        let steps = Steps::new()?;
        server.memory().store_u64(0, 1000);
        let client = in_child(|| {
            let mapping = map()?;
            check_eq!(mapping.load_u64(0), 1000, "the page before the ZAP");
            steps.set(0, 1);
            steps.wait(1, 1)?;
            check_eq!(mapping.load_u64(0), 1005, "the page after the ZAP");
            Ok(())
        })?;
        server.provide(&server.fault_at(0, Access::Read)?)?;
        steps.wait(0, 1)?;
        check_eq!(server.socket().zap(COOKIE, 0, 0, ZapWhat::Shared)? as u64, ACCESSED, "a page was used");
        check_eq!(server.socket().zap(COOKIE, 0, 0, ZapWhat::Shared)?, 0, "none is there any more");
        steps.set(1, 1);
        let request = server.fault_at(0, Access::Read)?;
        check!(!request.record.present, "{request:?}");
        server.provide_from(&request, 5, 0, 1, false)?;
        client.join()?;
        server.drain_grants()?;
        note!("a load after ZAP is a message again, and may be given another page");
        Ok(())
    }

    fn zap_in_flight(server: &Server) -> Outcome {
        let client = in_child(|| {
            check_eq!(map()?.load_u64(PAGE), 1004, "the page of the second answer");
            Ok(())
        })?;
        let before = server.counters()?.resent_faults;
        let late = server.fault_at(1, Access::Read)?;
        server.socket().zap(COOKIE, PAGE as u64, PAGE as u64, ZapWhat::Shared)?;
        server.provide(&late)?;
        let again = server.fault_at(1, Access::Read)?;
        check_eq!(server.counters()?.resent_faults, before + 1, "faults sent again");
        server.provide_from(&again, 4, 0, 1, false)?;
        client.join()?;
        server.drain_grants()?;
        note!("an answer that a ZAP has overtaken maps nothing");
        Ok(())
    }

    fn write_protect_in_flight(server: &Server) -> Outcome {
        let client = in_child(|| {
            map()?.store_u64(2 * PAGE, 7);
            Ok(())
        })?;
        let late = server.fault_at(2, Access::Write)?;
        server.socket().write_protect(COOKIE, 0, 0)?;
        server.provide(&late)?;
        let again = server.fault_at(2, Access::Write)?;
        check!(again.record.present, "the page came, but read-only: {again:?}");
        check_eq!(server.memory().load_u64(2 * PAGE), 1002, "nothing was stored yet");
        server.provide(&again)?;
        client.join()?;
        check_eq!(server.memory().load_u64(2 * PAGE), 7, "the store");
        server.drain_grants()?;
        note!("an answer that a WRPROTECT has overtaken maps read-only");
        Ok(())
    }
}
