//! One page of a tree, checked before anything in it is used.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use crate::bytes::{u16_at, u32_at, u64_at};
use crate::format::FileFormat;

pub(crate) const BRANCH_FLAG: u16 = 0x01;
pub(crate) const LEAF_FLAG: u16 = 0x02;
pub(crate) const OVERFLOW_FLAG: u16 = 0x04;
pub(crate) const META_FLAG: u16 = 0x08;
const DIRTY_FLAG: u16 = 0x10;

const LARGE_VALUE_NODE: u16 = 0x01;

/// The root of a tree without entries.
pub(crate) const NO_PAGE: u64 = u64::MAX;

/// The most levels that LMDB walks down (its `CURSOR_STACK`).
pub(crate) const MAX_DEPTH: u16 = 32;

/// The header of a node, before its key.
const NODE_HEADER_LEN: usize = 8;

/// How the keys of a tree are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyOrder {
    /// As byte strings: the entries.
    Bytes,
    /// As numbers of 8 bytes: the lists of free pages, by transaction.
    Numbers,
}

impl KeyOrder {
    pub(crate) fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Bytes => a.cmp(b),
            Self::Numbers => u64_at(a, 0).cmp(&u64_at(b, 0)),
        }
    }

    fn takes(self, key: &[u8]) -> bool {
        match self {
            Self::Bytes => !key.is_empty(),
            Self::Numbers => key.len() == 8,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    Branch,
    Leaf,
}

/// A branch or leaf page in whose own form everything is right: its number,
/// its type, its bounds, and each node with its key in its place. What other
/// pages say about it is not known here.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    bytes: Arc<[u8]>,
    format: FileFormat,
    number: u64,
    order: KeyOrder,
    kind: PageKind,
    len: usize,
    /// Where its nodes begin.
    upper: usize,
}

/// How the nodes of a page lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Each begins where the one before it ends, as LMDB leaves them.
    Dense,
    WithGaps,
    Overlapping,
}

/// A node of a page.
#[derive(Debug)]
pub(crate) struct Node<'p> {
    pub(crate) key: &'p [u8],
    pub(crate) content: Content,
}

/// What a node leads to.
#[derive(Debug)]
pub(crate) enum Content {
    Child(u64),
    /// Where in the page the value lies.
    Value(Range<usize>),
    Large(LargeValue),
}

/// A value in pages of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LargeValue {
    pub(crate) first: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// How many pages it was given, where its node says that.
    pub(crate) pages: Option<u64>,
}

type Checked<T> = Result<T, Cow<'static, str>>;

impl Page {
    /// The page with this number that was read as these bytes, or what is
    /// wrong with it.
    pub(crate) fn new(
        bytes: Arc<[u8]>,
        format: FileFormat,
        number: u64,
        order: KeyOrder,
    ) -> Checked<Self> {
        check_number(&bytes, number)?;
        let kind = match u16_at(&bytes, format.flags_at()) {
            BRANCH_FLAG => PageKind::Branch,
            LEAF_FLAG => PageKind::Leaf,
            flags => return Err(unexpected_type(flags, "a page of the tree")),
        };
        let header = format.header_len();
        let bound =
            |at| usize::from(u16_at(&bytes, format.flags_at() + at)) + format.pointer_base();
        let (lower, upper) = (bound(2), bound(4));
        let sound = header <= lower
            && lower <= upper
            && upper <= bytes.len()
            && (lower - header).is_multiple_of(2);
        if !sound {
            return Err(format!(
                "has the bounds {lower} and {upper}, which do not fit a page of {} bytes",
                bytes.len()
            )
            .into());
        }
        let page = Self {
            len: (lower - header) / 2,
            bytes,
            format,
            number,
            order,
            kind,
            upper,
        };
        page.check_nodes()?;
        Ok(page)
    }

    fn check_nodes(&self) -> Checked<()> {
        // LMDB collapses a branch with one child, but not always in the tree
        // of free pages.
        let least = match (self.kind, self.order) {
            (PageKind::Branch, KeyOrder::Bytes) => 2,
            _ => 1,
        };
        if self.len < least {
            return Err(format!("has {} entries, and {least} at least", self.len).into());
        }
        let mut previous: Option<&[u8]> = None;
        for index in 0..self.len {
            let wrong = |what: &str| format!("has an entry {index} {what}").into();
            if self.pointer(index) < self.upper {
                return Err(wrong("outside of its entries"));
            }
            let node = self.node(index).map_err(wrong)?;
            // The first key of a branch stands for whatever comes before the
            // second one, and may be anything.
            if index < self.first_key() {
                continue;
            }
            if !self.order.takes(node.key) {
                return Err(wrong("with a key of an impossible length"));
            }
            if previous.is_some_and(|key| self.order.compare(key, node.key) != Ordering::Less) {
                return Err(wrong("whose key is not above the one before it"));
            }
            previous = Some(node.key);
        }
        Ok(())
    }

    /// How its nodes lie in it. It takes longer than the other checks, and a
    /// reader need not know.
    pub(crate) fn packing(&self) -> Packing {
        let mut places: Vec<Range<usize>> = (0..self.len)
            .map(|index| self.pointer(index))
            .map(|begin| begin..begin + self.node_len(begin))
            .collect();
        places.sort_unstable_by_key(|place| place.start);
        let mut packing = Packing::Dense;
        let mut end = self.upper;
        for place in places {
            match place.start.cmp(&end) {
                Ordering::Less => return Packing::Overlapping,
                Ordering::Equal => {}
                Ordering::Greater => packing = Packing::WithGaps,
            }
            end = place.end.next_multiple_of(2);
        }
        if end < self.bytes.len() {
            packing = Packing::WithGaps;
        }
        packing
    }

    fn node_len(&self, begin: usize) -> usize {
        let node = self.bytes.get(begin..).unwrap_or_default();
        let key = self.format.key_room(u16_at(node, 6).into());
        let content = match (self.kind, u16_at(node, 4) & LARGE_VALUE_NODE) {
            (PageKind::Branch, _) => 0,
            (PageKind::Leaf, 0) => u32_at(node, 0) as usize,
            (PageKind::Leaf, _) => self.format.large_value_room(),
        };
        NODE_HEADER_LEN + key + content
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn kind(&self) -> PageKind {
        self.kind
    }

    pub(crate) fn order(&self) -> KeyOrder {
        self.order
    }

    /// How many nodes it has; at least one.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes at a place that a node of this page gave.
    pub(crate) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The first node whose key counts.
    fn first_key(&self) -> usize {
        match self.kind {
            PageKind::Branch => 1,
            PageKind::Leaf => 0,
        }
    }

    fn pointer(&self, index: usize) -> usize {
        let at = self.format.header_len() + 2 * index;
        usize::from(u16_at(&self.bytes, at)) + self.format.pointer_base()
    }

    /// A node by its index, or what is wrong with it.
    pub(crate) fn node(&self, index: usize) -> Result<Node<'_>, &'static str> {
        const OUTSIDE: &str = "that is not inside of the page";
        let begin = self.pointer(index);
        let node = self.bytes.get(begin..).ok_or(OUTSIDE)?;
        let key_len = usize::from(u16_at(node, 6));
        let key = node
            .get(NODE_HEADER_LEN..NODE_HEADER_LEN + key_len)
            .ok_or(OUTSIDE)?;
        if self.kind == PageKind::Branch {
            let child = u64::from(u32_at(node, 0)) | u64::from(u16_at(node, 4)) << 32;
            return Ok(Node {
                key,
                content: Content::Child(child),
            });
        }
        let len = u32_at(node, 0);
        let value_at = NODE_HEADER_LEN + self.format.key_room(key_len);
        let content = match u16_at(node, 4) {
            0 => {
                let value = begin + value_at..begin + value_at + len as usize;
                if self.bytes.get(value.clone()).is_none() {
                    return Err(OUTSIDE);
                }
                Content::Value(value)
            }
            LARGE_VALUE_NODE => {
                let place = node
                    .get(value_at..value_at + self.format.large_value_room())
                    .ok_or(OUTSIDE)?;
                Content::Large(LargeValue {
                    first: u64_at(place, 0),
                    len: len.into(),
                    pages: place.get(16..).map(|pages| u64_at(pages, 0)),
                })
            }
            _ => return Err("that is not a plain value, which a realm store does not have"),
        };
        Ok(Node { key, content })
    }

    /// The smallest and the largest key that count; none in a branch with one
    /// child.
    pub(crate) fn outer_keys(&self) -> Result<Option<[&[u8]; 2]>, &'static str> {
        if self.len <= self.first_key() {
            return Ok(None);
        }
        let (first, last) = (self.node(self.first_key())?, self.node(self.len - 1)?);
        Ok(Some([first.key, last.key]))
    }

    /// How many of the keys that count are below a key, or `or_equal` to it.
    pub(crate) fn count_below(&self, key: &[u8], or_equal: bool) -> Result<usize, &'static str> {
        let first = self.first_key();
        let (mut low, mut high) = (first, self.len.max(first));
        while low < high {
            let middle = low + (high - low) / 2;
            let below = match self.order.compare(self.node(middle)?.key, key) {
                Ordering::Less => true,
                Ordering::Equal => or_equal,
                Ordering::Greater => false,
            };
            if below {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low - first)
    }
}

/// Checks that a page carries its own number.
pub(crate) fn check_number(page: &[u8], number: u64) -> Checked<()> {
    match u64_at(page, 0) {
        own if own == number => Ok(()),
        own => Err(format!("carries the number {own}").into()),
    }
}

pub(crate) fn unexpected_type(flags: u16, expected: &str) -> Cow<'static, str> {
    let found = match flags {
        BRANCH_FLAG | LEAF_FLAG => "a page of a tree",
        OVERFLOW_FLAG => "part of a large value",
        META_FLAG => "a header page",
        _ if flags & DIRTY_FLAG != 0 => "a page of a commit that was never finished",
        _ => return format!("has the unknown type {flags:#06x}, not that of {expected}").into(),
    };
    format!("is {found}, not {expected}").into()
}
