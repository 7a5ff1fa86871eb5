//! Who runs: one priority, one queue of ready contexts for all CPUs.
//!
//! A message goes past the queue: the context that it makes ready is *handed* this CPU
//! ([`Kernel::hand_over`]) and runs next if the one that sent it waits now. Otherwise it joins the
//! queue, and an idle CPU is woken for it at the next entry into the kernel: in a call and its
//! answer the sender most often waits in its very next system call.

use crate::arch::cpu::{self, Cpu, MAX_CPUS};
use crate::arch::entry::Frame;
use crate::arch::idt::vector;
use crate::arch::lock::Guard;
use crate::arch::{apic, clock, instructions, paging, user_copy};
use crate::context::{Context, State};
use crate::kernel::{KERNEL, Kernel};
use crate::queue::Queue;
use crate::vspace::Vspace;
use kernel_logic::arena::Id;
use syscall::error::{EFAULT, Error};

/// Timer ticks that a context may run while others are ready.
const QUANTUM: u32 = 1;

/// The ready contexts, and what each CPU does.
pub struct Scheduler {
    ready: Queue,
    /// A bit for each CPU that sleeps and has not been woken.
    idle: u64,
    cpus: [OnCpu; MAX_CPUS],
}

#[derive(Clone, Copy)]
struct OnCpu {
    current: Option<Id<Context>>,
    handed: Option<Id<Context>>,
    loaded: Option<Id<Vspace>>,
    ticks: u32,
    preempt: bool,
}

impl Scheduler {
    /// Nobody is ready.
    pub const fn new() -> Self {
        let cpu = OnCpu { current: None, handed: None, loaded: None, ticks: 0, preempt: false };
        Self { ready: Queue::new(), idle: 0, cpus: [cpu; MAX_CPUS] }
    }

    /// The context that this CPU runs.
    ///
    /// # Panics
    /// If it is idle.
    #[inline]
    pub fn current(&self, cpu: &Cpu) -> Id<Context> {
        self.cpus[cpu.index()].current.expect("an entry from user mode has a context")
    }

    /// The context that this CPU runs, if it is not idle.
    pub fn running(&self, cpu: &Cpu) -> Option<Id<Context>> {
        self.cpus[cpu.index()].current
    }

    /// The context that this CPU runs has ended.
    pub fn forget_current(&mut self, cpu: &Cpu) {
        self.cpus[cpu.index()].current = None;
    }
}

impl Kernel {
    /// A context that waited, or is new, can run: in the queue, and an idle CPU is woken for it.
    pub fn make_ready(&mut self, id: Id<Context>) {
        self.contexts[id].state = State::Ready;
        self.scheduler.ready.push(&mut self.contexts, id);
        self.wake_idle_cpu();
    }

    /// As [`Kernel::make_ready`], for the answer or the receiver of a message: it runs next on this
    /// CPU if the current context waits now.
    #[inline(always)]
    pub fn hand_over(&mut self, cpu: &Cpu, id: Id<Context>) {
        let own = &mut self.scheduler.cpus[cpu.index()];
        if own.handed.is_some() {
            return self.make_ready(id);
        }
        own.handed = Some(id);
        self.contexts[id].state = State::Ready;
    }

    /// A ready context leaves the queue (it is being ended).
    pub fn unready(&mut self, id: Id<Context>) {
        for cpu in &mut self.scheduler.cpus {
            if cpu.handed == Some(id) {
                cpu.handed = None;
                return;
            }
        }
        self.scheduler.ready.remove(&mut self.contexts, id);
    }

    /// The current context lets others run first.
    pub fn yield_now(&mut self, cpu: &Cpu) {
        self.scheduler.cpus[cpu.index()].preempt = true;
    }

    /// A period of this CPU's timer is over.
    pub fn on_tick(&mut self, cpu: &Cpu) {
        let own = &mut self.scheduler.cpus[cpu.index()];
        own.ticks += 1;
        if own.ticks >= QUANTUM {
            own.preempt = true;
        }
        clock::note_tick();
        self.expire_deadlines();
        self.blame(cpu);
    }

    /// Interrupts CPU `index`, so that it enters the kernel.
    pub fn interrupt_cpu(&self, index: usize) {
        apic::send(cpu::all()[index].apic_id(), vector::WAKE);
    }

    fn wake_idle_cpu(&mut self) {
        let idle = self.scheduler.idle;
        if idle != 0 {
            let index = idle.trailing_zeros() as usize;
            self.scheduler.idle &= !(1 << index);
            self.interrupt_cpu(index);
        }
    }

    /// The vspace goes: if this CPU still has it loaded, it loads the kernel's own table.
    pub fn unload(&mut self, cpu: &Cpu, id: Id<Vspace>) {
        let own = &mut self.scheduler.cpus[cpu.index()];
        if own.loaded == Some(id) {
            own.loaded = None;
            self.vspaces[id].cpus &= !(1 << cpu.index());
            paging::load_kernel();
        }
    }

    /// The vspace that this CPU has loaded.
    #[inline]
    pub fn loaded(&self, cpu: &Cpu) -> Option<Id<Vspace>> {
        self.scheduler.cpus[cpu.index()].loaded
    }

    /// Makes `id` the running context of this CPU.
    #[inline(always)]
    fn switch_to(&mut self, cpu: &Cpu, id: Id<Context>) -> *mut Frame {
        let own = &mut self.scheduler.cpus[cpu.index()];
        own.current = Some(id);
        own.ticks = 0;
        own.preempt = false;
        let context = &mut self.contexts[id];
        context.state = State::Running(cpu.index());
        if context.vspace != own.loaded {
            let bit = 1 << cpu.index();
            if let Some(old) = own.loaded {
                self.vspaces[old].cpus &= !bit;
            }
            own.loaded = context.vspace;
            match context.vspace {
                Some(new) => {
                    let new = &mut self.vspaces[new];
                    new.cpus |= bit;
                    new.table.load();
                }
                None => paging::load_kernel(),
            }
        }
        cpu.set_fs_base(context.fs_base);
        let frame = context.registers.as_ptr();
        cpu.set_frame(frame);
        if let Some(incoming) = &context.incoming {
            let written = user_copy::write(incoming.buffer, &incoming.sqe);
            context.incoming = None;
            if written.is_err() {
                context.set_result(Err(Error::new(EFAULT)));
            }
        }
        frame
    }
}

/// Leaves the kernel: with the current context if it still runs, else with another one.
#[inline]
pub fn leave(mut kernel: Guard<'static, Kernel>, cpu: &Cpu) -> *mut Frame {
    let k = &mut *kernel;
    let index = cpu.index();
    if let Some(id) = k.scheduler.cpus[index].current {
        let context = &k.contexts[id];
        if context.doomed.is_some() {
            k.end_doomed(cpu, id);
        } else if let State::Running(_) = context.state {
            let own = &mut k.scheduler.cpus[index];
            if !own.preempt {
                let handed = own.handed.take();
                let frame = context.registers.as_ptr();
                if let Some(handed) = handed {
                    // Whoever was made ready waits for the next entry, without waking a CPU yet.
                    k.scheduler.ready.push(&mut k.contexts, handed);
                } else if k.scheduler.idle != 0 && !k.scheduler.ready.is_empty() {
                    k.wake_idle_cpu();
                }
                return frame;
            }
            own.preempt = false;
            own.ticks = 0;
            if k.scheduler.ready.is_empty() && own.handed.is_none() {
                return context.registers.as_ptr();
            }
            k.contexts[id].state = State::Ready;
            k.scheduler.ready.push(&mut k.contexts, id);
        }
    }
    if let Some(id) = k.scheduler.cpus[index].handed.take() {
        return k.switch_to(cpu, id);
    }
    if let Some(id) = k.scheduler.ready.pop(&mut k.contexts) {
        return k.switch_to(cpu, id);
    }
    idle(kernel, cpu)
}

#[cold]
fn idle(mut kernel: Guard<'static, Kernel>, cpu: &Cpu) -> *mut Frame {
    let index = cpu.index();
    kernel.scheduler.cpus[index].current = None;
    if let Some(vspace) = kernel.loaded(cpu) {
        kernel.unload(cpu, vspace);
    }
    loop {
        kernel.scheduler.idle |= 1 << index;
        drop(kernel);
        instructions::wait_for_interrupt();
        kernel = KERNEL.lock();
        let next = kernel.scheduler.cpus[index].handed.take();
        let k = &mut *kernel;
        if let Some(id) = next.or_else(|| k.scheduler.ready.pop(&mut k.contexts)) {
            k.scheduler.idle &= !(1 << index);
            return k.switch_to(cpu, id);
        }
    }
}
