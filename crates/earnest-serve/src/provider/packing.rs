//! Answers that an upstream packs though it was asked not to: some servers and proxies pack whatever they send. What is
//! counted, hashed and signed for is what was packed.

use std::io::{self, Write};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;

/// Bytes that are unpacked at a time: each becomes at most some thousand.
const PIECE: usize = 1 << 10;

/// How an answer is packed.
pub(super) enum Packing {
    /// Not at all.
    None,
    /// With gzip.
    Gzip(Box<Gzip>),
}

/// An answer that is being unpacked.
pub(super) struct Gzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    /// What came and is not unpacked yet.
    packed: Bytes,
    begun: bool,
}

impl Packing {
    /// As the answer's headers say; none where it is packed in a way that nobody asked for and that is not known here.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let codings: Vec<String> = codings
            .flat_map(|value| value.to_str().unwrap_or("?").split(','))
            .map(|coding| coding.trim().to_ascii_lowercase())
            .filter(|coding| !coding.is_empty() && coding != "identity")
            .collect();
        match codings.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Some(Packing::None),
            ["gzip" | "x-gzip"] => Some(Packing::Gzip(Box::new(Gzip {
                decoder: MultiGzDecoder::new(Vec::new()),
                packed: Bytes::new(),
                begun: false,
            }))),
            _ => None,
        }
    }

    /// Bytes as they came: what is not packed comes back at once, the rest piece by piece.
    pub(super) fn put(&mut self, bytes: Bytes) -> Option<Bytes> {
        match self {
            Packing::None => Some(bytes),
            Packing::Gzip(gzip) => {
                (gzip.packed, gzip.begun) = (bytes, true);
                None
            }
        }
    }

    /// The next piece of what came; none: more has to come.
    pub(super) fn next(&mut self) -> Option<io::Result<Bytes>> {
        let Packing::Gzip(gzip) = self else { return None };
        let Gzip { decoder, packed, .. } = &mut **gzip;
        while !packed.is_empty() {
            let piece = packed.split_to(packed.len().min(PIECE));
            // Flushed, for the events of a stream are not to wait for each other.
            if let Err(error) = decoder.write_all(&piece).and_then(|()| decoder.flush()) {
                return Some(Err(error));
            }
            let plain = std::mem::take(decoder.get_mut());
            if !plain.is_empty() {
                return Some(Ok(plain.into()));
            }
        }
        None
    }

    /// Nothing more comes: whether it ended where it should.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match self {
            // An answer without a body is as whole as can be.
            Packing::Gzip(gzip) if gzip.begun => gzip.decoder.try_finish(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn gzip() -> Packing {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, "GZip".parse().unwrap())]);
        Packing::of(&headers).unwrap()
    }

    /// In pieces of so many bytes.
    fn unpacked(bytes: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let (mut packing, mut plain) = (gzip(), Vec::new());
        for piece in bytes.chunks(size) {
            assert!(packing.put(Bytes::copy_from_slice(piece)).is_none());
            while let Some(piece) = packing.next() {
                plain.extend_from_slice(&piece?);
            }
        }
        packing.end().map(|()| plain)
    }

    #[test]
    fn what_was_packed_comes_out_whatever_the_pieces() {
        let text = "data: {\"choices\":[]}\n\n".repeat(1_000);
        let bytes = packed(text.as_bytes());
        for size in [1, 7, 100, bytes.len()] {
            assert_eq!(unpacked(&bytes, size).unwrap(), text.as_bytes());
        }
        // Two in a row are one.
        let twice = [packed(b"one, "), packed(b"two")].concat();
        assert_eq!(unpacked(&twice, twice.len()).unwrap(), b"one, two");
        assert!(unpacked(&bytes[..bytes.len() / 2], 100).is_err(), "half of it");
        assert!(unpacked(&bytes[..bytes.len() - 1], 100).is_err(), "without its end");
        assert_eq!(unpacked(b"", 100).unwrap(), b"", "nothing at all");
        assert!(unpacked(b"no gzip at all", 100).is_err());
    }

    #[test]
    fn each_event_comes_out_as_it_came_in() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut packing = gzip();
        for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            packing.put(std::mem::take(encoder.get_mut()).into());
            assert_eq!(packing.next().unwrap().unwrap(), event);
            assert!(packing.next().is_none());
        }
    }

    #[test]
    fn a_little_does_not_become_much_at_once() {
        let bytes = packed(&vec![0; 64 << 20]);
        let mut packing = gzip();
        packing.put(bytes.into());
        let mut all = 0;
        while let Some(piece) = packing.next() {
            let piece = piece.unwrap();
            assert!(piece.len() < 2 << 20, "{} bytes at once", piece.len());
            all += piece.len();
        }
        assert_eq!(all, 64 << 20);
    }

    #[test]
    fn what_is_packed_otherwise_is_not_read() {
        let of = |coding: &str| {
            Packing::of(&HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().unwrap())]))
        };
        assert!(matches!(of("identity"), Some(Packing::None)) && matches!(of(""), Some(Packing::None)));
        assert!(of("br").is_none() && of("gzip, gzip").is_none() && of("deflate").is_none());
    }
}
