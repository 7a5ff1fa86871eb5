//! `map`: a file through a shared mapping, shown as bytes, stored to on request.

use crate::commands::{About, Done, Refusal};
use userland_tests::{prelude::*, sys::print_line};

/// Most bytes that are shown.
const SHOWN: usize = 256;

/// `map FILE [OFFSET [TEXT..]]`
pub fn show(path: &str, rest: &[&str]) -> Done {
    let (offset, text) = match rest {
        [] => (0, String::new()),
        [offset, text @ ..] => {
            (offset.parse::<usize>().map_err(|_| Refusal::Usage("OFFSET is a number of bytes"))?, text.join(" "))
        }
    };
    let how = if text.is_empty() { Open::READ } else { Open::READ | Open::WRITE };
    let protection = if text.is_empty() { Protection::Read } else { Protection::ReadWrite };
    let file = File::open(path, how, 0).about(path)?;
    let size = file.stat().about(path)?.size as usize;
    // Past the end there is nothing to touch: the access would end this program.
    if offset + text.len().max(1) > size {
        return Err(Refusal::Usage("that is past the end of the file"));
    }
    let mapping = Mapping::new(&file, 0, size.next_multiple_of(sys::page_size()), protection, Sharing::Shared);
    let mapping = mapping.about(path)?;
    if !text.is_empty() {
        mapping.fill(offset, text.as_bytes());
        print_line(format_args!("{} bytes stored through the mapping at {offset}", text.len()));
    }
    let start = offset / 16 * 16;
    let bytes = mapping.bytes(start, (size - start).min(SHOWN));
    for (line, bytes) in bytes.chunks(16).enumerate() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text: String =
            bytes.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' }).collect();
        print_line(format_args!("{:08x}  {hex:48} {text}", start + 16 * line));
    }
    Ok(())
}
