//! Either side dies at the worst moment, and the other goes on: a client in the middle of a fault
//! and of a request, a server with faults, requests and mapped pages outstanding.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::pager_abi::{Tag, fault::Access};
    use userland_tests::user_rt::{
        descriptor::{ROOT, close},
        pager::Queue,
        syscall::{
            error::{ECANCELED, ENODEV},
            schemev2::Opcode,
        },
    };
    use userland_tests::{pager_server::*, prelude::*};

    const PAGES: usize = 8;

    pub fn run() -> Outcome {
        let server = Server::start(PAGES)?;
        client_in_a_fault(&server)?;
        client_in_a_request(&server)?;
        drop(server);
        close(ROOT);
        server_with_clients()
    }

    fn map(sharing: Sharing) -> Result<Mapping, Errno> {
        let file = File::open("file", Open::READ | Open::WRITE, 0)?;
        Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, sharing)
    }

    fn client_in_a_fault(server: &Server) -> Outcome {
        let client = in_child(|| {
            _ = map(Sharing::Shared)?.load_u64(0);
            Ok(())
        })?;
        let request = server.fault_at(0, Access::Read)?;
        client.kill()?;
        check_eq!(client.wait()?, Ended::Killed, "the client");
        server.provide(&request)?;
        server.drain_grants()?;
        // The next client is served as if nothing had been.
        let client = in_child(|| {
            check_eq!(map(Sharing::Shared)?.load_u64(0), 1000, "a load");
            Ok(())
        })?;
        server.provide(&server.fault_at(0, Access::Read)?)?;
        client.join()?;
        server.drain_grants()?;
        note!("a client killed in a fault: its answer maps nothing, its grants come back");
        Ok(())
    }

    fn client_in_a_request(server: &Server) -> Outcome {
        let client = in_child(|| {
            File::open("file", Open::READ | Open::WRITE, 0)?.write_at(&[7; 100], 0)?;
            Ok(())
        })?;
        let request = server.request(Opcode::Write)?;
        client.kill()?;
        check_eq!(client.wait()?, Ended::Killed, "the client");
        let mut bytes = [0; 100];
        let copied = server.socket().copy_in(Tag(request.tag), 0, &mut bytes);
        check_eq!(copied.map_err(|error| error.errno), Err(ECANCELED), "COPY from a client that is gone");
        match server.next(Queue::Ordinary)? {
            Message::Cancel(tag) => check_eq!(tag.0, request.tag, "the tag that is cancelled"),
            other => return Err(unexpected("a Cancel", other)),
        }
        server.reply(Tag(request.tag), 100)?;
        check!(
            server.write_answers(&[pager_abi::fault::regular_cqe(Tag(request.tag), 0)]).is_ok()
                || server.counters()?.refused_answers > 0,
            "a second answer is refused or counted"
        );
        note!("a client killed in a request: its tag stays until it is answered");
        Ok(())
    }

    /// The server is the child here, and dies; the clients are this process and another.
    fn server_with_clients() -> Outcome {
        let steps = Steps::new()?;
        let server = Server::start(PAGES)?;
        let child = in_child(|| {
            server.provide(&server.fault_at(0, Access::Read)?)?;
            server.provide(&server.fault_at(1, Access::Read)?)?;
            // From here on nothing is answered.
            server.fault_at(2, Access::Read)?;
            steps.set(0, 1);
            server.request(Opcode::Fsync)?;
            steps.set(0, 2);
            loop {
                sys::yield_now();
            }
        })?;
        drop(server);
        let (shared, private) = (map(Sharing::Shared)?, map(Sharing::Private)?);
        check_eq!(shared.load_u64(0), 1000, "a load");
        private.store_u64(PAGE + 8, 5);
        let faulting = in_child(|| {
            _ = shared.load_u64(2 * PAGE);
            Ok(())
        })?;
        steps.wait(0, 1)?;
        let asking = in_child(|| {
            let result = File::open("file", Open::READ, 0).and_then(|file| file.sync());
            check_eq!(result, Err(Errno(ENODEV)), "a request of a dead server");
            Ok(())
        })?;
        // The open of that client is answered by nobody but the server's own loop: it waits, too.
        steps.wait(0, 2)?;
        child.kill()?;
        check_eq!(child.wait()?, Ended::Killed, "the server");
        check_eq!(faulting.wait()?, Ended::Fault { errno: Some(ENODEV) }, "the client in a fault");
        asking.join()?;
        let zapped = in_child(|| {
            _ = shared.load_u64(0);
            Ok(())
        })?;
        check_eq!(zapped.wait()?, Ended::Fault { errno: Some(ENODEV) }, "a page of a dead server");
        check_eq!(private.load_u64(PAGE + 8), 5, "a private copy is the client's own");
        check_eq!(File::open("file", Open::READ, 0).err(), Some(Errno(ENODEV)), "a dead server's root");
        note!("a server dies: its pages are gone, its messages fail, private copies stay");
        Ok(())
    }
}
