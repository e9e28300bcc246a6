//! LMDB's list of free pages, read without LMDB.
//!
//! It is needed for one question, asked of a file that is shorter than its
//! header says: are the missing pages ones that nobody will read?

use std::fs::File;
use std::io;
use std::ops::Range;

use crate::format::{PAGE_FLAGS, read_at, u16_at, u32_at, u64_at};
use crate::this_format::{OFFSETS_BEGIN, PAGE_HEADER_LEN};

const NODE_HEADER_LEN: usize = 8;

const BRANCH_PAGE: u16 = 0x01;
const LEAF_PAGE: u16 = 0x02;
const OVERFLOW_NODE: u16 = 0x01;

/// Whether the list whose tree begins at `root` names every page of
/// `missing`, where `missing` begins at the end of the file. A list that
/// cannot be read to its end counts as naming nothing.
pub(crate) fn all_free(
    file: &mut File,
    page_size: u64,
    root: u64,
    missing: Range<u64>,
) -> io::Result<bool> {
    let mut free = Vec::new();
    let mut open = vec![root];
    let mut visited = 0;
    while let Some(number) = open.pop() {
        visited += 1;
        // In a tree no page comes up twice; more visits than pages are a circle.
        if number >= missing.start || visited > missing.start {
            return Ok(false);
        }
        let page = read_at(file, number * page_size, page_size as usize)?;
        let flags = u16_at(&page, PAGE_FLAGS);
        for node in nodes(&page) {
            let Some(node) = node else { return Ok(false) };
            if flags & BRANCH_PAGE != 0 {
                open.push(child(node));
            } else if flags & LEAF_PAGE != 0 {
                match free_list(file, page_size, node, missing.start)? {
                    Some(list) => free.extend(list.filter(|page| missing.contains(page))),
                    None => return Ok(false),
                }
            } else {
                return Ok(false);
            }
        }
    }
    free.sort_unstable();
    free.dedup();
    Ok(free.len() as u64 == missing.end - missing.start)
}

/// The nodes of a page, each from its beginning to the end of the page;
/// `None` for one that is not inside the page.
fn nodes(page: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let end = OFFSETS_BEGIN + usize::from(u16_at(page, PAGE_FLAGS + 2));
    (PAGE_HEADER_LEN..end).step_by(2).map(|at| {
        page.get(OFFSETS_BEGIN + usize::from(u16_at(page, at))..)
            .filter(|node| node.len() >= NODE_HEADER_LEN)
    })
}

fn child(node: &[u8]) -> u64 {
    u64::from(u32_at(node, 0)) | u64::from(u16_at(node, 4)) << 32
}

/// The page numbers in a leaf's node.
fn free_list(
    file: &mut File,
    page_size: u64,
    node: &[u8],
    file_pages: u64,
) -> io::Result<Option<impl Iterator<Item = u64> + use<>>> {
    let len = u32_at(node, 0) as usize;
    let begin = NODE_HEADER_LEN + usize::from(u16_at(node, 6));
    let Some(inline) = node.get(begin..) else {
        return Ok(None);
    };
    let data = if u16_at(node, 4) & OVERFLOW_NODE != 0 {
        let first = u64_at(inline, 0);
        let pages = (PAGE_HEADER_LEN as u64 + len as u64).div_ceil(page_size);
        if first.checked_add(pages).is_none_or(|end| end > file_pages) {
            return Ok(None);
        }
        read_at(file, first * page_size + PAGE_HEADER_LEN as u64, len)?
    } else {
        inline.get(..len).unwrap_or_default().to_vec()
    };
    let count = u64_at(&data, 0);
    if data.len() < 8 || count > (data.len() as u64 - 8) / 8 {
        return Ok(None);
    }
    Ok(Some(
        (1..=count as usize).map(move |index| u64_at(&data, index * 8)),
    ))
}
