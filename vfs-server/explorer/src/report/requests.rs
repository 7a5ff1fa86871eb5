//! Columns that follow a request: what a worker does for a client is told in the client's column.
//!
//! This is the picture that a kernel developer knows, where a system call and the code that serves
//! it are one column. Background tasks, and workers between requests, keep columns of their own.

use super::told::{Event, LaneId, Switch, Target, ToldRun, What};

/// The same run with every served step in the column of whom it serves.
pub fn follow(run: &ToldRun) -> ToldRun {
    let mut followed = ToldRun { events: Vec::with_capacity(run.events.len()), ..run.clone() };
    let mut serves: Vec<Option<LaneId>> = vec![None; run.lanes.len()];
    let mut servants: Vec<Vec<&str>> = vec![Vec::new(); run.lanes.len()];
    let mut last = None;
    for (index, event) in run.events.iter().enumerate() {
        let served = serves[event.lane.0];
        let lane = served.unwrap_or(event.lane);
        let what = match &event.what {
            What::Serves(client) => {
                serves[event.lane.0] = *client;
                if let Some(client) = client {
                    let names = &mut servants[client.0];
                    let name = run.lanes[event.lane.0].name.as_str();
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                continue;
            }
            // The client has said what it does.
            What::Begins(_) | What::Ends(_) if served.is_some() => continue,
            What::Waits { target: Target::Event(_), .. } if served.is_none() && is_taken_up(run, index) => continue,
            What::Runs(Switch::Preempts) if last == Some(lane) => What::Runs(Switch::Stays),
            What::Waits { target, holder } => {
                let holder = holder.map(|holder| serves[holder.0].unwrap_or(holder));
                What::Waits { target: target.clone(), holder }
            }
            what => what.clone(),
        };
        last = Some(lane);
        followed.events.push(Event { step: event.step, lane, what });
    }
    for (lane, names) in followed.lanes.iter_mut().zip(servants).filter(|(_, names)| !names.is_empty()) {
        lane.role = format!("served by {}", names.join(", "));
    }
    if let Some(broken) = &mut followed.broken {
        broken.lane = broken.lane.map(|lane| serves[lane.0].unwrap_or(lane));
    }
    followed
}

/// Whether what is told at `index` is a client's wait that ends with a worker that serves it.
fn is_taken_up(run: &ToldRun, index: usize) -> bool {
    let client = run.events[index].lane;
    let later = run.events[index + 1..].iter().take_while(|event| event.lane != client);
    let mut later = later.filter(|event| event.what == What::Serves(Some(client)));
    later.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Names, Recorder};
    use super::super::told::Title;
    use super::*;

    fn run(is_served: bool) -> ToldRun {
        let mut run = Recorder::new(Title::default(), Names::default());
        let client = run.add_lane("client 1", "");
        let worker = run.add_lane("worker 1", "answers requests");
        run.decide(1, client, Switch::Takes);
        run.begin(client, "write(/a, [0,6))");
        run.waits_for_event(client, "an answer", None);
        if is_served {
            run.decide(2, worker, Switch::Preempts);
            run.serves(worker, Some(client));
            run.begin(worker, "write of /a");
            run.tell(worker, "i_size: 0 -> 6");
            run.end(worker, "");
            run.serves(worker, None);
        }
        run.end(client, "6");
        follow(&run.finish(None))
    }

    #[test]
    fn a_served_step_is_in_the_clients_column() {
        let run = run(true);
        let told: Vec<_> = run.events.iter().filter(|event| !matches!(event.what, What::Runs(_))).collect();
        assert!(told.iter().all(|event| event.lane == LaneId(0)));
        let expected =
            [&What::Begins("write(/a, [0,6))".into()), &What::Tells("i_size: 0 -> 6".into()), &What::Ends("6".into())];
        assert_eq!(told.iter().map(|event| &event.what).collect::<Vec<_>>(), expected);
        assert_eq!(run.lanes[0].role, "served by worker 1");
        assert_eq!(run.preemptions, 1, "the schedule's own count stays");
    }

    #[test]
    fn a_wait_that_nobody_ends_is_told() {
        let run = run(false);
        assert!(run.events.iter().any(|event| matches!(event.what, What::Waits { .. })));
    }
}
