//! Stage 0b, its beginning: waits until a head is there, with one deadline for its first byte and one for the rest.
//!
//! Called by the edge, and by the small servers of `app`. It reads no further than heads are found by `raw_head`, holds no
//! buffer for a connection on which nothing comes, and answers nobody.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::raw_head::{Progress, RawHead, progress};
use crate::config::settings::Limits;
use crate::policy::facts::Fault;
use crate::reason::Reason;

/// What came of waiting for a head.
pub(crate) enum Arrival {
    /// A head with one reading; the bytes may hold more behind it.
    Head,
    /// A head that is refused.
    Refused(Fault),
    /// Nobody is there any more.
    Gone,
}

/// What a connection waits with while nothing comes: one clock and one ear for all its requests, since to set them up for
/// each would cost more than to read it.
pub(crate) struct Lull {
    allowed: Duration,
    over: Pin<Box<Sleep>>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Lull {
    pub(crate) fn new(limits: &Limits, shutdown: &ShutdownWatch) -> Self {
        let allowed = limits.idle_timeout;
        let mut shutdown = shutdown.clone();
        let stop = async move {
            // Whoever would say so is gone: that is the end, too.
            let _ = shutdown.wait_for(|stop| *stop).await;
        };
        Self { allowed, over: Box::pin(tokio::time::sleep(allowed)), stop: Box::pin(stop) }
    }

    /// Waits for the first bytes of a head; whether they came.
    async fn first_bytes(&mut self, io: &mut Stream, bytes: &mut BytesMut) -> bool {
        self.over.as_mut().reset(Instant::now() + self.allowed);
        tokio::select! {
            came = read_some(io, bytes) => came,
            () = &mut self.over => false,
            () = &mut self.stop => false,
        }
    }
}

/// Waits for a head, with one deadline for its first byte and one for the rest.
pub(crate) async fn arrive(
    limits: &Limits,
    io: &mut Stream,
    bytes: &mut BytesMut,
    head: &mut RawHead,
    lull: &mut Lull,
) -> Arrival {
    if bytes.is_empty() && !lull.first_bytes(io, bytes).await {
        return Arrival::Gone;
    }
    let mut seen = 0;
    // Most heads come whole, and then no deadline is needed for the rest.
    if let Some(arrival) = whole_head(limits, bytes, &mut seen, head) {
        return arrival;
    }
    let rest = async {
        while read_some(io, bytes).await {
            if let Some(arrival) = whole_head(limits, bytes, &mut seen, head) {
                return arrival;
            }
        }
        Arrival::Gone
    };
    match tokio::time::timeout(limits.header_timeout, rest).await {
        Ok(arrival) => arrival,
        // Empty lines alone are no request, so nothing is owed an answer.
        Err(_) if bytes.is_empty() => Arrival::Gone,
        Err(_) => Arrival::Refused(Fault {
            reason: Reason::RequestTimeout,
            cause: "the head took longer than header_timeout",
        }),
    }
}

/// Looks for a head in what has come; `None` until there is one, or it is clear that there will be none. What was `seen`
/// already is not looked at again.
fn whole_head(limits: &Limits, bytes: &mut BytesMut, seen: &mut usize, head: &mut RawHead) -> Option<Arrival> {
    // Empty lines in front of a request are no part of it: RFC 9112 section 2.2.
    while *seen == 0 && bytes.starts_with(b"\r\n") {
        bytes.advance(2);
    }
    match progress(bytes, *seen, limits) {
        Err(fault) => {
            // For the log: the request line, if it is there.
            let _ = head.read(bytes, limits);
            Some(Arrival::Refused(fault))
        }
        Ok(Progress::Ends(end)) => Some(match head.read(&bytes[..end], limits) {
            Ok(()) => Arrival::Head,
            Err(fault) => Arrival::Refused(fault),
        }),
        Ok(Progress::More) => {
            *seen = bytes.len().saturating_sub(1);
            None
        }
    }
}

/// Reads what is there, as soon as something is; whether something came. A connection that waits holds no buffer for it.
pub(super) async fn read_some(io: &mut Stream, bytes: &mut BytesMut) -> bool {
    let reading = poll_fn(|task| {
        let mut buffer = [const { MaybeUninit::uninit() }; 4 << 10];
        let mut read = ReadBuf::uninit(&mut buffer);
        let done = ready!(Pin::new(&mut *io).poll_read(task, &mut read));
        bytes.extend_from_slice(read.filled());
        Poll::Ready(done.is_ok() && !read.filled().is_empty())
    });
    reading.await
}
