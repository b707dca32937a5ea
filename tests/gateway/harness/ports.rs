//! Ports that no other test takes. The gateway cannot tell which port it got for port 0, so it is given one from below
//! the range that the kernel hands out on its own: an outgoing connection can never sit on it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback address that nobody listens on now and that this process gives out once.
pub(crate) fn free() -> SocketAddr {
    let start = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).expect("below COUNT");
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = loopback(FIRST + (start + step) % COUNT);
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// An address that refuses every connection: given out once, and nobody listens on it. A port from the kernel's own
/// range would not do, since a client that happens to leave from it connects to itself.
pub(crate) fn refusing() -> SocketAddr {
    free()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
