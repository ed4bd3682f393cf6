//! A connection's stream as HTTP is spoken on it: what was read too early is read again.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// What a client begins with that speaks HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream, and bytes that were read from it and are still to be understood.
#[derive(Debug)]
pub(super) struct Wire<S> {
    unread: Bytes,
    stream: TokioIo<S>,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    Http1,
    Http2,
    /// It left without a word.
    Gone,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { unread: Bytes::new(), stream: TokioIo::new(stream) }
    }

    /// Puts back what was read and not understood.
    pub(super) fn unread(self, bytes: &[u8]) -> Self {
        Self { unread: [bytes, &self.unread].concat().into(), ..self }
    }

    /// Waits until the client says something, and tells by that what it speaks.
    pub(super) async fn begun(&mut self) -> io::Result<Begun> {
        if !self.unread.is_empty() {
            return Ok(Begun::Http1);
        }
        let mut first = [0; PREFACE.len()];
        let mut first = ReadBuf::new(&mut first);
        loop {
            let before = first.filled().len();
            poll_fn(|context| Pin::new(self.stream.inner_mut()).poll_read(context, &mut first)).await?;
            let filled = first.filled();
            if filled.len() == before || filled.len() == PREFACE.len() || !PREFACE.starts_with(filled) {
                break;
            }
        }
        self.unread = Bytes::copy_from_slice(first.filled());
        Ok(match first.filled() {
            [] => Begun::Gone,
            first if first == PREFACE => Begun::Http2,
            _ => Begun::Http1,
        })
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Says goodbye, as far as that needs no waiting; TLS has a word for it.
    pub(super) async fn close(mut self) {
        let goodbye = poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context));
        // Whoever does not hear it will see the end.
        let _ = timeout(Duration::ZERO, goodbye).await;
    }
}

impl<S: AsyncRead + Unpin> Read for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let len = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What a client is taken for that writes `text` in pieces of `size` bytes, and what is read after that.
    async fn talk(text: &[u8], size: usize) -> (Begun, Vec<u8>) {
        let (near, mut far) = duplex(1024);
        let mut wire = Wire::new(near);
        let write = async {
            for piece in text.chunks(size) {
                far.write_all(piece).await.expect("a write");
                tokio::task::yield_now().await;
            }
            drop(far);
        };
        let read = async {
            let begun = wire.begun().await.expect("bytes");
            let mut rest = Vec::new();
            TokioIo::new(wire).read_to_end(&mut rest).await.expect("the rest");
            (begun, rest)
        };
        tokio::join!(write, read).1
    }

    #[tokio::test]
    async fn tells_what_a_client_speaks_and_loses_nothing() {
        let check = async |text: &[u8], begun: Begun| {
            for size in 1..=text.len().max(1) {
                assert_eq!(talk(text, size).await, (begun, text.to_vec()), "{size}");
            }
        };
        check(b"", Begun::Gone).await;
        check(b"G", Begun::Http1).await;
        check(b"GET / HTTP/1.1\r\n\r\n", Begun::Http1).await;
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Begun::Http1).await;
        check(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Begun::Http1).await;
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Begun::Http2).await;
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes", Begun::Http2).await;
    }

    #[tokio::test]
    async fn what_was_not_understood_is_read_again() {
        let (near, _far) = duplex(1);
        let mut wire = Wire::new(near).unread(b"ET").unread(b"G");
        assert_eq!(wire.begun().await.expect("bytes"), Begun::Http1);
        let mut read = [0; 3];
        TokioIo::new(wire).read_exact(&mut read).await.expect("a read");
        assert_eq!(&read, b"GET");
    }
}
