//! Two CPUs store while the server write-protects, and no store is lost: a page that no fault has
//! made dirty since the last WRPROTECT returned is exactly what it was then.
//!
//! This is the contract by which a server may write back without looking at hardware dirty bits.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

userland_tests::pager_test!(test::run);

#[cfg(target_os = "none")]
mod test {
    use userland_tests::user_rt::pager_abi::{fault::Access, socket::ZapWhat};
    use userland_tests::{pager_server::*, prelude::*};

    const PAGES: usize = 4;
    const CLIENTS: usize = 2;
    /// The server goes on until it has met the clients so often, both ways.
    const ROUNDS: u64 = 400;
    const FAULTS: u64 = 400;
    /// Beyond this the clients make no progress.
    const ROUNDS_MOST: u64 = 2_000_000;

    /// Counters: a client has ended; the server wants no more; stores that a client has made.
    const ENDED: usize = 0;
    const ENOUGH: usize = CLIENTS;
    const STORES: usize = CLIENTS + 1;

    pub fn run() -> Outcome {
        let server = Server::start(PAGES)?;
        let steps = Steps::new()?;
        let clients = (0..CLIENTS).map(|client| in_child(|| store(client, &steps))).collect::<Result<Vec<_>, _>>()?;

        let mut dirty = [false; PAGES];
        let mut saved: [_; PAGES] = core::array::from_fn(|page| snapshot(&server, page));
        let (mut rounds, mut faults) = (0u64, 0u64);
        while (0..CLIENTS).any(|client| steps.value(ENDED + client) == 0) {
            if rounds >= ROUNDS && faults >= FAULTS {
                steps.set(ENOUGH, 1);
            }
            check!(rounds < ROUNDS_MOST, "no end after {rounds} rounds and {faults} faults");
            // A few messages, then write back one page; every 16th round it is evicted as well.
            for _ in 0..4 {
                match server.poll()? {
                    Some(Message::Fault(request)) => {
                        let page = request.offset as usize / PAGE;
                        dirty[page] |= request.access == Access::Write;
                        faults += 1;
                        server.provide(&request)?;
                    }
                    Some(Message::Munmap(_)) => {}
                    Some(other) => return Err(unexpected("a fault", other)),
                    None => sys::yield_now(),
                }
            }
            let page = rounds as usize % PAGES;
            server.socket().write_protect(COOKIE, (page * PAGE) as u64, PAGE as u64)?;
            let now = snapshot(&server, page);
            if !dirty[page] {
                check_eq!(now, saved[page], "page {page} in round {rounds} changed without a fault");
            }
            (saved[page], dirty[page]) = (now, false);
            if rounds % 16 == 0 {
                server.socket().zap(COOKIE, (page * PAGE) as u64, PAGE as u64, ZapWhat::Shared)?;
                check_eq!(snapshot(&server, page), saved[page], "page {page} in round {rounds} changed after ZAP");
            }
            rounds += 1;
        }
        for client in clients {
            client.join()?;
        }
        server.drain_grants()?;
        for page in 0..PAGES {
            for client in 0..CLIENTS {
                let last = last_value(steps.value(STORES + client), client, page);
                check_eq!(
                    server.memory().load_u64(page * PAGE + 8 + client * 8),
                    last,
                    "the last store to page {page}"
                );
            }
        }
        let counters = server.counters()?;
        let stores = steps.value(STORES) + steps.value(STORES + 1);
        note!("{stores} stores, {rounds} rounds, {faults} faults, {} shootdowns", counters.shootdowns);
        Ok(())
    }

    fn last_value(stores: u64, client: usize, page: usize) -> u64 {
        (0..stores).rev().find(|n| (*n as usize + client) % PAGES == page).map_or(0, |n| n + 1)
    }

    fn store(client: usize, steps: &Steps) -> Outcome {
        let file = File::open("file", Open::READ | Open::WRITE, 0)?;
        let mapping = Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, Sharing::Shared)?;
        let mut n = 0;
        while steps.value(ENOUGH) == 0 {
            let page = (n as usize + client) % PAGES;
            let word = page * PAGE + 8 + client * 8;
            mapping.store_u64(word, n + 1);
            let seen = mapping.load_u64(word);
            check_eq!(seen, n + 1, "a client's own store {n}");
            n += 1;
        }
        steps.set(STORES + client, n);
        steps.set(ENDED + client, 1);
        Ok(())
    }

    fn snapshot(server: &Server, page: usize) -> [u64; CLIENTS] {
        core::array::from_fn(|client| server.memory().load_u64(page * PAGE + 8 + client * 8))
    }
}
