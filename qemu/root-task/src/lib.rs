//! What the first process reads: the boot archive and its configuration. Portable, without unsafe.
//!
//! | module | what |
//! |---|---|
//! | [`boot_archive`] | the cpio archive behind the first process's image |
//! | [`boot_conf`] | `etc/boot.conf`: what to do |
//!
//! The program itself is `main.rs`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod boot_archive;
pub mod boot_conf;
