//! The CALL verbs of `pager-abi`: on a file, and on the root directory.

use super::{Call, Reply};
use crate::error::{Error, Result};
use crate::file::sync::What;
use crate::server::Server;
use alloc::string::String;
use core::fmt::Write;
use pager_abi::file_verb::FileVerb;
use pager_abi::server_verb::ServerVerb;

/// Whether a Call asks for the unmount, which must not count itself among the requests that the
/// unmount waits for.
pub(super) fn is_unmount(args: [u64; 6]) -> bool {
    ServerVerb::from_raw(args[3]) == Some(ServerVerb::Unmount)
}

impl Server {
    /// Call: args = [id, payload, length, verb, first argument, second argument].
    pub(super) fn verb(&self, call: &Call) -> Result<Reply> {
        let [id, _, _, verb, first, second] = call.args;
        if let Some(verb) = FileVerb::from_raw(verb) {
            return self.file_verb(id, verb, first, second);
        }
        let verb = ServerVerb::from_raw(verb).ok_or(Error::NoSuchCall)?;
        self.check_root(id)?;
        match verb {
            ServerVerb::Waits => {
                let text = platform::waits::report() + &platform::client::kernel_waits();
                self.answer_text(call, &text)
            }
            ServerVerb::Counters => self.answer_text(call, &self.counters_text()),
            ServerVerb::MountOptions => self.answer_text(call, &(self.fs.options() + &self.config.text())),
            ServerVerb::DropCaches => Ok(Reply::Count(self.drop_caches() as u64)),
            ServerVerb::Unmount => self.request_unmount(id),
        }
    }

    /// Unmounts, if `id` is the root directory. The answer leaves before the host is told.
    pub(super) fn request_unmount(&self, id: u64) -> Result<Reply> {
        self.check_root(id)?;
        self.take_down().map(|()| Reply::Count(0))
    }

    fn check_root(&self, id: u64) -> Result<()> {
        let is_root = self.files.get(id)?.file()?.inode.ino == self.root.ino;
        if is_root { Ok(()) } else { Err(Error::Invalid("a verb of the root directory")) }
    }

    fn file_verb(&self, id: u64, verb: FileVerb, first: u64, second: u64) -> Result<Reply> {
        let handle = self.files.get(id)?;
        let file = handle.file()?;
        match verb {
            FileVerb::Msync => self.msync(file, first, second)?,
            FileVerb::Fdatasync => self.fsync(file, What::Data)?,
            FileVerb::Syncfs => self.syncfs(file)?,
            FileVerb::SeekHole => return self.seek_hole(file, first).map(Reply::Count),
            FileVerb::SeekData => return self.seek_data(file, first).map(Reply::Count),
        }
        Ok(Reply::Count(0))
    }

    fn answer_text(&self, call: &Call, text: &str) -> Result<Reply> {
        let bytes = &text.as_bytes()[..text.len().min(call.args[2] as usize)];
        call.copy_out(bytes)?;
        Ok(Reply::Count(bytes.len() as u64))
    }

    fn counters_text(&self) -> String {
        let mut text = self.counters.text();
        let gauges = [
            ("pages", self.page_cache.used()),
            ("pages_limit", self.page_cache.limit()),
            ("slot_bytes", self.page_cache.slot_bytes()),
            ("dirty_bytes", self.page_cache.dirty_bytes()),
            ("inodes", self.inodes.len()),
            ("open_files", self.files.len()),
            ("mapped_files", self.mappings.len()),
        ];
        for (name, value) in gauges {
            let _ = writeln!(text, "{name} {value}");
        }
        if let Some(bytes) = platform::client::heap_in_use() {
            let _ = writeln!(text, "heap_bytes {bytes}");
        }
        if let Some(kernel) = platform::client::kernel_counters() {
            let _ = writeln!(text, "kernel_read_faults {}", kernel.read_faults);
            let _ = writeln!(text, "kernel_write_faults {}", kernel.write_faults);
            let _ = writeln!(text, "kernel_mkwrite_faults {}", kernel.mkwrite_faults);
            let _ = writeln!(text, "kernel_failed_faults {}", kernel.failed_faults);
            let _ = writeln!(text, "kernel_resent_faults {}", kernel.resent_faults);
            let _ = writeln!(text, "kernel_pages_provided {}", kernel.pages_provided);
            let _ = writeln!(text, "kernel_zaps {}", kernel.zaps);
            let _ = writeln!(text, "kernel_wrprotects {}", kernel.wrprotects);
            let _ = writeln!(text, "kernel_shootdowns {}", kernel.shootdowns);
            let _ = writeln!(text, "kernel_retries {}", kernel.retries);
            let _ = writeln!(text, "kernel_private_copies {}", kernel.private_copies);
            let _ = writeln!(text, "kernel_refused_answers {}", kernel.refused_answers);
        }
        text
    }
}
