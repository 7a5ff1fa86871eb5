//! The host's side of a run: what QEMU is given, what comes back, and whether it is true.
//!
//! Owns: the boot archive, disk images, QEMU's command lines, the serial protocol, the Linux VM
//! that we compare with. Does not own: what is run when and how it is shown; that is `xtask`.
//!
//! | module | what |
//! |---|---|
//! | [`archive`] | cpio "newc" writer: the boot archive's files, Linux's initramfs |
//! | [`boot_image`] | first process's raw image + archive = what QEMU loads as initrd |
//! | [`boot_conf`] | `etc/boot.conf`: what the guest is to do |
//! | [`sample_tree`] | the files that a fresh disk is populated with |
//! | [`own_image`] | disk images of file systems that bring their own mkfs and check |
//! | [`ext4_image`] | mke2fs, e2fsck and debugfs on disk images |
//! | [`fixtures`] | disks of every shape, unclean and corrupted ones |
//! | [`manifest`] | checksum lists of files, checked through debugfs |
//! | [`qemu`] | QEMU command lines of our machines |
//! | [`guest`] | a running QEMU: lines out, keys in, bounded waits |
//! | [`protocol`] | the `##fl` lines of the guest's serial port |
//! | [`test_run`] | follows a guest through its tests to a verdict for each |
//! | [`linux_vm`] | Debian's Linux in QEMU, as the reference |
//! | [`tool`] | external programs: where they are, bounded runs |

#![forbid(unsafe_code)]

pub mod archive;
pub mod boot_conf;
pub mod boot_image;
pub mod ext4_image;
pub mod fixtures;
pub mod guest;
pub mod linux_vm;

pub mod manifest;
pub mod own_image;
pub mod protocol;
pub mod qemu;
pub mod sample_tree;
pub mod test_run;
pub mod tool;
