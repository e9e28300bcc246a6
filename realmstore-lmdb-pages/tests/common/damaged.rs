//! Files that were damaged in every way there is, systematically and at
//! random.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use realmstore_core::{Backend, ErrorKind, Order, ReadTxn};
use realmstore_lmdb_pages::{
    FileFormat, PageFinding, PagesBackend, check, check_header, copy_snapshot,
};
use tempfile::TempDir;

use super::{ALL, Engine, Entries, rich, runner, scan};

type List = Vec<(Vec<u8>, Vec<u8>)>;

/// A sound file, and where things stand in it.
struct Sound {
    directory: TempDir,
    bytes: Vec<u8>,
    format: FileFormat,
    page_size: usize,
    header: usize,
    entries: List,
}

impl Sound {
    fn new<E: Engine>() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let entries: Entries = E::apply(directory.path(), &rich());
        let bytes = fs::read(directory.path().join("data.mdb")).unwrap();
        let header = match E::FORMAT {
            FileFormat::Lmdb10 => 24,
            _ => 16,
        };
        let sound = Self {
            page_size: u32::from_ne_bytes(bytes[header + 24..][..4].try_into().unwrap()) as usize,
            directory,
            bytes,
            format: E::FORMAT,
            header,
            entries: entries.into_iter().collect(),
        };
        assert_eq!(super::damage(&sound.path()), []);
        sound
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("data.mdb")
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_ne_bytes(self.bytes[at..][..2].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes[at..][..8].try_into().unwrap())
    }

    /// Where the newest header begins, behind that of its page.
    fn meta(&self) -> usize {
        let [first, second] = [self.header, self.page_size + self.header];
        if self.u64(second + 128) > self.u64(first + 128) {
            second
        } else {
            first
        }
    }

    fn main_root(&self) -> usize {
        self.u64(self.meta() + 112) as usize * self.page_size
    }

    fn free_root(&self) -> usize {
        self.u64(self.meta() + 64) as usize * self.page_size
    }

    fn flags(&self, page: usize) -> u16 {
        self.u16(page + self.header - 6)
    }

    fn node(&self, page: usize, index: usize) -> usize {
        let base = if self.format == FileFormat::Lmdb10 {
            self.header
        } else {
            0
        };
        page + base + usize::from(self.u16(page + self.header + 2 * index))
    }

    fn child(&self, page: usize, index: usize) -> usize {
        let node = self.node(page, index);
        let number = u64::from(self.u16(node)) | u64::from(self.u16(node + 2)) << 16;
        number as usize * self.page_size
    }

    /// The way down from the root, by the child with this index each time.
    fn way_down(&self, index: usize) -> Vec<usize> {
        let mut way = vec![self.main_root()];
        while let Some(&page) = way.last()
            && self.flags(page) == 1
        {
            way.push(self.child(page, index));
        }
        way
    }

    /// The node of a large value, found by its key, and its first page.
    fn large_value(&self) -> (usize, usize) {
        // The keys of large values are the smallest but for some.
        for leaf in (2..self.bytes.len() / self.page_size).map(|page| page * self.page_size) {
            if self.flags(leaf) != 2 || !self.is_reachable(leaf) {
                continue;
            }
            for index in 0..usize::from(self.u16(leaf + self.header - 4)) / 2 {
                let node = self.node(leaf, index);
                if node + 8 < self.bytes.len() && self.u16(node + 4) == 1 {
                    let key = usize::from(self.u16(node + 6)).next_multiple_of(2);
                    return (node, self.u64(node + 8 + key) as usize * self.page_size);
                }
            }
        }
        panic!("there is no large value");
    }

    fn is_reachable(&self, leaf: usize) -> bool {
        let mut open = vec![self.main_root()];
        while let Some(page) = open.pop() {
            if page == leaf {
                return true;
            }
            if self.flags(page) == 1 {
                let base = if self.format == FileFormat::Lmdb10 {
                    0
                } else {
                    self.header
                };
                let lower = usize::from(self.u16(page + self.header - 4));
                open.extend((0..(lower - base) / 2).map(|index| self.child(page, index)));
            }
        }
        false
    }

    /// Does something with the file while some of its bytes are others.
    fn with<T>(&self, at: usize, bytes: &[u8], look: impl FnOnce(&Path) -> T) -> T {
        let mut file = OpenOptions::new().write(true).open(self.path()).unwrap();
        let mut put = |bytes: &[u8]| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(bytes).unwrap();
        };
        put(bytes);
        let result = look(&self.path());
        put(&self.bytes[at..][..bytes.len()]);
        result
    }
}

/// Reads all there is in every way, whatever comes of it; says what the check
/// found and what a scan gave.
fn read(path: &Path) -> (Option<Vec<PageFinding>>, Option<List>) {
    let mut findings = Vec::new();
    let checked = check(path, |finding| findings.push(finding));
    let mut found = None;
    for format in [FileFormat::Lmdb09, FileFormat::Lmdb10] {
        let _ = check_header(path, format);
    }
    if let Ok(store) = PagesBackend::open(path) {
        let snapshot = store.begin_read().unwrap();
        found = scan(&snapshot, ALL, Order::Ascending).ok();
        if let Err(error) = scan(&snapshot, ALL, Order::Descending) {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
            assert!(error.to_string().contains("page "), "{error}");
        }
        for key in [&b"key"[..], &[0, 0], &[9, 0], &[0xFF; 60], &[0x80; 4]] {
            let _ = snapshot.get(key);
        }
    }
    (checked.ok().map(|()| findings), found)
}

/// Flips each bit of what the form of the pages stands in. Either it is found
/// or it changes nothing.
pub(crate) fn a_flipped_bit_is_found_or_does_nothing<E: Engine>() {
    let sound = Sound::new::<E>();
    let (large_node, large_page) = sound.large_value();
    let mut places = Vec::new();
    for page in sound
        .way_down(0)
        .into_iter()
        .chain(sound.way_down(1))
        .chain([sound.free_root()])
    {
        let nodes = [0, 1, 2]
            .map(|index| sound.node(page, index.min(usize::from(sound.flags(page) != 4) * 2)));
        places.extend(page..page + sound.header + 6);
        if page != sound.free_root() {
            places.extend(nodes.into_iter().flat_map(|node| node..node + 8));
        }
    }
    places.extend(large_page..large_page + sound.header);
    // Its length may be any that takes the same pages.
    places.extend(large_node + 4..large_node + 8);
    let mut found = 0;
    for &at in &places {
        for bit in 0..8 {
            let flipped = sound.bytes[at] ^ 1 << bit;
            sound.with(at, &[flipped], |path| {
                let (findings, entries) = read(path);
                let findings = findings.unwrap();
                if findings.is_empty() {
                    assert!(
                        entries.as_ref() == Some(&sound.entries),
                        "bit {bit} of byte {} of page {} changes entries unnoticed",
                        at % sound.page_size,
                        at / sound.page_size
                    );
                } else {
                    found += 1;
                }
            });
        }
    }
    assert!(
        found > places.len() * 4,
        "found {found} in {} bytes",
        places.len()
    );
}

/// Flips each bit of both headers. The file is refused, or what is read is
/// what one of the two commits left, or damage.
pub(crate) fn a_flipped_bit_in_a_header_does_no_harm<E: Engine>() {
    let sound = Sound::new::<E>();
    for page in [0, sound.page_size] {
        for at in page..page + sound.header + 136 {
            for bit in 0..8 {
                sound.with(at, &[sound.bytes[at] ^ 1 << bit], |path| {
                    read(path);
                });
            }
        }
    }
}

/// Each way in which a page can be wrong is damage, and named with its page.
pub(crate) fn each_structural_damage_is_found<E: Engine>() {
    let sound = Sound::new::<E>();
    let (page_size, header, meta) = (sound.page_size, sound.header, sound.meta());
    let (left, right) = (sound.way_down(0), sound.way_down(1));
    let (root, branch, leaf) = (left[0], left[left.len() - 2], left[left.len() - 1]);
    assert!(left.len() >= 3, "the tree is not deep");
    let number = |page: usize| (page / page_size) as u64;
    let child = |page: u64| page.to_ne_bytes()[..6].to_vec();
    let u16 = |n: u16| n.to_ne_bytes().to_vec();
    let u64 = |n: u64| n.to_ne_bytes().to_vec();
    let (large_node, large) = sound.large_value();
    let key_room = usize::from(sound.u16(large_node + 6)).next_multiple_of(2);
    let first_child = sound.node(branch, 1);
    let last = sound.u64(meta + 120);
    let free_list = sound.node(sound.free_root(), 0) + 16;
    let base = if header == 24 { 0 } else { header };
    let lists = (usize::from(sound.u16(sound.free_root() + header - 4)) - base) / 2;
    let newest_list = sound.node(sound.free_root(), lists - 1);
    let cases: Vec<(&str, usize, Vec<u8>, &str)> = vec![
        ("another number", leaf, u64(7), "carries the number 7"),
        ("no type", leaf + header - 6, u16(0), "unknown type"),
        ("two types", leaf + header - 6, u16(3), "unknown type"),
        ("dirty", leaf + header - 6, u16(0x12), "never finished"),
        (
            "a leaf of fixed keys",
            leaf + header - 6,
            u16(0x22),
            "unknown type",
        ),
        (
            "a large value for a leaf",
            leaf + header - 6,
            u16(4),
            "part of a large value",
        ),
        ("a branch for a leaf", leaf + header - 6, u16(1), ""),
        ("a leaf for a branch", branch + header - 6, u16(2), ""),
        (
            "lower in the header",
            leaf + header - 4,
            u16(0xFFFF),
            "bounds",
        ),
        (
            "odd lower",
            leaf + header - 4,
            u16(sound.u16(leaf + header - 4) + 1),
            "bounds",
        ),
        (
            "no entries",
            leaf + header - 4,
            u16(if header == 24 { 0 } else { 16 }),
            "entries, and",
        ),
        (
            "an entry less",
            leaf + header - 4,
            u16(sound.u16(leaf + header - 4) - 2),
            "entries in the tree",
        ),
        (
            "upper behind the page",
            leaf + header - 2,
            u16(page_size as u16 + 2),
            "bounds",
        ),
        (
            "a pointer out of the page",
            leaf + header,
            u16(0xFFF0),
            "not inside of the page",
        ),
        (
            "a pointer into the header",
            leaf + header,
            u16(2),
            "outside of its entries",
        ),
        (
            "a pointer twice",
            leaf + header + 2,
            sound.bytes[leaf + header..][..2].to_vec(),
            "not above",
        ),
        (
            "a key out of the page",
            sound.node(leaf, 0) + 6,
            u16(0xFFFF),
            "not inside of the page",
        ),
        (
            "an empty key",
            sound.node(leaf, 0) + 6,
            u16(0),
            "impossible length",
        ),
        (
            "a value out of the page",
            sound.node(leaf, 0),
            vec![0xFF; 4],
            "not inside of the page",
        ),
        (
            "a sub-database",
            sound.node(leaf, 0) + 4,
            u16(2),
            "not a plain value",
        ),
        (
            "a key out of order",
            sound.node(leaf, 1) + 8,
            vec![0xFF; 4],
            "not above",
        ),
        (
            "a key of another page",
            sound.node(right[right.len() - 1], 0) + 8,
            vec![0; 4],
            "another page",
        ),
        (
            "a circle",
            first_child,
            child(number(root)),
            "is used twice",
        ),
        (
            "a child twice",
            first_child,
            child(number(leaf)),
            "is used twice",
        ),
        (
            "a child behind the last page",
            first_child,
            child(last + 1),
            "does not exist",
        ),
        (
            "a child far away",
            first_child,
            child(u64::MAX >> 16),
            "does not exist",
        ),
        (
            "a header as a child",
            first_child,
            child(1),
            "does not exist",
        ),
        (
            "a free page list as a child",
            first_child,
            child(number(sound.free_root())),
            "",
        ),
        (
            "another number of a large value",
            large,
            u64(9),
            "carries the number 9",
        ),
        (
            "another type of a large value",
            large + header - 6,
            u16(2),
            "not the first page of a large value",
        ),
        (
            "a short large value",
            large + header - 4,
            u16(1),
            "of a large value",
        ),
        (
            "a long large value",
            large + header - 4,
            vec![0xFF; 4],
            "large value",
        ),
        (
            "a huge large value",
            large_node,
            vec![0xFF; 4],
            "of a large value",
        ),
        (
            "a large value nowhere",
            large_node + 8 + key_room,
            u64(u64::MAX),
            "does not exist",
        ),
        (
            "a large value behind the file",
            large_node + 8 + key_room,
            u64(last + 5),
            "does not exist",
        ),
        (
            "a large value twice",
            large_node + 8 + key_room,
            u64(number(leaf)),
            "",
        ),
        ("a depth too small", meta + 72 + 6, u16(1), "level 1"),
        ("a depth too large", meta + 72 + 6, u16(9), "level"),
        (
            "an impossible depth",
            meta + 72 + 6,
            u16(99),
            "impossible depth",
        ),
        (
            "a count of branches",
            meta + 72 + 8,
            u64(77),
            "counts 77 branch pages",
        ),
        (
            "a count of leaves",
            meta + 72 + 16,
            u64(77),
            "counts 77 leaf pages",
        ),
        (
            "a count of large values",
            meta + 72 + 24,
            u64(77),
            "counts 77 pages of large values",
        ),
        (
            "a count of entries",
            meta + 72 + 32,
            u64(77),
            "counts 77 entries",
        ),
        (
            "a root behind the last page",
            meta + 112,
            u64(last + 1),
            "does not exist",
        ),
        ("a header as the root", meta + 112, u64(1), "does not exist"),
        ("no root", meta + 112, u64(u64::MAX), "impossible depth"),
        ("duplicates", meta + 72 + 4, u16(4), "not a realm store"),
        (
            "no magic in the other header",
            page_size + header,
            vec![0; 4],
            "not a sound header",
        ),
        (
            "a last page behind the file",
            meta + 120,
            u64(last + 9),
            "the file ends in page",
        ),
        (
            "impossibly many pages",
            meta + 120,
            u64(u64::MAX - 3),
            "impossibly many",
        ),
        (
            "a number of a header page",
            page_size,
            u64(4),
            "carries the number 4",
        ),
        (
            "a free page in use",
            free_list + 8,
            u64(number(leaf)),
            "is in use",
        ),
        (
            "a free page that is none",
            free_list + 8,
            u64(last + 1),
            "does not exist",
        ),
        (
            "a free list too long",
            free_list,
            u64(9999),
            "ends before its last",
        ),
        (
            "a free list out of order",
            free_list + 16,
            sound.bytes[free_list + 8..][..8].to_vec(),
            "out of order",
        ),
        (
            "a free list of the future",
            newest_list + 8,
            u64(9999),
            "freed by commit 9999",
        ),
    ];
    for (name, at, bytes, text) in cases {
        sound.with(at, &bytes, |path| {
            let mut found = Vec::new();
            check(path, |finding| {
                if finding.severity == realmstore_lmdb_pages::Severity::Damage {
                    found.push(finding.to_string());
                }
            })
            .unwrap();
            assert!(
                found.iter().any(|what| what.contains(text)),
                "{name}: {found:?}"
            );
            read(path);
        });
    }
    assert_eq!(
        super::damage(&sound.path()),
        [],
        "the test left damage behind"
    );
}

pub(crate) fn a_truncated_file_is_found_wherever_it_ends<E: Engine>() {
    let sound = Sound::new::<E>();
    let cut = sound.directory.path().join("cut.mdb");
    let mut lens: Vec<usize> = (0..sound.bytes.len()).step_by(sound.page_size).collect();
    lens.extend([
        1,
        20,
        63,
        100,
        160,
        sound.page_size + 30,
        sound.bytes.len() - 1,
    ]);
    for len in lens {
        fs::write(&cut, &sound.bytes[..len]).unwrap();
        let (findings, entries) = read(&cut);
        if findings.is_some_and(|findings| findings.is_empty()) {
            assert_eq!(entries.as_ref(), Some(&sound.entries), "cut to {len} bytes");
        }
        assert!(
            len > 2 * sound.page_size || entries.is_none(),
            "read out of {len} bytes"
        );
        let copy = sound.directory.path().join("copy.mdb");
        if copy_snapshot(&cut, &copy).is_ok() {
            read(&copy);
            fs::remove_file(&copy).unwrap();
        }
    }
}

pub(crate) fn random_bytes_anywhere_do_no_harm<E: Engine>() {
    let sound = Sound::new::<E>();
    let pages = sound.bytes.len() / sound.page_size;
    // Mostly where the form is, which is at the beginning of pages.
    let offset = prop_oneof![0..64_usize, 0..sound.page_size];
    let change = (
        0..pages,
        offset,
        proptest::collection::vec(any::<u8>(), 1..9),
    );
    runner(600)
        .run(&proptest::collection::vec(change, 1..6), |changes| {
            let mut bytes = sound.bytes.clone();
            for (page, offset, new) in changes {
                let at = page * sound.page_size + offset;
                for (byte, new) in bytes[at..].iter_mut().zip(new) {
                    *byte = new;
                }
            }
            let path = sound.directory.path().join("random.mdb");
            fs::write(&path, &bytes).unwrap();
            read(&path);
            Ok(())
        })
        .unwrap();
}
