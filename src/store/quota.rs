//! What `limits` and the store say to each other: buckets of quotas that all gateways share, and how many gateways that
//! are. Both backends compute the same; what a quota is, and whose, is not known here.

use super::{Store, StoreError};

/// A bucket of a shared quota.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// The realm's name: what is charged together lies in one slot of a cluster.
    pub realm: &'a str,
    /// Tells the bucket from others of the realm.
    pub key: &'a str,
    /// Nanoseconds until another cell is there; at least 1.
    pub interval: u64,
    /// The most cells at once; at least 1. All of them take at most 52 days to come back.
    pub burst: u32,
}

impl Bucket<'_> {
    /// Nanoseconds until an empty bucket is full.
    pub(super) const fn capacity(&self) -> u64 {
        self.interval.saturating_mul(self.burst as u64)
    }

    /// Nanoseconds until so many cells, as far as the bucket holds them, are there again.
    pub(super) fn debt_of(&self, cells: u32) -> u64 {
        self.interval.saturating_mul(cells.min(self.burst).into())
    }

    /// Whether both backends count it exactly.
    pub(super) fn is_countable(&self) -> bool {
        self.interval >= 1 && self.burst >= 1 && self.capacity() <= LARGEST
    }
}

/// A wish for cells of one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// The bucket.
    pub bucket: Bucket<'a>,
    /// How many to lease at a time. Where fewer than [`EXACT_BELOW`] leases are left, one cell is given.
    pub lease: u32,
    /// Cells that were spent while the store could not be asked: taken before anything else, whatever is left.
    pub owed: u32,
}

impl Draw<'_> {
    /// Nanoseconds of what is owed.
    pub(super) fn debt_owed(&self) -> u64 {
        self.bucket.debt_of(self.owed)
    }

    /// Nanoseconds that have to be left for a lease; more than all where they never are.
    pub(super) fn room_for_lease(&self) -> u64 {
        let cells = u64::from(EXACT_BELOW) * u64::from(self.lease.max(1));
        self.bucket.interval.saturating_mul(cells).min(self.bucket.capacity().saturating_add(1))
    }
}

/// The number of leases below which cells are given one by one.
pub const EXACT_BELOW: u32 = 10;

/// What came of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Cells given: 0 for all wishes of a call, or at least 1 for each.
    pub granted: u32,
    /// Nanoseconds until the bucket is full, after this.
    pub debt: u64,
}

impl Store {
    /// Cells of quotas that all gateways share, by the store's clock: for every wish at least one, or none for any. One
    /// call; all buckets are of one realm, each named once.
    ///
    /// # Errors
    /// The store could not be asked, or refused; after a time-out cells may have been taken. [`StoreError::Unreadable`] for
    /// a bucket that is there but is none: never read as full or empty, and nothing is taken.
    pub async fn draw(&self, draws: &[Draw<'_>]) -> Result<Vec<Drawn>, StoreError> {
        debug_assert!(draws.iter().all(|draw| draw.bucket.is_countable()), "the caller validates quotas");
        match self {
            Self::Memory(memory) => Ok(memory.draw(draws)),
            Self::Redis(redis) => redis.draw(draws).await,
        }
    }

    /// The same, with the time of it: microseconds of the store's clock.
    #[cfg(test)]
    pub(crate) async fn draw_at(&self, draws: &[Draw<'_>]) -> Result<(u64, Vec<Drawn>), StoreError> {
        match self {
            Self::Memory(memory) => Ok((memory.now_us(), memory.draw(draws))),
            Self::Redis(redis) => redis.draw_at(draws).await,
        }
    }

    /// Gives cells back that were leased and not used. One call for each realm, which answers within the budget for every
    /// 500 of them.
    ///
    /// # Errors
    /// As for [`Store::draw`].
    pub async fn give_back(&self, unused: &[(Bucket<'_>, u32)]) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => {
                memory.give_back(unused);
                Ok(())
            }
            Self::Redis(redis) => redis.give_back(unused).await,
        }
    }

    /// How many gateways share this store, this one among them, as last heard; at least 1. Who is silent for 5 s is gone.
    pub fn gateways(&self) -> u32 {
        match self {
            Self::Memory(_) => 1,
            Self::Redis(redis) => redis.gateways(),
        }
    }

    /// This gateway ends, and from now on is none of those that share the store.
    ///
    /// # Errors
    /// The store could not be asked, or refused; then the others count it for 5 s more.
    pub async fn leave(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.leave_gateways().await,
        }
    }
}

/// The largest capacity that can be counted, about 52 days in nanoseconds: sums of two are still exact in a script.
const LARGEST: u64 = 1 << 52;
