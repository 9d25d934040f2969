//! A body of known length in pieces: what is large is written as it lies in memory, a little at a time, as fast as the client reads.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};

/// Bytes handed over at once. Actix copies each into its buffer, which stays as small as this.
const AT_ONCE: usize = 64 * 1024;

/// The pieces that are left.
pub(super) struct Pieces<const N: usize> {
    pieces: [Bytes; N],
    next: usize,
}

impl<const N: usize> Pieces<N> {
    pub(super) fn new(pieces: [Bytes; N]) -> Self {
        Self { pieces, next: 0 }
    }
}

impl<const N: usize> MessageBody for Pieces<N> {
    type Error = Infallible;

    /// What is left.
    fn size(&self) -> BodySize {
        BodySize::Sized(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = &mut *self;
        while let Some(piece) = this.pieces.get_mut(this.next) {
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(piece.split_to(piece.len().min(AT_ONCE)))));
            }
            this.next += 1;
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn pieces_come_whole_and_in_order() {
        let large: String = ('a'..='z').cycle().take(AT_ONCE * 2 + 1).collect();
        let body = Pieces::new(["{".into(), Bytes::new(), large.clone().into(), "}".into()]);
        assert_eq!(body.size(), BodySize::Sized(large.len() as u64 + 2));
        assert_eq!(actix_web::body::to_bytes(body).await, Ok(Bytes::from(format!("{{{large}}}"))));
    }
}
