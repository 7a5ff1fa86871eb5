//! What the starter of a program writes at the top of its stack.
//!
//! ```text
//! stack pointer -> argc, (address, length) of each argument, the arguments' bytes, .., thread block
//! ```

use crate::thread::ThreadBlock;
use alloc::vec::Vec;

/// The arguments as the started program sees them.
#[derive(Clone, Copy)]
pub struct StartBlock {
    words: *const usize,
}

impl StartBlock {
    /// # Safety
    /// `words` points to a block that [`Image`] laid out, which stays unchanged for good.
    pub(crate) unsafe fn from_raw(words: *const usize) -> Self {
        Self { words }
    }

    /// The number of arguments.
    pub fn len(&self) -> usize {
        // SAFETY: the block begins with its count (see `from_raw`).
        unsafe { self.words.read() }
    }

    /// Whether the program was started without an argument.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Argument `index`, if there are so many.
    pub fn get(&self, index: usize) -> Option<&'static str> {
        if index >= self.len() {
            return None;
        }
        // SAFETY: `Image` wrote a pair of words for each argument, which name bytes of the same
        // block; they came from a `&str` and stay for good.
        unsafe {
            let pair = self.words.add(1 + 2 * index);
            let bytes = core::slice::from_raw_parts(pair.read() as *const u8, pair.add(1).read());
            Some(core::str::from_utf8_unchecked(bytes))
        }
    }
}

/// The block as bytes that are to end at an address of the started program.
pub struct Image {
    /// What to copy to [`Image::stack_pointer`].
    pub bytes: Vec<u8>,
    /// The first stack pointer, 16-aligned.
    pub stack_pointer: usize,
    /// Where the thread block lies: the first value of FS.
    pub thread_block: usize,
}

impl Image {
    /// Lays out the block for a stack whose first byte beyond the end is `top` (page aligned).
    pub fn new(top: usize, args: &[&str]) -> Self {
        let thread_block = top - ThreadBlock::ROOM;
        let text: usize = args.iter().map(|arg| arg.len()).sum();
        let words = 1 + 2 * args.len();
        let stack_pointer = (thread_block - text - words * size_of::<usize>()) & !15;

        let mut bytes = Vec::with_capacity(top - stack_pointer);
        let mut word = |value: usize| bytes.extend_from_slice(&value.to_ne_bytes());
        word(args.len());
        let mut address = stack_pointer + words * size_of::<usize>();
        for arg in args {
            word(address);
            word(arg.len());
            address += arg.len();
        }
        for arg in args {
            bytes.extend_from_slice(arg.as_bytes());
        }
        bytes.resize(thread_block - stack_pointer, 0);
        bytes.extend_from_slice(&ThreadBlock::image(thread_block));
        bytes.resize(top - stack_pointer, 0);
        Self { bytes, stack_pointer, thread_block }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn the_program_finds_what_the_starter_wrote() {
        // The top of the stack is the end of this buffer, so that its addresses are real ones.
        let mut stack = vec![0u128; 64];
        let top = stack.as_ptr_range().end as usize;
        let image = Image::new(top, &["disk=virtio0", "", "ünïcödé"]);
        assert_eq!(image.stack_pointer % 16, 0);
        assert_eq!(image.stack_pointer + image.bytes.len(), top);
        let start = image.stack_pointer - stack.as_ptr() as usize;
        // SAFETY: the image ends at the buffer's end, and is smaller than it.
        unsafe {
            let place = stack.as_mut_ptr().cast::<u8>().add(start);
            place.copy_from_nonoverlapping(image.bytes.as_ptr(), image.bytes.len());
            let block = StartBlock::from_raw(place.cast());
            assert_eq!(block.len(), 3);
            assert_eq!(block.get(0), Some("disk=virtio0"));
            assert_eq!(block.get(1), Some(""));
            assert_eq!(block.get(2), Some("ünïcödé"));
            assert_eq!(block.get(3), None);
            let own_address = (image.thread_block as *const usize).read();
            assert_eq!(own_address, image.thread_block, "FS:0 is the thread block's own address");
        }
    }
}
