//! Keys: fixed bytes whose order is the order of what they stand for.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

use smallvec::SmallVec;
use uuid::Uuid;

use crate::{PublicationId, SessionId, SubscriptionId, Timestamp};

/// The keys that need no memory of their own, in bytes: all of a realm store but
/// those of very long authids and URIs.
const INLINE: usize = 96;

/// The bytes of a key. They stand in place up to 96 bytes, and parts of a fixed
/// size are then appended by a store or two.
#[derive(Clone)]
pub struct KeyBuf {
    short: [u8; INLINE],
    len: usize,
    /// All of the key, once it is too long.
    long: Option<Vec<u8>>,
}

impl Default for KeyBuf {
    #[inline]
    fn default() -> Self {
        Self {
            short: [0; INLINE],
            len: 0,
            long: None,
        }
    }
}

impl KeyBuf {
    /// No bytes.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of bytes.
    #[inline]
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut key = Self::new();
        key.extend_from_slice(bytes);
        key
    }

    /// Appends bytes.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.short.get_mut(self.len..end) {
            Some(place) if self.long.is_none() => {
                place.copy_from_slice(bytes);
                self.len = end;
            }
            _ => self.extend_long(bytes),
        }
    }

    #[cold]
    fn extend_long(&mut self, bytes: &[u8]) {
        let mut long = self.long.take().unwrap_or_else(|| self.to_vec());
        long.extend_from_slice(bytes);
        self.long = Some(long);
    }

    /// Appends a byte.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Drops what is behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        match &mut self.long {
            None => self.len = self.len.min(len),
            Some(long) => long.truncate(len),
        }
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.long {
            None => self.short.get(..self.len).unwrap_or_default(),
            Some(long) => long,
        }
    }
}

impl Deref for KeyBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for KeyBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.long {
            None => self.short.get_mut(..self.len).unwrap_or_default(),
            Some(long) => long,
        }
    }
}

impl AsRef<[u8]> for KeyBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for KeyBuf {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for KeyBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for KeyBuf {}

impl PartialOrd for KeyBuf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyBuf {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other)
    }
}

impl Hash for KeyBuf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for KeyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl FromIterator<u8> for KeyBuf {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        let mut key = Self::new();
        bytes.into_iter().for_each(|byte| key.push(byte));
        key
    }
}

/// A type that can be a key, or a part of one.
///
/// # Contract
/// Encodings sort as the values do, and no encoding is the beginning of
/// another one, so that parts can be put one after the other: a tuple of keys
/// is a key.
///
/// ```
/// use realmstore_core::key::{Key, KeyBuf};
/// use realmstore_core::{SubscriptionId, Timestamp};
///
/// let key = (SubscriptionId::new(7)?, Timestamp::from_nanos(300));
/// let mut bytes = KeyBuf::new();
/// key.encode(&mut bytes);
/// assert_eq!(bytes[..], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 44]);
/// assert_eq!(<(SubscriptionId, Timestamp)>::from_bytes(&bytes)?, key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Key: Sized {
    /// Appends the key's bytes.
    fn encode(&self, out: &mut KeyBuf);

    /// Takes a key off the front of `bytes`.
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError>;

    /// Decodes a key that is all of `bytes`.
    fn from_bytes(mut bytes: &[u8]) -> Result<Self, KeyError> {
        let key = Self::decode(&mut bytes)?;
        match bytes {
            [] => Ok(key),
            rest => Err(KeyError(Wrong::TooLong(rest.len()))),
        }
    }
}

/// Stored bytes that are not a key of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyError(Wrong);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    TooShort,
    TooLong(usize),
    NotText,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Wrong::TooShort => write!(f, "damaged key: it is too short"),
            Wrong::TooLong(rest) => write!(f, "damaged key: it is {rest} bytes too long"),
            Wrong::NotText => write!(f, "damaged key: a part that should be text is not"),
        }
    }
}

impl std::error::Error for KeyError {}

#[inline]
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], KeyError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(KeyError(Wrong::TooShort))?;
    *bytes = rest;
    Ok(*taken)
}

macro_rules! big_endian {
    ($($type:ty: $to:expr, $from:expr;)*) => {$(
        impl Key for $type {
            #[inline]
            fn encode(&self, out: &mut KeyBuf) {
                out.extend_from_slice(&$to(*self).to_be_bytes());
            }

            #[inline]
            fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
                take(bytes).map(|bytes| $from(u64::from_be_bytes(bytes)))
            }
        }
    )*};
}

big_endian! {
    u64: u64::from, u64::from;
    SessionId: SessionId::get, SessionId::from_stored;
    PublicationId: PublicationId::get, PublicationId::from_stored;
    SubscriptionId: SubscriptionId::get, SubscriptionId::from_stored;
    Timestamp: Timestamp::as_nanos, Timestamp::from_nanos;
}

impl Key for u32 {
    fn encode(&self, out: &mut KeyBuf) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        take(bytes).map(Self::from_be_bytes)
    }
}

impl Key for Uuid {
    fn encode(&self, out: &mut KeyBuf) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        take(bytes).map(Self::from_bytes)
    }
}

/// A text ends with the bytes 0, 0, and a NUL inside of it is written as 0,
/// 255: so it sorts as the text does, also when more follows.
impl Key for String {
    fn encode(&self, out: &mut KeyBuf) {
        encode_text(self.as_bytes(), out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Self::from_utf8(decode_text(bytes)?.into_vec()).map_err(|_| KeyError(Wrong::NotText))
    }
}

pub(crate) fn encode_text(text: &[u8], out: &mut KeyBuf) {
    for (number, part) in text.split(|&byte| byte == 0).enumerate() {
        if number > 0 {
            out.extend_from_slice(&[0, 255]);
        }
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&[0, 0]);
}

pub(crate) fn decode_text(bytes: &mut &[u8]) -> Result<SmallVec<[u8; 64]>, KeyError> {
    let mut text = SmallVec::new();
    loop {
        match take(bytes)? {
            [0] => match take(bytes)? {
                [0] => return Ok(text),
                [255] => text.push(0),
                _ => return Err(KeyError(Wrong::NotText)),
            },
            [byte] => text.push(byte),
        }
    }
}

impl Key for () {
    fn encode(&self, _out: &mut KeyBuf) {}

    fn decode(_bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(())
    }
}

macro_rules! tuple {
    ($($part:ident $number:tt),*) => {
        impl<$($part: Key),*> Key for ($($part,)*) {
            fn encode(&self, out: &mut KeyBuf) {
                $(self.$number.encode(out);)*
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
                Ok(($($part::decode(bytes)?,)*))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

/// The smallest byte string that is larger than all that begin with `prefix`:
/// its last byte that is not 255 is increased, and what follows that is cut
/// off. `None` when there is no such byte string (all bytes are 255).
pub fn prefix_end(prefix: &[u8]) -> Option<KeyBuf> {
    let last = prefix.iter().rposition(|&byte| byte != 255)?;
    let mut end = KeyBuf::from_slice(&prefix[..=last]);
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Everything = (String, (SubscriptionId, Timestamp), [u8; 16], u64);

    fn bytes_of(key: &impl Key) -> KeyBuf {
        let mut bytes = KeyBuf::new();
        key.encode(&mut bytes);
        bytes
    }

    /// Texts and numbers that differ late, contain NUL, or are beginnings of each other.
    fn everything() -> impl Strategy<Value = Everything> {
        let number = prop_oneof![any::<u64>(), 0u64..3, Just(u64::MAX)];
        let text = prop_oneof![any::<String>(), "[\\x00\\x01a\u{7f}\u{ff}\u{10ffff}]{0,4}"];
        (
            text,
            number.clone(),
            number.clone(),
            any::<[u8; 16]>(),
            number,
        )
            .prop_map(|(text, a, b, uuid, c)| {
                (
                    text,
                    (SubscriptionId::from_stored(a), Timestamp::from_nanos(b)),
                    uuid,
                    c,
                )
            })
    }

    fn key(
        (text, pair, uuid, number): Everything,
    ) -> (String, (SubscriptionId, Timestamp), Uuid, u64) {
        (text, pair, Uuid::from_bytes(uuid), number)
    }

    proptest! {
        #[test]
        fn bytes_sort_as_keys_do(a in everything(), b in everything()) {
            let (a, b) = (key(a), key(b));
            prop_assert_eq!(bytes_of(&a).cmp(&bytes_of(&b)), a.cmp(&b));
        }

        #[test]
        fn a_key_survives_its_bytes(a in everything()) {
            let a = key(a);
            prop_assert_eq!(<(String, (SubscriptionId, Timestamp), Uuid, u64)>::from_bytes(&bytes_of(&a)).unwrap(), a);
        }

        #[test]
        fn a_key_of_any_length_holds_what_was_appended(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8),
        ) {
            let mut key = KeyBuf::new();
            for part in &parts {
                key.extend_from_slice(part);
            }
            prop_assert_eq!(key.as_slice(), parts.concat());
            prop_assert_eq!(&KeyBuf::from_slice(&parts.concat()), &key);
            prop_assert_eq!(parts.concat().into_iter().collect::<KeyBuf>(), key);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = <(String, Uuid, u64)>::from_bytes(&bytes);
        }

        #[test]
        fn the_end_of_a_prefix_is_the_first_that_does_not_begin_with_it(
            prefix in prop::collection::vec(prop_oneof![Just(255u8), any::<u8>()], 0..5),
            other in prop::collection::vec(prop_oneof![Just(255u8), Just(0), any::<u8>()], 0..7),
        ) {
            let inside = other[..] >= prefix[..] && prefix_end(&prefix).is_none_or(|end| other[..] < end[..]);
            prop_assert_eq!(inside, other.starts_with(&prefix));
        }
    }

    #[test]
    fn a_key_of_another_length_is_an_error() {
        assert_eq!(
            u64::from_bytes(&[0; 7]).unwrap_err().to_string(),
            "damaged key: it is too short"
        );
        assert_eq!(
            u64::from_bytes(&[0; 9]).unwrap_err().to_string(),
            "damaged key: it is 1 bytes too long"
        );
    }
}
