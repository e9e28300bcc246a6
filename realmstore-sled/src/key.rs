//! Keys as they stand in the tree: each byte 255 is followed by a 0.
//!
//! The order is the same: where two keys differ, so do their stored forms, at
//! the same byte, and where one is the beginning of the other, it still is.
//!
//! It is done for sled's walk from high keys to low ones. To find the page
//! before one that begins with `…x`, sled looks where the key `…(x-1)` with
//! four bytes 255 after it would be, and takes whatever page that is in for
//! the neighbour. If keys above that one fill pages of their own, the walk
//! never gets there, and after a million attempts sled panics. Stored keys
//! have no two bytes 255 in a row, so nothing is above.

use std::borrow::Cow;

const ESCAPED: u8 = 255;

/// The stored form of a key.
pub(crate) fn encode(key: &[u8]) -> Cow<'_, [u8]> {
    if !key.contains(&ESCAPED) {
        return Cow::Borrowed(key);
    }
    let mut stored = Vec::with_capacity(2 * key.len());
    for &byte in key {
        stored.push(byte);
        if byte == ESCAPED {
            stored.push(0);
        }
    }
    Cow::Owned(stored)
}

/// The key of a stored form, in memory that is lent where it is another one.
pub(crate) fn decode<'k>(stored: &'k [u8], memory: &'k mut Vec<u8>) -> &'k [u8] {
    if !stored.contains(&ESCAPED) {
        return stored;
    }
    memory.clear();
    let mut bytes = stored.iter();
    while let Some(&byte) = bytes.next() {
        memory.push(byte);
        if byte == ESCAPED {
            bytes.next();
        }
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_keep_their_order() {
        let mut keys: Vec<Vec<u8>> = vec![vec![]];
        for _ in 0..4 {
            let longer = keys
                .iter()
                .flat_map(|key| [0, 1, 254, 255].map(|byte| [key.as_slice(), &[byte]].concat()));
            keys = keys.iter().cloned().chain(longer).collect();
        }
        keys.sort();
        keys.dedup();
        let stored: Vec<Vec<u8>> = keys.iter().map(|key| encode(key).into_owned()).collect();
        assert!(stored.is_sorted());
        let mut memory = Vec::new();
        for (key, stored) in keys.iter().zip(stored) {
            assert!(!stored.windows(2).any(|pair| pair == [255, 255]));
            assert_eq!(decode(&stored, &mut memory), key);
        }
    }
}
