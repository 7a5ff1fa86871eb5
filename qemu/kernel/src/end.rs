//! How contexts end: of themselves, by a fault, or because somebody ends them.
//!
//! | the context | is ended by |
//! |---|---|
//! | runs here | undoing at once |
//! | runs on another CPU | a note ([`Context::doomed`]) and an interrupt: that CPU does it on its way out |
//! | is ready, or waits | leaving its queue; a request that a server has is detached |
//!
//! [`Context::doomed`]: crate::context::Context::doomed

use crate::arch::cpu::Cpu;
use crate::context::{Context, State, Wait};
use crate::kernel::Kernel;
use kernel_logic::arena::Id;
use pager_abi::exit::ExitStatus;
use pager_abi::fault::Access;

impl Kernel {
    /// Ends a context, wherever it is. Ending a dead one is no error.
    pub fn end(&mut self, cpu: &Cpu, id: Id<Context>, status: ExitStatus) {
        match self.contexts[id].state {
            State::Dead(_) => return,
            State::Running(index) if index != cpu.index() => {
                self.contexts[id].doomed = Some(status);
                self.interrupt_cpu(index);
                return;
            }
            State::Running(_) => self.scheduler.forget_current(cpu),
            State::New => {}
            State::Ready => self.unready(id),
            State::Waiting(_) => self.stop_waiting(cpu, id),
        }
        crate::trace::end(id, status);
        let was_new = matches!(self.contexts[id].state, State::New);
        let context = &mut self.contexts[id];
        context.state = State::Dead(status);
        context.doomed = None;
        context.incoming = None;
        let (files, vspace) = (context.files.take(), context.vspace.take());
        if let Some(files) = files {
            self.leave_table(cpu, files);
        }
        if let Some(vspace) = vspace {
            self.release_vspace(cpu, vspace);
        }
        self.tell_waiters(cpu, id, status);
        if !was_new {
            self.release_context(cpu, id);
        }
    }

    /// The context that was ended from another CPU reaches the kernel's exit.
    #[cold]
    pub fn end_doomed(&mut self, cpu: &Cpu, id: Id<Context>) {
        if let Some(status) = self.contexts[id].doomed.take() {
            self.end(cpu, id, status);
        }
    }

    /// Ends a context that touched memory which cannot be provided.
    pub fn end_by_fault(&mut self, cpu: &Cpu, id: Id<Context>, errno: i32, address: usize, access: Access) {
        self.end(cpu, id, ExitStatus::Fault { errno, address: address as u64, access: access as u64 });
    }

    /// One holder less of a context: its descriptors, and its life.
    pub fn release_context(&mut self, cpu: &Cpu, id: Id<Context>) {
        let context = &mut self.contexts[id];
        context.refs -= 1;
        if context.refs > 0 {
            return;
        }
        if let State::New = context.state {
            // Never started, and nobody can start it any more.
            self.end(cpu, id, ExitStatus::Killed);
        }
        self.contexts.remove(id);
    }

    /// Undoes what a waiting context waits for.
    fn stop_waiting(&mut self, cpu: &Cpu, id: Id<Context>) {
        self.cancel_deadline(id);
        let state = core::mem::replace(&mut self.contexts[id].state, State::Ready);
        let State::Waiting(wait) = state else { unreachable!("the caller saw it wait") };
        match wait {
            Wait::Receive { socket, mask, .. } => {
                self.sockets[socket].receivers.remove(&mut self.contexts, id, mask);
                self.release_socket(socket);
            }
            Wait::Answer => {
                if let Some(request) = self.contexts[id].request.take() {
                    self.cancel_request(cpu, id, request);
                }
            }
            Wait::Page { tag, .. } => {
                self.detach(cpu, id, tag);
                if let Some(retry) = self.contexts[id].retry.take() {
                    self.cancel_request(cpu, id, retry.request);
                }
            }
            Wait::Futex(key) => self.futexes.remove(&mut self.contexts, key, id),
            Wait::Exit { description, .. } => self.release_description(cpu, description),
            Wait::Time | Wait::Interrupt { .. } | Wait::Console => {}
        }
    }

    fn tell_waiters(&mut self, cpu: &Cpu, dead: Id<Context>, status: ExitStatus) {
        let mut from = 0;
        while let Some(id) = self.contexts.next_from(from) {
            from = id.raw() + 1;
            if let State::Waiting(Wait::Exit { context, buffer, description }) = self.contexts[id].state
                && context == dead
            {
                let result = self.write_exit_status(id, buffer, status);
                self.contexts[id].set_result(result);
                self.make_ready(id);
                self.release_description(cpu, description);
            }
        }
    }
}
