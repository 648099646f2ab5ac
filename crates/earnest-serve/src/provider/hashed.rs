//! The SHA-256 of a body as it passes: what a provider signs for is held against the bytes that came, not against what
//! was read out of them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use alloy_primitives::B256;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};

/// A body whose data is hashed on its way.
pub struct Hashed<B> {
    body: B,
    hash: Hash,
}

/// The hash of what has passed.
#[derive(Clone, Default)]
pub struct Hash(Arc<Mutex<Sha256>>);

impl Hash {
    /// Of all that passed so far.
    pub fn so_far(&self) -> B256 {
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        B256::from_slice(&hash.finalize())
    }
}

impl<B> Hashed<B> {
    /// Over a body; the hash can be asked for at any time.
    pub fn new(body: B) -> (Self, Hash) {
        let hash = Hash::default();
        (Hashed { body, hash: hash.clone() }, hash)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Hashed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.hash.0.lock().unwrap_or_else(PoisonError::into_inner).update(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    #[tokio::test]
    async fn the_hash_is_of_the_data_and_of_nothing_else() {
        let pieces = ["a ", "", "b"].map(|piece| Frame::data(Bytes::from(piece)));
        let trailers =
            [Frame::trailers(HeaderMap::from_iter([("x-more".parse().unwrap(), "c".parse().unwrap())]))];
        let frames = pieces.into_iter().chain(trailers).map(Ok::<_, std::convert::Infallible>);
        let (mut body, hash) = Hashed::new(StreamBody::new(futures_util::stream::iter(frames)));
        assert_eq!(hash.so_far(), B256::from_slice(&Sha256::digest("")));
        body.frame().await.unwrap().unwrap();
        assert_eq!(hash.so_far(), B256::from_slice(&Sha256::digest("a ")));
        let rest = body.collect().await.unwrap();
        assert!(rest.trailers().is_some());
        assert_eq!(hash.so_far(), B256::from_slice(&Sha256::digest("a b")));
    }
}
