//! Lines of any length, in bounded memory.

use std::io::{BufRead, BufReader, Read, Result};

/// A line, lent until the next is asked for.
pub(super) struct Line<'l> {
    /// Its number; the first is 1.
    pub(super) number: u64,
    /// What it says, without its end; `None` when it is too long.
    pub(super) text: Option<&'l [u8]>,
    /// The bytes that were read up to its end.
    pub(super) end: u64,
}

/// The lines of an input, one at a time.
pub(super) struct Lines<I> {
    input: BufReader<I>,
    longest: usize,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<I: Read> Lines<I> {
    /// The lines of `input`, of which those that have more than `longest` bytes are not kept.
    pub(super) fn new(input: BufReader<I>, longest: usize) -> Self {
        Self {
            input,
            longest,
            line: Vec::new(),
            number: 0,
            bytes: 0,
        }
    }

    /// Whether the next line is here already, so that nobody need be waited for.
    pub(super) fn has_next(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The next line, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>> {
        self.line.clear();
        let limit = (self.longest as u64).saturating_add(1);
        let mut read = self
            .input
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut self.line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        let is_whole = self.line.pop_if(|last| *last == b'\n').is_some();
        let is_too_long = self.line.len() > self.longest;
        if is_too_long && !is_whole {
            read += self.input.skip_until(b'\n')? as u64;
        }
        self.number += 1;
        self.bytes += read;
        Ok(Some(Line {
            number: self.number,
            text: (!is_too_long).then_some(&self.line),
            end: self.bytes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], longest: usize) -> (Vec<Option<Vec<u8>>>, u64, usize) {
        // A reader that has little at a time.
        let input = BufReader::with_capacity(3, input);
        let mut lines = Lines::new(input, longest);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line.text.map(<[u8]>::to_vec));
            assert_eq!(line.number, all.len() as u64);
        }
        (all, lines.bytes, lines.line.capacity())
    }

    #[test]
    fn each_line_comes_without_its_end() {
        for (input, expected) in [
            (&b""[..], &[][..]),
            (b"a", &["a"]),
            (b"a\n", &["a"]),
            (b"\n\nabcd\nef", &["", "", "abcd", "ef"]),
        ] {
            let (lines, bytes, _) = all(input, 4);
            let expected: Vec<_> = expected
                .iter()
                .map(|line| Some(line.as_bytes().to_vec()))
                .collect();
            assert_eq!((lines, bytes), (expected, input.len() as u64));
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_not_kept() {
        let long = vec![b'x'; 1 << 20];
        for longer in [&b"12345"[..], b"123456", &long] {
            let input = [b"1234\n", longer, b"\nab\n", longer].concat();
            let (lines, bytes, capacity) = all(&input, 4);
            let kept: Vec<_> = lines.iter().map(Option::as_deref).collect();
            assert_eq!(kept, [Some(&b"1234"[..]), None, Some(b"ab"), None]);
            assert_eq!(bytes, input.len() as u64);
            assert!(capacity < 100, "{capacity}");
        }
    }
}
