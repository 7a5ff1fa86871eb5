//! From the boot loader to the first process.

use crate::arch::start_info::{Firmware, Range, StartInfo, kernel_end};
use crate::arch::{apic, clock, cpu, heap, idt, image, instructions, ioapic, paging, physmap, serial, smp};
use crate::context::Context;
use crate::file::{Description, File, FileTable, Position};
use crate::kernel::{KERNEL, Kernel};
use crate::log::line;
use crate::vspace::{Backing, Region, Rights, USER_END, Vspace};
use crate::{arch, sched};
use alloc::vec::Vec;
use kernel_logic::acpi;
use kernel_logic::buddy::{Frame, Frames, Record};
use kernel_logic::slots::Slots;
use kernel_logic::span::Span;
use syscall::data::{GlobalSchemes, KernelSchemeInfo};
use syscall::flag::UPPER_FDTBL_TAG;
use syscall::{KERNEL_METADATA_SIZE, PAGE_SIZE};

/// Where the first process's image lies in its vspace.
const IMAGE_BASE: usize = 0x1000;

/// Where in the image the entry's address is.
const ENTRY_OFFSET: usize = 0x1a;

/// The descriptor that may make schemes, in the upper table.
const SCHEME_CREATION: usize = 0x10;

/// The kernel's schemes, in the order of the metadata block.
const SCHEMES: [GlobalSchemes; 11] = [
    GlobalSchemes::Debug,
    GlobalSchemes::Event,
    GlobalSchemes::Memory,
    GlobalSchemes::Pipe,
    GlobalSchemes::Serio,
    GlobalSchemes::Irq,
    GlobalSchemes::Time,
    GlobalSchemes::Sys,
    GlobalSchemes::Proc,
    GlobalSchemes::Acpi,
    GlobalSchemes::Dtb,
];

/// The first CPU, from the boot code.
pub extern "C" fn kernel_main(start_info: u64) -> ! {
    cpu::add(0);
    idt::init();
    // SAFETY: this is the first CPU, and nothing has been initialised.
    unsafe { cpu::init_current(0) };
    serial::init();
    image::protect();
    let info = StartInfo::read(start_info).expect("the boot loader tells no memory map (PVH start info, version 1)");
    let image = info.image.expect("there is no boot image (QEMU: -initrd)");
    let memory_end = set_up_memory(&info, image);

    let rsdp = info.rsdp.or_else(|| acpi::search_rsdp(&Firmware)).expect("there are no ACPI tables");
    let madt = acpi::find_madt(&Firmware, rsdp).expect("there is no MADT");
    ioapic::silence_pics();
    apic::set_base(madt.local_apic);
    apic::init_current();
    cpu::all()[0].set_apic_id(apic::id());
    ioapic::init(&madt);
    clock::calibrate();
    KERNEL.lock().deadlines.set_wall_clock(clock::wall_clock_seconds());
    listen_to_console();

    let missing = smp::start_others(&madt, paging::kernel_root(), other_main);
    if missing == 0 {
        image::forget_low_memory();
    }
    let (tsc, _) = clock::frequencies();
    line(format_args!(
        "kernel: {} CPUs, {} MiB, {} MHz{}",
        cpu::all().len() - missing,
        memory_end >> 20,
        tsc / 1_000_000,
        if missing > 0 { " (some CPUs did not come up)" } else { "" }
    ));
    start_first_process(image);
    clock::start_ticks();
    clock::note_first_program();
    run()
}

/// The other CPUs.
extern "C" fn other_main(index: usize) -> ! {
    // SAFETY: the starting CPU has prepared this record for us.
    unsafe { cpu::init_current(index) };
    // It has left low memory for good, and shall not remember it when a program has something else there.
    instructions::flush_global();
    apic::init_current();
    clock::start_ticks();
    run()
}

fn run() -> ! {
    let cpu = cpu::Cpu::current();
    let frame = sched::leave(KERNEL.lock(), cpu);
    arch::entry::enter_user(frame)
}

/// Sets aside the kernel's heap and the frame records, and gives the rest to the allocator.
fn set_up_memory(info: &StartInfo, image: Range) -> u64 {
    const MIB: u64 = 1 << 20;
    let mut end = info.memory_end();
    // Without huge amounts the physmap of the boot code is enough; its tables for more come from the first range.
    let mut taken = [Range { start: 0, end: kernel_end().next_multiple_of(PAGE_SIZE as u64) }, round(image)];
    let take = |bytes: u64, taken: &mut [Range; 2]| {
        let start = info
            .memory
            .iter()
            .flatten()
            .filter_map(|range| gap_in(*range, taken, bytes))
            .next()
            .expect("there is not enough memory for the kernel's own tables");
        // What was set aside grows upwards from the kernel's end, or follows the image.
        let owner = taken.iter_mut().find(|range| range.end == start);
        match owner {
            Some(range) => range.end = start + bytes,
            None => panic!("the memory map has a gap at the kernel's end"),
        }
        start
    };
    let tables_start = take((end.div_ceil(1 << 30).saturating_sub(4)) * PAGE_SIZE as u64, &mut taken);
    let mut next_table = tables_start;
    paging::extend_physmap(end, || {
        let frame = Frame::containing(next_table);
        next_table += PAGE_SIZE as u64;
        physmap::zero(frame);
        Some(frame)
    });
    end = end.min(512 << 30);

    let heap_bytes = (end / 16).clamp(4 * MIB, 64 * MIB).next_multiple_of(PAGE_SIZE as u64);
    let heap = take(heap_bytes, &mut taken);
    // SAFETY: the range is RAM beside the kernel's image and the boot image, and now taken.
    unsafe { heap::init(heap, heap_bytes as usize) };

    let count = (end / PAGE_SIZE as u64) as usize;
    let bytes = ((count * size_of::<Record>()) as u64).next_multiple_of(PAGE_SIZE as u64);
    let records = take(bytes, &mut taken);
    // SAFETY: as above; the range holds `count` records.
    let records = unsafe { physmap::claim(records, count, Record::UNMANAGED) };

    let mut frames = Frames::new(records);
    for range in info.memory.iter().flatten() {
        for part in without(*range, &taken) {
            let first = part.start.max(MIB).next_multiple_of(PAGE_SIZE as u64);
            let last = part.end.min(end) & !(PAGE_SIZE as u64 - 1);
            if first < last {
                let pages = (last - first) / PAGE_SIZE as u64;
                frames.add_free(Frame::containing(first), pages as u32);
            }
        }
    }
    KERNEL.lock().frames = frames;
    end
}

fn round(range: Range) -> Range {
    let page = PAGE_SIZE as u64;
    Range { start: range.start & !(page - 1), end: range.end.next_multiple_of(page) }
}

/// Where `bytes` are free in `range`, directly after something that is taken.
fn gap_in(range: Range, taken: &[Range; 2], bytes: u64) -> Option<u64> {
    taken.iter().map(|range| range.end).find(|&start| {
        let wanted = Range { start, end: start + bytes };
        range.start <= wanted.start
            && wanted.end <= range.end
            && taken.iter().all(|other| other.end <= wanted.start || wanted.end <= other.start)
    })
}

/// The parts of `range` that are not taken.
fn without(range: Range, taken: &[Range; 2]) -> Vec<Range> {
    let mut parts = alloc::vec![range];
    for other in taken {
        let cut = |part: Range| {
            let low = Range { start: part.start, end: part.end.min(other.start) };
            let high = Range { start: part.start.max(other.end), end: part.end };
            [low, high].into_iter().filter(|part| part.start < part.end)
        };
        parts = parts.into_iter().flat_map(cut).collect();
    }
    parts
}

fn listen_to_console() {
    let gsi = ioapic::gsi_of_isa(serial::IRQ);
    ioapic::route(gsi, cpu::all()[0].apic_id());
    ioapic::unmask(gsi);
}

/// Redox's way: the boot image is copied to 0x1000, readable, writable and executable; its entry's address is
/// in it; a block that ends at 2^47 tells of the kernel's schemes.
fn start_first_process(image: Range) {
    let mut kernel = KERNEL.lock();
    let k = &mut *kernel;
    // SAFETY: the boot loader put the image there; its memory is not given out.
    let bytes = unsafe { physmap::bytes(image.start, (image.end - image.start) as usize) };
    let entry: [u8; 8] =
        bytes.get(ENTRY_OFFSET..ENTRY_OFFSET + 8).and_then(|bytes| bytes.try_into().ok()).expect("the image is short");
    let entry = u64::from_le_bytes(entry) as usize;

    let mut vspace = Vspace::new(&mut k.frames).expect("there is memory at boot");
    let all = Rights::READ | Rights::WRITE | Rights::EXECUTE;
    fill(k, &mut vspace, IMAGE_BASE, bytes, all, all);
    let block = metadata();
    fill(k, &mut vspace, USER_END - KERNEL_METADATA_SIZE, &block, Rights::READ, Rights::READ);

    let mut slots = Slots::default();
    let roots = SCHEMES.iter().map(|&scheme| (scheme as usize, File::Root(scheme)));
    for (number, file) in roots.chain([(SCHEME_CREATION, File::SchemeCreation)]) {
        let description = Description { file, flags: syscall::flag::O_RDWR, position: Position::Unkept, refs: 1 };
        let description = k.descriptions.insert(description).expect("there are few");
        slots.insert(UPPER_FDTBL_TAG | number, description).expect("the numbers differ");
    }

    let mut context = Context::new();
    context.vspace = k.vspaces.insert(vspace);
    context.files = k.files.insert(FileTable { slots, users: 1, refs: 1 });
    assert!(entry < USER_END, "the image has no entry (is it in Redox's format?)");
    context.registers.get_mut().set_start(entry, 0);
    let id = k.contexts.insert(context).expect("it is the first");
    k.make_ready(id);
}

fn fill(k: &mut Kernel, vspace: &mut Vspace, base: usize, bytes: &[u8], rights: Rights, maximum: Rights) {
    let len = bytes.len().next_multiple_of(PAGE_SIZE);
    let region = Region { rights, maximum, backing: Backing::Private };
    vspace.regions.insert(Span { base, len }, region);
    for (n, page) in bytes.chunks(PAGE_SIZE).enumerate() {
        let frame = k.frames.alloc().expect("the boot image is larger than memory");
        if page.len() < PAGE_SIZE {
            physmap::zero(frame);
        }
        physmap::write(frame, 0, page);
        vspace.map_frame(&mut k.frames, base + n * PAGE_SIZE, frame, rights).expect("there is memory at boot");
    }
}

/// The count of schemes, a `KernelSchemeInfo` for each, the descriptor that may make schemes.
fn metadata() -> Vec<u8> {
    let mut block = Vec::with_capacity(KERNEL_METADATA_SIZE);
    block.extend(SCHEMES.len().to_ne_bytes());
    for scheme in SCHEMES {
        let mut info = [0; size_of::<KernelSchemeInfo>()];
        info[core::mem::offset_of!(KernelSchemeInfo, scheme_id)] = scheme as u8;
        let fd = core::mem::offset_of!(KernelSchemeInfo, fd);
        info[fd..fd + 8].copy_from_slice(&(UPPER_FDTBL_TAG | scheme as usize).to_ne_bytes());
        block.extend(info);
    }
    block.extend((UPPER_FDTBL_TAG | SCHEME_CREATION).to_ne_bytes());
    block.resize(KERNEL_METADATA_SIZE, 0);
    block
}
