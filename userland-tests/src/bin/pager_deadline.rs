//! A server that does not answer a fault in time: with `deadline=fail:..` the access fails, the
//! server may still answer, and the next fault is served as if nothing had been.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::{
        kernel_scheme,
        pager_abi::fault::Access,
        syscall::{
            O_RDWR,
            data::GlobalSchemes,
            error::{EFAULT, ETIMEDOUT},
        },
    };
    use userland_tests::{pager_server::*, prelude::*};

    const PAGES: usize = 2;

    pub fn run() -> Outcome {
        let server = Server::start(PAGES)?;
        let standard = kernel_scheme::text("deadline")?;
        set_deadline("fail:100")?;
        let outcome = late_answers(&server);
        set_deadline(&standard)?;
        check_eq!(kernel_scheme::text("deadline")?, standard, "the deadline afterwards");
        outcome
    }

    fn set_deadline(text: &str) -> Outcome {
        kernel_scheme::open(GlobalSchemes::Sys, "deadline", O_RDWR)?.fd().write(text.as_bytes())?;
        Ok(())
    }

    fn late_answers(server: &Server) -> Outcome {
        check!(set_deadline("hope:100").is_err() && set_deadline("fail:0").is_err(), "nonsense is refused");

        let client = in_child(|| {
            _ = map()?.load_u64(0);
            check!(false, "a load went on that nobody answered");
            Ok(())
        })?;
        let late = server.fault_at(0, Access::Read)?;
        check_eq!(client.wait()?, Ended::Fault { errno: Some(ETIMEDOUT) }, "the end of a client with a late fault");
        server.provide(&late)?;
        server.drain_grants()?;

        let client = in_child(|| {
            let file = File::open("file", Open::READ | Open::WRITE, 0)?;
            let written = file.write_mapped(&map()?, 0, 8, 0);
            check_eq!(written.map_err(|error| error.0), Err(EFAULT), "a write from a page that nobody provides");
            Ok(())
        })?;
        let late = server.fault_at(0, Access::Read)?;
        client.join()?;
        server.provide(&late)?;
        server.drain_grants()?;

        let client = in_child(|| {
            check_eq!(map()?.load_u64(0), 1000, "a load that is answered");
            Ok(())
        })?;
        server.provide(&server.fault_at(0, Access::Read)?)?;
        client.join()?;
        server.drain_grants()?;
        check_eq!(server.counters()?.failed_faults, 2, "faults that failed");
        note!("a load and a call's buffer fail with the deadline, late answers map nothing");
        Ok(())
    }

    fn map() -> Result<Mapping, Errno> {
        let file = File::open("file", Open::READ | Open::WRITE, 0)?;
        Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, Sharing::Shared)
    }
}
