//! Inodes (`inodes.rst`): 128 bytes, more when `s_inode_size` says so, of which `i_extra_isize` are
//! fields and the rest is room for extended attributes.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an inode that every revision has.
pub const GOOD_OLD_INODE_SIZE: usize = 128;
/// Offset of `i_block` in the inode.
pub const I_BLOCK_OFFSET: usize = 0x28;
/// Bytes of `i_block`.
pub const I_BLOCK_SIZE: usize = 60;
/// Offset of `l_i_checksum_lo`.
pub const I_CHECKSUM_LO_OFFSET: usize = 0x7c;
/// Offset of `i_checksum_hi`.
pub const I_CHECKSUM_HI_OFFSET: usize = 0x82;
/// The root directory's number.
pub const EXT4_ROOT_INO: u32 = 2;
/// `i_extra_isize` that covers all fields of [`RawInode`].
pub const FULL_EXTRA_ISIZE: u16 = 32;

/// `struct ext4_inode` up to `i_projid`.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawInode {
    pub i_mode: U16,
    pub i_uid: U16,
    pub i_size_lo: U32,
    pub i_atime: U32,
    pub i_ctime: U32,
    pub i_mtime: U32,
    pub i_dtime: U32,
    pub i_gid: U16,
    pub i_links_count: U16,
    pub i_blocks_lo: U32,
    pub i_flags: U32,
    pub l_i_version: U32,
    pub i_block: [u8; I_BLOCK_SIZE],
    pub i_generation: U32,
    pub i_file_acl_lo: U32,
    pub i_size_high: U32,
    pub i_obso_faddr: U32,
    pub l_i_blocks_high: U16,
    pub l_i_file_acl_high: U16,
    pub l_i_uid_high: U16,
    pub l_i_gid_high: U16,
    pub l_i_checksum_lo: U16,
    pub l_i_reserved: U16,
    pub i_extra_isize: U16,
    pub i_checksum_hi: U16,
    pub i_ctime_extra: U32,
    pub i_mtime_extra: U32,
    pub i_atime_extra: U32,
    pub i_crtime: U32,
    pub i_crtime_extra: U32,
    pub i_version_hi: U32,
    pub i_projid: U32,
}

const _: () = assert!(size_of::<RawInode>() == 160);

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InodeFlags: u32 {
        const SYNC = 0x8;
        const IMMUTABLE = 0x10;
        const APPEND = 0x20;
        const NODUMP = 0x40;
        const NOATIME = 0x80;
        const ENCRYPT = 0x800;
        /// The directory has a hash index.
        const INDEX = 0x1000;
        const JOURNAL_DATA = 0x4000;
        const DIRSYNC = 0x1_0000;
        const TOPDIR = 0x2_0000;
        /// `i_blocks` counts file system blocks, not sectors.
        const HUGE_FILE = 0x4_0000;
        const EXTENTS = 0x8_0000;
        const VERITY = 0x10_0000;
        const EA_INODE = 0x20_0000;
        const INLINE_DATA = 0x1000_0000;
        const PROJINHERIT = 0x2000_0000;
        const CASEFOLD = 0x4000_0000;
    }
}

/// File type bits of `i_mode`.
pub const S_IFMT: u16 = 0xf000;
/// FIFO.
pub const S_IFIFO: u16 = 0x1000;
/// Character device.
pub const S_IFCHR: u16 = 0x2000;
/// Directory.
pub const S_IFDIR: u16 = 0x4000;
/// Block device.
pub const S_IFBLK: u16 = 0x6000;
/// Regular file.
pub const S_IFREG: u16 = 0x8000;
/// Symbolic link.
pub const S_IFLNK: u16 = 0xa000;
/// Socket.
pub const S_IFSOCK: u16 = 0xc000;
