//! JSON as some servers write it and most clients read it: halves of an emoji in two escapes, `NaN` in log-probabilities,
//! bytes that are no UTF-8. Only the reader sees the mended copy; what a client gets is what came.

/// The same with what a strict parser refuses replaced: lone surrogates by U+FFFD, numbers that are none by `null`.
pub(super) fn mended(data: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(data);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut string) = (0, false);
    while at < bytes.len() {
        let rest = &bytes[at..];
        if string {
            if let Some(unit) = escape(rest) {
                let pair = (0xd800..0xdc00).contains(&unit)
                    && escape(&rest[6..]).is_some_and(|low| (0xdc00..0xe000).contains(&low));
                match unit {
                    _ if pair => {
                        out.extend_from_slice(&rest[..12]);
                        at += 12;
                    }
                    0xd800..0xe000 => {
                        out.extend_from_slice(b"\\ufffd");
                        at += 6;
                    }
                    _ => {
                        out.extend_from_slice(&rest[..6]);
                        at += 6;
                    }
                }
                continue;
            }
            // Control characters must be escaped, and are not by everyone.
            match rest[0] {
                b'\\' if rest.len() > 1 => {
                    out.extend_from_slice(&rest[..2]);
                    at += 2;
                    continue;
                }
                b'"' => string = false,
                0..0x20 => {
                    out.push(b' ');
                    at += 1;
                    continue;
                }
                _ => {}
            }
        } else {
            let none =
                [&b"-Infinity"[..], b"Infinity", b"NaN"].into_iter().find(|name| rest.starts_with(name));
            if let Some(none) = none {
                out.extend_from_slice(b"null");
                at += none.len();
                continue;
            }
            string = rest[0] == b'"';
        }
        out.push(rest[0]);
        at += 1;
    }
    out
}

/// The unit of a `\uXXXX` that begins here.
fn escape(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_strict_parser_refuses_is_replaced_and_nothing_else() {
        for (from, to) in [
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ufffd"}"#),
            (r#"{"a":"\ude00 x"}"#, r#"{"a":"\ufffd x"}"#),
            (r#"{"a":"\ud83d\ude00"}"#, r#"{"a":"\ud83d\ude00"}"#),
            (r#"{"a":"\ud83d\u0041"}"#, r#"{"a":"\ufffd\u0041"}"#),
            (r#"{"a":"\\ud83d"}"#, r#"{"a":"\\ud83d"}"#),
            (r#"{"a":[NaN,-Infinity,Infinity,"NaN"]}"#, r#"{"a":[null,null,null,"NaN"]}"#),
            ("{\"a\":\"x\ty\"}", "{\"a\":\"x y\"}"),
            ("{\"a\":\"\\", "{\"a\":\"\\"),
        ] {
            assert_eq!(String::from_utf8(mended(from.as_bytes())).unwrap(), to);
        }
        assert_eq!(mended(b"\"\xff\""), "\"\u{fffd}\"".as_bytes());
    }
}
