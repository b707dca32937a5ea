//! What `limits` and the store say to each other: buckets of quotas that all gateways share. Both backends compute the
//! same; what a quota is, and whose, is not known here.

/// A bucket of a shared quota.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// The realm's name: what is charged together lies in one slot of a cluster.
    pub realm: &'a str,
    /// Tells the bucket from others of the realm.
    pub key: &'a str,
    /// Nanoseconds until another cell is there; at least 1.
    pub interval: u64,
    /// The most cells at once; at least 1.
    pub burst: u32,
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
