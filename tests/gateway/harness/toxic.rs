//! A TCP proxy in front of Redis, or of an upstream, that misbehaves on command: slow, silent, cut, reset, refusing. Used by
//! the tests of outages and cancellation. It knows nothing of RESP, and it loses no byte but where a mood says so.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::harness::ports;

/// What is done to every connection, those that are open included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    /// Nothing.
    Pass,
    /// Every reply arrives so much later.
    Delay(Duration),
    /// Connections stay open and are taken, but no byte passes. What was sent arrives when the hole is gone, as it does
    /// with lost packets.
    Hole,
    /// Open connections are reset and nobody listens.
    Refuse,
    /// Connections are taken and reset at once.
    Slam,
    /// So many bytes of replies pass on each connection, then it is reset.
    CutAfter(usize),
}

/// The proxy; it ends with this value.
pub(crate) struct Toxic {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    /// With its turn: one more for each change.
    mood: Mutex<(Mood, u64)>,
    changed: Condvar,
    taken: Mutex<Vec<Instant>>,
    open: Mutex<Vec<Weak<Pair>>>,
    stopping: AtomicBool,
}

/// The two ends of one connection. They are closed when the last thread lets go of them, so that a reset is one.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    done: AtomicBool,
}

/// A block with the moment from which it may be passed on.
type Due = (Instant, Vec<u8>);

impl Toxic {
    /// In front of a server, passing everything.
    pub(crate) fn before(target: SocketAddr) -> Self {
        let address = ports::free();
        let shared = Arc::new(Shared {
            target,
            mood: Mutex::new((Mood::Pass, 0)),
            changed: Condvar::new(),
            taken: Mutex::default(),
            open: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let listener = listen(address);
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept_forever(address, listener)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The url for `[store]`.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Changes what is done to the connections.
    pub(crate) fn set(&self, mood: Mood) {
        {
            let mut now = lock(&self.shared.mood);
            *now = (mood, now.1 + 1);
        }
        self.shared.changed.notify_all();
        if matches!(mood, Mood::Refuse | Mood::Slam) {
            self.shared.reset_all();
        }
    }

    /// Ends every fault.
    pub(crate) fn heal(&self) {
        self.set(Mood::Pass);
    }

    /// When connections were taken, since the start or since [`Toxic::forget_taken`].
    pub(crate) fn taken(&self) -> Vec<Instant> {
        lock(&self.shared.taken).clone()
    }

    /// Counts connections from here on.
    pub(crate) fn forget_taken(&self) {
        lock(&self.shared.taken).clear();
    }
}

impl Drop for Toxic {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.changed.notify_all();
        self.shared.reset_all();
        if let Some(thread) = self.accepting.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn accept_forever(self: &Arc<Self>, address: SocketAddr, listener: TcpListener) {
        let mut listener = Some(listener);
        while !self.stopping.load(Ordering::Acquire) {
            if lock(&self.mood).0 == Mood::Refuse {
                listener = None;
                thread::sleep(TICK);
                continue;
            }
            match listener.get_or_insert_with(|| listen(address)).accept() {
                Ok((client, _)) => {
                    lock(&self.taken).push(Instant::now());
                    if matches!(lock(&self.mood).0, Mood::Slam | Mood::Refuse) {
                        linger_not(&client);
                    } else {
                        self.join(client);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
                Err(error) => panic!("accepting on {address}: {error}"),
            }
        }
    }

    fn join(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else {
            linger_not(&client);
            return;
        };
        for stream in [&client, &server] {
            stream.set_nonblocking(false).expect("a blocking stream");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            stream.set_read_timeout(Some(LOOK_AROUND)).expect("a read timeout");
        }
        let pair = Arc::new(Pair { client, server, done: AtomicBool::new(false) });
        let mut open = lock(&self.open);
        open.retain(|pair| pair.strong_count() > 0);
        open.push(Arc::downgrade(&pair));
        drop(open);
        for replies in [false, true] {
            let (sender, receiver) = channel();
            let (shared, own) = (Arc::clone(self), Arc::clone(&pair));
            thread::spawn(move || shared.take_in(&own, replies, &sender));
            let (shared, own) = (Arc::clone(self), Arc::clone(&pair));
            thread::spawn(move || shared.pass_on(&own, replies, &receiver));
        }
    }

    fn take_in(&self, pair: &Pair, replies: bool, sender: &Sender<Due>) {
        let mut from = if replies { &pair.server } else { &pair.client };
        let mut block = [0; 16 * 1024];
        while !pair.done.load(Ordering::Acquire) {
            match from.read(&mut block) {
                Ok(0) => return,
                Ok(length) => {
                    let delay = match lock(&self.mood).0 {
                        Mood::Delay(delay) if replies => delay,
                        Mood::Delay(_) | Mood::Pass | Mood::Hole | Mood::Refuse | Mood::Slam | Mood::CutAfter(_) => {
                            Duration::ZERO
                        }
                    };
                    if sender.send((Instant::now() + delay, block[..length].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(_) => return,
            }
        }
    }

    fn pass_on(&self, pair: &Pair, replies: bool, receiver: &Receiver<Due>) {
        let mut to = if replies { &pair.client } else { &pair.server };
        let (mut passed, mut turn) = (0, 0);
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (mood, now) = self.out_of_the_hole(pair);
            if pair.done.load(Ordering::Acquire) {
                break;
            }
            if now != turn {
                (passed, turn) = (0, now);
            }
            passed += bytes.len();
            let excess = match mood {
                Mood::CutAfter(limit) if replies => passed.saturating_sub(limit).min(bytes.len()),
                Mood::CutAfter(_) | Mood::Pass | Mood::Delay(_) | Mood::Hole | Mood::Refuse | Mood::Slam => 0,
            };
            if to.write_all(&bytes[..bytes.len() - excess]).is_err() {
                break;
            }
            if excess > 0 {
                pair.reset();
                break;
            }
        }
        pair.done.store(true, Ordering::Release);
    }

    /// Waits until bytes may pass; says under which mood.
    fn out_of_the_hole(&self, pair: &Pair) -> (Mood, u64) {
        let mut mood = lock(&self.mood);
        while mood.0 == Mood::Hole && !pair.done.load(Ordering::Acquire) && !self.stopping.load(Ordering::Acquire) {
            let waited = self.changed.wait_timeout(mood, LOOK_AROUND);
            mood = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *mood
    }

    fn reset_all(&self) {
        for pair in lock(&self.open).drain(..).filter_map(|pair| pair.upgrade()) {
            pair.reset();
        }
    }
}

impl Pair {
    fn reset(&self) {
        linger_not(&self.client);
        linger_not(&self.server);
        self.done.store(true, Ordering::Release);
    }
}

/// Makes the close of a socket a reset.
fn linger_not(stream: &TcpStream) {
    // A stream whose peer is gone already cannot be told.
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

fn listen(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("listening on {address}: {error}"));
    listener.set_nonblocking(true).expect("a listener that does not block");
    listener
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between two looks for a new connection.
const TICK: Duration = Duration::from_millis(2);

/// Between two looks whether a connection is over.
const LOOK_AROUND: Duration = Duration::from_millis(20);
