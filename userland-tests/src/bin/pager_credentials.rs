//! Messages say whom their sender acts for: requests and faults carry its uid and gid, which a
//! child inherits and which nobody but root can change.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::{
        self,
        context::Context,
        pager_abi::{Tag, fault::Access},
        syscall::{data::ProcSchemeAttrs, error::EPERM, schemev2::Opcode},
    };
    use userland_tests::{pager_server::*, prelude::*};

    const SOMEBODY: u64 = 1000 | 100 << 32;

    pub fn run() -> Outcome {
        let server = Server::start(1)?;
        let client = in_child(|| {
            become_user(1000, 100)?;
            check_eq!(become_user(0, 0).map_err(|error| error.errno), Err(EPERM), "root again");
            in_child(use_file)?.join()
        })?;
        let request = server.request(Opcode::Write)?;
        check_eq!(request.args[5], SOMEBODY, "whom the write acts for");
        server.reply(Tag(request.tag), 4)?;
        let fault = server.fault_at(0, Access::Read)?;
        check_eq!(server.credentials.get(), SOMEBODY, "whom the fault acts for");
        server.provide(&fault)?;
        client.join()?;
        server.drain_grants()?;

        let client = in_child(use_file)?;
        let request = server.request(Opcode::Write)?;
        check_eq!(request.args[5], 0, "whom a write of root acts for");
        server.reply(Tag(request.tag), 4)?;
        server.provide(&server.fault_at(0, Access::Read)?)?;
        client.join()?;
        note!("requests and faults carry uid and gid; a child has its parent's");
        Ok(())
    }

    fn become_user(euid: u32, egid: u32) -> user_rt::Result<()> {
        let attributes = ProcSchemeAttrs { euid, egid, ..ProcSchemeAttrs::default() };
        Context::current()?.fd().dup(b"attrs")?.fd().write(&attributes).map(|_| ())
    }

    fn use_file() -> Outcome {
        let file = File::open("file", Open::READ | Open::WRITE, 0)?;
        check_eq!(file.write_at(&[1; 4], 0)?, 4, "write");
        let mapping = Mapping::new(&file, 0, PAGE, Protection::Read, Sharing::Shared)?;
        check_eq!(mapping.load_u64(0), 1000, "a load");
        Ok(())
    }
}
