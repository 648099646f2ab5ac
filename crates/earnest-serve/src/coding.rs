//! Bodies that came compressed. Upstreams are asked not to; one that does all the same is understood where it is gzip.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::GzDecoder;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;

/// A body as it is meant.
pub struct Decoded<B> {
    body: B,
    decoder: Option<GzDecoder<Vec<u8>>>,
    trailers: Option<Frame<Bytes>>,
    over: bool,
}

/// A body broke off, or is not coded as it says.
#[derive(Debug, Error)]
pub enum Broken<E> {
    /// Below.
    #[error("{0}")]
    Body(E),
    /// It is no gzip.
    #[error("the answer is not gzip as it says: {0}")]
    Coding(std::io::Error),
}

impl<B> Decoded<B> {
    /// Of an answer with these headers; the error is a coding that nobody asked for.
    pub fn of(headers: &HeaderMap, body: B) -> Result<Self, String> {
        let coding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?").trim());
        let decoder = match coding.map(str::to_ascii_lowercase).as_deref() {
            None | Some("identity" | "") => None,
            Some("gzip" | "x-gzip") => Some(GzDecoder::new(Vec::new())),
            Some(other) => return Err(format!("{:?}", other.chars().take(40).collect::<String>())),
        };
        Ok(Decoded { body, decoder, trailers: None, over: false })
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Decoded<B> {
    type Data = Bytes;
    type Error = Broken<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if this.over {
                return Poll::Ready(this.trailers.take().map(Ok));
            }
            let frame = ready!(Pin::new(&mut this.body).poll_frame(context)).transpose().map_err(Broken::Body)?;
            let Some(decoder) = &mut this.decoder else { return Poll::Ready(frame.map(Ok)) };
            match frame.map(Frame::into_data) {
                Some(Ok(data)) => decoder.write_all(&data).map_err(Broken::Coding)?,
                Some(Err(trailers)) => {
                    (this.trailers, this.over) = (Some(trailers), true);
                    decoder.try_finish().map_err(Broken::Coding)?;
                }
                None => {
                    this.over = true;
                    decoder.try_finish().map_err(Broken::Coding)?;
                }
            }
            let plain = std::mem::take(decoder.get_mut());
            if !plain.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(plain.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.decoder.is_none() { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// Why a request's body cannot be had.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Undecoded {
    /// Only gzip and zstd are understood.
    #[error("the Content-Encoding {0:?} is not understood here: gzip, zstd and identity are")]
    Unknown(String),
    /// It is not what it says.
    #[error("the body is not coded as its Content-Encoding says")]
    Broken,
    /// Beyond what a body may have.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
}

/// A request's body as it is meant, of at most so many bytes.
pub fn decoded(coding: &str, body: Bytes, most: usize) -> Result<Bytes, Undecoded> {
    use std::io::Read;
    let read = |from: &mut dyn Read| {
        let mut plain = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        from.take(limit).read_to_end(&mut plain).map_err(|_| Undecoded::Broken)?;
        if plain.len() > most { Err(Undecoded::TooLong(most)) } else { Ok(plain.into()) }
    };
    match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => read(&mut flate2::read::MultiGzDecoder::new(&body[..])),
        "zstd" => {
            let mut frame = ruzstd::decoding::StreamingDecoder::new(&body[..]).map_err(|_| Undecoded::Broken)?;
            read(&mut frame)
        }
        other => Err(Undecoded::Unknown(other.chars().filter(|c| c.is_ascii_graphic()).take(40).collect())),
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn zipped(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_unzipped_wherever_its_pieces_end() {
        let plain = b"data: {\"choices\":[]}\n\n".repeat(50);
        let zip = zipped(&plain);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "GZIP".parse().unwrap());
        for size in [1, 7, 1_000] {
            let pieces: Vec<Result<_, std::convert::Infallible>> =
                zip.chunks(size).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
            let body = Decoded::of(&headers, StreamBody::new(futures_util::stream::iter(pieces))).unwrap();
            assert_eq!(body.collect().await.unwrap().to_bytes(), plain);
        }
        headers.insert(header::CONTENT_ENCODING, "br".parse().unwrap());
        assert!(Decoded::of(&headers, ()).is_err());
    }

    #[test]
    fn a_small_body_that_would_be_a_large_one_is_refused() {
        let bomb = zipped(&vec![b' '; 1 << 20]);
        assert_eq!(decoded("gzip", bomb.clone().into(), 1 << 16), Err(Undecoded::TooLong(1 << 16)));
        assert_eq!(decoded("gzip", bomb.into(), 1 << 20).unwrap().len(), 1 << 20);
        assert_eq!(decoded("gzip", Bytes::from_static(b"x"), 9), Err(Undecoded::Broken));
        assert_eq!(decoded("zstd", Bytes::from_static(b"x"), 9), Err(Undecoded::Broken));
        assert!(matches!(decoded("br", Bytes::new(), 9), Err(Undecoded::Unknown(_))));
        assert_eq!(decoded("identity", Bytes::from_static(b"x"), 9), Ok(Bytes::from_static(b"x")));
    }
}
