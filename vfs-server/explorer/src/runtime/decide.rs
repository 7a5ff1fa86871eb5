//! Who goes on: the candidates, and what the strategy makes of them.

use super::observer::{Role, Switch};
use super::run::{MAIN, Next, Phase, RunEnd, Runtime};
use super::trace::{Decision, mix};
use crate::scenario::End;
use crate::strategy::SwitchPoint;
use platform::thread::TaskId;

impl Runtime {
    /// A step of `task` has ended.
    #[inline]
    pub(super) fn end_step(&self, task: usize) {
        self.steps.set(self.steps.get() + 1);
        if self.steps_wanted.get() && !self.undisturbed.get() {
            let mut footprint = self.footprint.borrow_mut();
            self.strategy(|strategy| strategy.step(task as u8, &footprint));
            footprint.clear();
        }
        if self.giving_way.get() != 0 {
            self.let_pass(task);
        }
        self.observe(|observer| observer.step_ended(TaskId(task as u16)));
    }

    /// `task` has run: those who gave way to it need not wait for it any more.
    fn let_pass(&self, task: usize) {
        let mut left = self.giving_way.get();
        while left != 0 {
            let other = left.trailing_zeros() as usize;
            left &= left - 1;
            let waits_for = &self.gives_way_to[other];
            waits_for.set(waits_for.get() & !(1 << task));
            if waits_for.get() == 0 {
                self.giving_way.set(self.giving_way.get() & !(1 << other));
            }
        }
    }

    /// Tasks that could go on now.
    #[inline]
    pub(super) fn candidates(&self) -> u64 {
        let ready = self.ready.get();
        let mut candidates = ready;
        let mut left = self.giving_way.get() & ready;
        while left != 0 {
            let task = left.trailing_zeros() as usize;
            left &= left - 1;
            if self.gives_way_to[task].get() & ready != 0 {
                candidates &= !(1 << task);
            }
        }
        if candidates == 0 { ready } else { candidates }
    }

    /// Who goes on; `current`: the task that could, without being switched to. Outside.
    #[inline]
    pub(super) fn decide(&self, current: Option<usize>) -> Next {
        let mut candidates = self.candidates();
        while candidates == 0 {
            if self.phase.get() == Phase::WarmUp {
                return Next::end(RunEnd::Check(End::Quiet));
            }
            if !self.fire_timer() {
                return Next::end(RunEnd::Failed(self.deadlock(None)));
            }
            candidates = self.candidates();
        }
        let current = current.filter(|&task| candidates >> task & 1 == 1);
        let current_task = current.map(|task| task as u8);
        let mut at = SwitchPoint { ready: candidates, current: current_task, last: self.last.get() as u8, past: 0 };
        if self.undisturbed.get() {
            let task = at.default_task();
            return self.picked(task, current, None);
        }
        let alone = candidates.is_power_of_two();
        if alone && !self.steps_wanted.get() {
            return self.picked(candidates.trailing_zeros() as u8, current, None);
        }
        if self.past_wanted.get() {
            at.past = self.past();
        }
        let Some(task) = self.strategy(|strategy| strategy.pick(&at)).flatten() else {
            return Next::end(RunEnd::Pruned);
        };
        assert!(candidates >> task & 1 == 1, "the strategy picked task {task} of {candidates:#b}");
        if alone {
            return self.picked(task, current, None);
        }
        let mut decisions = self.decisions.borrow_mut();
        decisions.push(Decision::Switch { task, current: at.current, ready: candidates });
        self.picked(task, current, Some(decisions.len() - 1))
    }

    /// Names the state that the run is in: what happened, in which order as far as that can matter, what
    /// time it is, and who lets whom go first.
    fn past(&self) -> u64 {
        let order = self.order.borrow().finish(self.tasks.borrow().len());
        let mut past = mix(order, self.now_ns.get());
        let mut left = self.giving_way.get();
        while left != 0 {
            let task = left.trailing_zeros() as usize;
            left &= left - 1;
            past = mix(mix(past, task as u64), self.gives_way_to[task].get());
        }
        past
    }

    #[inline]
    fn picked(&self, task: u8, current: Option<usize>, number: Option<usize>) -> Next {
        let task = usize::from(task);
        if matches!(self.tasks.borrow()[task].role, Role::Client | Role::Settle) {
            self.timers_in_a_row.set(0);
        }
        self.observe(|observer| {
            let switch = match self.last.get() {
                MAIN => Switch::First,
                last if last == task => Switch::Stays,
                _ if current.is_some() => Switch::Preempts,
                _ => Switch::Takes,
            };
            observer.switch(TaskId(task as u16), switch, number);
        });
        Next::Task(task)
    }
}
