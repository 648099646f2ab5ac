//! What a request is called elsewhere. Some upstreams take only a UUID for a request's id, and traces are joined by what
//! the W3C writes; anything else is kept from them.

use sha2::{Digest, Sha256};

/// The id that an upstream is told for the gateway's: always the same, and a UUID (version 8, RFC 9562) of its SHA-256.
pub fn uuid_of(id: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(id)[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = alloy_primitives::hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// Whether it is a `traceparent` of the W3C's version 00: of others nobody knows what follows.
pub fn is_traceparent(text: &[u8]) -> bool {
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'-').collect();
    let [b"00", trace, span, flags] = parts[..] else { return false };
    let hex = |part: &[u8], length: usize| {
        part.len() == length && part.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    hex(trace, 32) && hex(span, 16) && hex(flags, 2) && !zero(trace) && !zero(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_uuid() {
        // As Python says it: uuid.UUID(bytes=sha256(b"req_1").digest()[:16]), with the bits of version and variant.
        assert_eq!(uuid_of("req_1"), "dfe7be6c-ee3b-89ca-a362-8de710b914dd");
        for number in 0..1_000 {
            let uuid = uuid_of(&number.to_string());
            let shape: String = uuid.chars().map(|c| if c == '-' { '-' } else { 'x' }).collect();
            assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
            assert!(uuid.as_bytes()[14] == b'8' && b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
            assert_ne!(uuid, uuid_of(&(number + 1).to_string()));
        }
    }

    #[test]
    fn a_traceparent_is_as_the_w3c_writes_it() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good.as_bytes()));
        for (from, to) in [
            ("00-", "01-"),
            ("00-", "ff-"),
            ("0af7", "0AF7"),
            ("0af7", "0ag7"),
            ("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            ("b7ad6b7169203331", "0000000000000000"),
            ("-01", "-1"),
            ("-01", "-01-"),
            ("-01", ""),
            ("-b7", "b-7"),
            ("0af7", ""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(!is_traceparent(bad.as_bytes()), "{bad}");
        }
        assert!(!is_traceparent(b"") && !is_traceparent(&[b'-'; 55]));
    }
}
