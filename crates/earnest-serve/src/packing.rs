//! Bodies that are packed: answers of upstreams that pack though they were asked not to, as some servers and proxies do,
//! and requests of clients. What is counted, hashed and signed for is what was packed.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use hyper::body::{Body, Frame};
use thiserror::Error;

/// Bytes that are unpacked at a time: each becomes at most some thousand.
const PIECE: usize = 1 << 10;
/// Bytes of a request that are unpacked before there has to be room for more.
const BLOCK: u64 = 64 << 10;

/// How an answer is packed.
pub(crate) enum Packing {
    /// Not at all.
    None,
    /// With gzip.
    Gzip(Box<Gzip>),
}

/// An answer that is being unpacked.
pub(crate) struct Gzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    /// What came and is not unpacked yet.
    packed: Bytes,
    begun: bool,
}

impl Packing {
    /// As the answer's headers say; none where it is packed in a way that nobody asked for and that is not known here.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
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
    pub(crate) fn put(&mut self, bytes: Bytes) -> Option<Bytes> {
        match self {
            Packing::None => Some(bytes),
            Packing::Gzip(gzip) => {
                (gzip.packed, gzip.begun) = (bytes, true);
                None
            }
        }
    }

    /// The next piece of what came; none: more has to come.
    pub(crate) fn next(&mut self) -> Option<io::Result<Bytes>> {
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
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match self {
            // An answer without a body is as whole as can be.
            Packing::Gzip(gzip) if gzip.begun => gzip.decoder.try_finish(),
            _ => Ok(()),
        }
    }
}

/// An answer's body, unpacked as it comes.
pub(crate) struct Unpacked<B> {
    body: B,
    packing: Packing,
    trailers: Option<Frame<Bytes>>,
    over: bool,
}

/// A body broke off, or is not packed as it says.
#[derive(Debug, Error)]
pub(crate) enum Broken<E> {
    /// Below.
    #[error("{0}")]
    Body(E),
    /// It is no gzip.
    #[error("the answer is not packed as it says: {0}")]
    Packed(#[from] io::Error),
}

impl<B> Unpacked<B> {
    /// Of an answer with these headers; none where it is packed as nobody asked for.
    pub(crate) fn of(headers: &HeaderMap, body: B) -> Option<Self> {
        Some(Unpacked { body, packing: Packing::of(headers)?, trailers: None, over: false })
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Unpacked<B> {
    type Data = Bytes;
    type Error = Broken<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.packing.next() {
                return Poll::Ready(Some(Ok(Frame::data(piece?))));
            }
            if this.over {
                return Poll::Ready(this.trailers.take().map(Ok));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)).transpose().map_err(Broken::Body)? {
                None => {
                    this.over = true;
                    this.packing.end()?;
                }
                Some(frame) => match frame.into_data() {
                    Ok(data) => {
                        if let Some(plain) = this.packing.put(data) {
                            return Poll::Ready(Some(Ok(Frame::data(plain))));
                        }
                    }
                    Err(trailers) => {
                        (this.trailers, this.over) = (Some(trailers), true);
                        this.packing.end()?;
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.packing, Packing::None) && self.body.is_end_stream()
    }
}

/// Why a request's body cannot be had.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Only gzip and zstd are understood.
    #[error("the Content-Encoding {0:?} is not understood here: gzip, zstd and identity are")]
    Unknown(String),
    /// It is not what it says.
    #[error("the body is not coded as its Content-Encoding says")]
    Broken,
    /// Beyond what a body may have.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    /// There is no room for it.
    #[error("there is no room for the body")]
    NoRoom,
}

/// A request's body as it is meant, of at most so many bytes. `grow` says whether there is room for so many.
pub(crate) fn unpacked(
    coding: &str,
    body: Bytes,
    most: usize,
    mut grow: impl FnMut(usize) -> bool,
) -> Result<Bytes, Unread> {
    let mut read = |from: &mut dyn Read| {
        let mut plain = Vec::new();
        loop {
            let piece = from.take(BLOCK).read_to_end(&mut plain).map_err(|_| Unread::Broken)?;
            match piece {
                0 => return Ok(plain.into()),
                _ if plain.len() > most => return Err(Unread::TooLong(most)),
                _ if !grow(plain.len()) => return Err(Unread::NoRoom),
                _ => {}
            }
        }
    };
    match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(body),
        // A second member or frame behind the first is nothing that clients send, and a million empty ones take long.
        "gzip" | "x-gzip" => {
            let mut member = flate2::bufread::GzDecoder::new(&body[..]);
            let plain = read(&mut member)?;
            if member.get_ref().is_empty() { Ok(plain) } else { Err(Unread::Broken) }
        }
        "zstd" => {
            let mut frame = ruzstd::decoding::StreamingDecoder::new(&body[..]).map_err(|_| Unread::Broken)?;
            let plain = read(&mut frame)?;
            if frame.get_ref().is_empty() { Ok(plain) } else { Err(Unread::Broken) }
        }
        other => Err(Unread::Unknown(other.chars().filter(|c| c.is_ascii_graphic()).take(40).collect())),
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
    fn in_pieces(bytes: &[u8], size: usize) -> io::Result<Vec<u8>> {
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
            assert_eq!(in_pieces(&bytes, size).unwrap(), text.as_bytes());
        }
        // Two in a row are one.
        let twice = [packed(b"one, "), packed(b"two")].concat();
        assert_eq!(in_pieces(&twice, twice.len()).unwrap(), b"one, two");
        assert!(in_pieces(&bytes[..bytes.len() / 2], 100).is_err(), "half of it");
        assert!(in_pieces(&bytes[..bytes.len() - 1], 100).is_err(), "without its end");
        assert_eq!(in_pieces(b"", 100).unwrap(), b"", "nothing at all");
        assert!(in_pieces(b"no gzip at all", 100).is_err());
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

    #[test]
    fn a_small_body_that_would_be_a_large_one_is_refused() {
        let bomb = packed(&vec![b' '; 1 << 20]);
        assert_eq!(unpacked("gzip", bomb.clone().into(), 1 << 16, |_| true), Err(Unread::TooLong(1 << 16)));
        assert_eq!(unpacked("gzip", bomb.into(), 1 << 20, |_| true).unwrap().len(), 1 << 20);
        assert_eq!(unpacked("gzip", Bytes::from_static(b"x"), 9, |_| true), Err(Unread::Broken));
        assert_eq!(unpacked("zstd", Bytes::from_static(b"x"), 9, |_| true), Err(Unread::Broken));
        assert!(matches!(unpacked("br", Bytes::new(), 9, |_| true), Err(Unread::Unknown(_))));
        assert_eq!(unpacked("identity", Bytes::from_static(b"x"), 9, |_| true), Ok(Bytes::from_static(b"x")));
        let little = packed(&vec![b' '; 1 << 20]);
        assert_eq!(unpacked("gzip", little.into(), 1 << 20, |bytes| bytes <= 1 << 17), Err(Unread::NoRoom));
        let twice = [packed(b"a"), packed(b"")].concat();
        assert_eq!(unpacked("gzip", twice.into(), 9, |_| true), Err(Unread::Broken));
        // `zstd` of "hello", as its own tool makes it.
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x05, 0x29, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o'];
        assert_eq!(unpacked("zstd", zstd.to_vec().into(), 9, |_| true), Ok(Bytes::from_static(b"hello")));
    }
}
