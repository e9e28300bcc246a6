//! Numbers in bytes that are not trusted. LMDB writes them as the machine has
//! them.

/// The number at an offset; zero where the bytes end before it does.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes_at(bytes, at).map_or(0, u16::from_ne_bytes)
}

/// The number at an offset; zero where the bytes end before it does.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes_at(bytes, at).map_or(0, u32::from_ne_bytes)
}

/// The number at an offset; zero where the bytes end before it does.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes_at(bytes, at).map_or(0, u64::from_ne_bytes)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
