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

/// The beginning of a JSON text, with what it lacks to be one: the string that it breaks off in ends there, and so does
/// whatever is open. A value that is none yet is left out.
pub(crate) fn ended(begin: &[u8]) -> Vec<u8> {
    // What closes all that is open, and whether a key is next.
    let (mut open, mut key) = (Vec::new(), false);
    // A string that is open: whether it is a key, and where the escape in it began that is not over.
    let mut string: Option<(bool, Option<usize>)> = None;
    // Behind the last value that is whole, or just begun.
    let mut whole = 0;
    for (at, &byte) in begin.iter().enumerate() {
        match &mut string {
            Some((_, escape @ Some(_))) => {
                let length = at - escape.unwrap_or(at);
                let unicode = begin[at - length + 1] == b'u';
                if !unicode || length == 5 {
                    *escape = None;
                }
            }
            Some((_, escape)) if byte == b'\\' => *escape = Some(at),
            Some((is_key, _)) if byte == b'"' => {
                if !*is_key {
                    whole = at + 1;
                }
                string = None;
            }
            Some(_) => {}
            None => match byte {
                b'"' => string = Some((key, None)),
                b'{' | b'[' => {
                    open.push(if byte == b'{' { b'}' } else { b']' });
                    (key, whole) = (byte == b'{', at + 1);
                }
                b'}' | b']' => {
                    open.pop();
                    whole = at + 1;
                }
                b':' => key = false,
                b',' => key = open.last() == Some(&b'}'),
                _ => {}
            },
        }
    }
    let mut out = match string {
        Some((false, escape)) => {
            let text = &begin[..escape.unwrap_or(begin.len())];
            let cut = std::str::from_utf8(text).err().filter(|error| error.error_len().is_none());
            let mut out = text[..cut.map_or(text.len(), |error| error.valid_up_to())].to_vec();
            out.push(b'"');
            out
        }
        _ => begin[..whole].to_vec(),
    };
    out.extend(open.iter().rev());
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
    fn the_beginning_of_a_text_is_one_when_it_is_ended() {
        let text =
            r#" {"a": "x\n\u00e9\"é狐🦊\\", "b":[1, -2.5e3,true, {"c\"":null},[]], "":{"d":"e"}, "f": "g"} "#;
        let whole: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut last = 0;
        for end in 2..=text.len() {
            let ended = ended(&text.as_bytes()[..end]);
            let read: serde_json::Value = serde_json::from_slice(&ended)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ended)));
            let a = read["a"].as_str().unwrap_or_default();
            assert!(whole["a"].as_str().unwrap().starts_with(a), "{a}");
            // The more there is of it, the more is in it.
            let size = read.to_string().len();
            assert!(size >= last, "{read}");
            last = size;
            if end == text.len() {
                assert_eq!(read, whole);
            }
        }
        // Whatever stands in it, wherever it breaks off.
        for at in 0..text.len() {
            for byte in *b"\\\"{}[],:u\xe2\xff\x00" {
                let mut odd = text.as_bytes().to_vec();
                odd[at] = byte;
                (at..=odd.len()).for_each(|end| drop(super::ended(&odd[..end])));
            }
        }
        for odd in ["", "x", "\"", "]", "}}", "[\"\\", "{\"a\":\"\\u00"] {
            ended(odd.as_bytes());
        }
        assert_eq!(ended(b"{\"a\":\"\xe2\x82"), b"{\"a\":\"\"}");
    }

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
