//! A socket that is written to once a turn.
//!
//! For clients over an HTTP/2 library, which flushes after every larger frame: that
//! would be a system call for each request. Here what it writes is gathered while it is
//! polled, and goes out together when it has nothing more to do: [`Wire::drive`].

use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Gathered bytes beyond this go out at once.
const GATHERED_MAX: usize = 64 << 10;

/// A larger buffer than this is not kept once it is empty.
const KEPT_MAX: usize = 32 << 10;

/// Both ends of one socket: the library's, and that of the task that drives it.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<Gathering>>);

struct Gathering {
    stream: TcpStream,
    gathered: Vec<u8>,
    /// How much of it is out already.
    sent: usize,
}

impl Wire {
    /// A wire over this socket.
    pub fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Mutex::new(Gathering { stream, gathered: Vec::new(), sent: 0 })))
    }

    /// Polls `connection`, which writes to this wire, and sends what it wrote,
    /// until it ends. Fails if the socket does.
    pub async fn drive<F: Future>(&self, connection: F) -> io::Result<F::Output> {
        let mut connection = pin!(connection);
        let output = std::future::poll_fn(|context| {
            let polled = connection.as_mut().poll(context);
            match (polled, self.0.lock().poll_send(context)) {
                (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (Poll::Ready(output), _) => Poll::Ready(Ok(output)),
                (Poll::Pending, _) => Poll::Pending,
            }
        })
        .await?;
        std::future::poll_fn(|context| self.0.lock().poll_send(context)).await?;
        Ok(output)
    }
}

impl Gathering {
    /// Sends everything.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            let rest = &self.gathered[self.sent..];
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.sent = 0;
        if self.gathered.capacity() > KEPT_MAX {
            self.gathered = Vec::new();
        } else {
            self.gathered.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Makes room for more.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.len() < GATHERED_MAX {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(context)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock();
        ready!(wire.poll_room(context))?;
        let taken = bytes.len().min(GATHERED_MAX);
        wire.gathered.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock();
        ready!(wire.poll_room(context))?;
        let before = wire.gathered.len();
        for slice in slices {
            let room = GATHERED_MAX - (wire.gathered.len() - before);
            wire.gathered.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Poll::Ready(Ok(wire.gathered.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The turn's end is the flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        ready!(wire.poll_send(context))?;
        Pin::new(&mut wire.stream).poll_shutdown(context)
    }
}
