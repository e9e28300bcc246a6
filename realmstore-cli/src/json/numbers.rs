//! Integers that a reader of JSON would round.

/// The first integer of a line of JSON that is none of 64 bits. `serde_json`
/// reads such a one as a float, and does not say so.
pub(crate) fn too_wide_integer(line: &[u8]) -> Option<&str> {
    let mut rest = line;
    while let Some(&first) = rest.first() {
        let len = match first {
            b'"' => text_len(rest),
            b'-' | b'0'..=b'9' => {
                let number =
                    |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let len = rest.iter().take_while(|byte| number(byte)).count();
                let token = rest.get(..len).unwrap_or_default();
                if is_too_wide(token) {
                    return std::str::from_utf8(token).ok();
                }
                len
            }
            _ => 1,
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    None
}

/// The length of the text that a line begins with, its quotes included.
fn text_len(line: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = line.iter().skip(1).position(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(line.len(), |end| end + 2)
}

fn is_too_wide(token: &[u8]) -> bool {
    /// No number of fewer digits is too wide.
    const SURE: usize = 18;
    if token.len() <= SURE {
        return false;
    }
    let Ok(text) = std::str::from_utf8(token) else {
        return false;
    };
    let (digits, sign) = (text.trim_start_matches('-'), text.starts_with('-'));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    if sign {
        text.parse::<i64>().is_err()
    } else {
        text.parse::<u64>().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_past_64_bits_is_found_wherever_it_stands() {
        for (line, found) in [
            (
                r#"{"a":18446744073709551615,"b":-9223372036854775808}"#,
                None,
            ),
            (
                r#"{"a":[18446744073709551616]}"#,
                Some("18446744073709551616"),
            ),
            (
                r#"{"a":-9223372036854775809}"#,
                Some("-9223372036854775809"),
            ),
            (
                r#"["18446744073709551616","\"18446744073709551616","\\"]"#,
                None,
            ),
            (
                r#"["\\",18446744073709551616]"#,
                Some("18446744073709551616"),
            ),
            (
                "[18446744073709551616.0,1.8446744073709552e19,18446744073709551616e0]",
                None,
            ),
            (r#""no end 18446744073709551616"#, None),
            ("", None),
        ] {
            assert_eq!(too_wide_integer(line.as_bytes()), found, "{line}");
        }
    }
}
