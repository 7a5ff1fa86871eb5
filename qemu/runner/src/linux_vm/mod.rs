//! Debian's Linux in QEMU: the reference that reads what we wrote and runs what we run.
//!
//! Owns: a kernel and a busybox from Debian's packages, an initramfs, a shell script as the job.
//! Does not own: what the jobs are. Nothing of it is linked with or copied into our code: the
//! machine is a judge, its output is evidence.
//!
//! | module | what |
//! |---|---|
//! | [`package`] | the kernel, its modules and busybox, from Debian, kept in the user's cache |
//! | [`modules`] | which kernel modules a machine needs, in load order |
//! | [`job`] | one run: disks, files, a script; lines out, a status |

pub mod job;
pub mod modules;
pub mod package;
