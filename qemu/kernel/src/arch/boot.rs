//! From the boot loader's entry (PVH: 32 bits, no paging) to Rust in the higher half, and the same
//! for the other CPUs from real mode.
//!
//! PVH: <https://xenbits.xen.org/docs/unstable/misc/pvh.html>. The tables made here map the first
//! 4 GiB one to one, at [`super::physmap::BASE`], and the first 2 GiB at the kernel's base.

use core::arch::global_asm;

/// Physical address of the code that other CPUs start in; below 1 MiB, where nothing else is.
pub const TRAMPOLINE: u64 = 0x8000;

// How the CPU is set: CR4 = PAE | PGE, EFER = SCE | LME | NXE, CR0 = PG | WP | PE (and neither
// emulation nor lazy floating point: programs are soft-float).
global_asm!(
    r#"
.section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18                      # name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

.section .boot.text, "ax"
.code32
.globl pvh_entry
pvh_entry:
    cli
    cld
    movl %ebx, %ebp                     # the start info
    # Four page directories of 2 MiB pages: the first 4 GiB.
    movl $(boot_pds - {base}), %edi
    movl $0x183, %eax                   # present, writable, huge, global
    xorl %edx, %edx
    movl $2048, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $(boot_pdpt_low - {base}), %edi
    movl $(boot_pds - {base} + 3), %eax
    movl $4, %ecx
2:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 2b
    movl $(boot_pds - {base} + 3), (boot_pdpt_high - {base} + 510 * 8)
    movl $(boot_pds - {base} + 0x1003), (boot_pdpt_high - {base} + 511 * 8)
    movl $(boot_pdpt_low - {base} + 3), (boot_pml4 - {base})
    movl $(boot_pdpt_low - {base} + 3), (boot_pml4 - {base} + 256 * 8)
    movl $0x80000000, (boot_pml4 - {base} + 256 * 8 + 4)     # the physmap is no place for code
    movl $(boot_pdpt_high - {base} + 3), (boot_pml4 - {base} + 511 * 8)
    movl $(boot_pml4 - {base}), %eax
    movl $(boot_gdt_pointer), %ecx
    movl $boot_long, %edx
    jmp enter_long_mode

# eax: page table, ecx: GDT pointer. Goes on at boot_long.
enter_long_mode:
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0xa0, %eax
    movl %eax, %cr4
    lgdt (%ecx)
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl %cr0, %eax
    andl $0x9ffffff3, %eax              # caches on, no emulation
    orl $0x80010001, %eax
    movl %eax, %cr0
    ljmp $8, $boot_long

.code64
boot_long:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movabsq $boot_stack_top, %rsp
    movl %ebp, %edi
    xorl %ebp, %ebp
    movabsq ${main}, %rax
    call *%rax
    ud2

.balign 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
boot_gdt_pointer:
    .word boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt
    .long 0

# What other CPUs run: copied to {trampoline} with its four parameters filled in.
.section .rodata
.globl trampoline_start, trampoline_end, trampoline_parameters
.code16
trampoline_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl {trampoline} + trampoline_gdt_pointer - trampoline_start
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, ${trampoline} + trampoline_32 - trampoline_start
.code32
trampoline_32:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl ({trampoline} + trampoline_parameters - trampoline_start), %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0xa0, %eax
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl %cr0, %eax
    andl $0x9ffffff3, %eax
    orl $0x80010001, %eax
    movl %eax, %cr0
    ljmp $8, ${trampoline} + trampoline_64 - trampoline_start
.code64
trampoline_64:
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq trampoline_parameters + 8(%rip), %rsp
    movq trampoline_parameters + 16(%rip), %rdi
    movq trampoline_parameters + 24(%rip), %rax
    xorl %ebp, %ebp
    call *%rax
    ud2
.balign 8
trampoline_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
trampoline_gdt_pointer:
    .word trampoline_gdt_pointer - trampoline_gdt - 1
    .long {trampoline} + trampoline_gdt - trampoline_start
.balign 8
trampoline_parameters:                  # page table, stack, argument, entry
    .quad 0, 0, 0, 0
trampoline_end:

.section .bss
.balign 4096
.globl boot_pml4, boot_pdpt_low, boot_pdpt_high
boot_pml4: .skip 4096
boot_pdpt_low: .skip 4096
boot_pdpt_high: .skip 4096
boot_pds: .skip 4 * 4096
.skip 32768
boot_stack_top:
.text
"#,
    base = const super::physmap::KERNEL_BASE,
    trampoline = const TRAMPOLINE,
    main = sym crate::boot::kernel_main,
    options(att_syntax)
);

// SAFETY: the assembly above defines them, with these sizes; only their addresses are taken.
unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_parameters: [u64; 4];
}

/// What a CPU needs to get from real mode to Rust.
pub struct Start {
    /// Physical address of a page table below 4 GiB that maps the trampoline one to one.
    pub table: u64,
    /// Top of its stack.
    pub stack: usize,
    /// Argument of the entry.
    pub argument: usize,
    /// Where it goes.
    pub entry: extern "C" fn(usize) -> !,
}

/// Puts the trampoline where the next started CPU finds it.
///
/// # Safety
/// No CPU is running in the trampoline, and nothing else uses that page.
pub unsafe fn place_trampoline(start: Start) {
    let (code, len, parameters) = {
        let (first, end) = (&raw const trampoline_start, &raw const trampoline_end);
        (first, end as usize - first as usize, (&raw const trampoline_parameters) as usize - first as usize)
    };
    let target = super::physmap::pointer(TRAMPOLINE);
    // SAFETY: the page is ours by the caller's promise and mapped by the physmap; the parameters lie inside.
    unsafe {
        core::ptr::copy_nonoverlapping(code, target, len);
        let words = [start.table, start.stack as u64, start.argument as u64, start.entry as usize as u64];
        target.add(parameters).cast::<[u64; 4]>().write_volatile(words);
    }
}
