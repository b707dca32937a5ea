//! Shared quotas in Redis: one script a call, over buckets of one slot, by the server's clock. `store` calls these verbs of
//! [`Redis`]. What a quota is, and what an outage means for it, is not known here.

use super::super::error::StoreError;
use super::super::quota::{Bucket, Draw, Drawn};
use super::Redis;
use super::scripts::{DRAW, GIVE_BACK};

impl Redis {
    pub(in super::super) async fn draw(&self, draws: &[Draw<'_>]) -> Result<Vec<Drawn>, StoreError> {
        self.draw_at(draws).await.map(|(_, drawn)| drawn)
    }

    /// Tells also when that was: microseconds since the epoch, by the server's clock; 0 where nothing was wished for.
    pub(in super::super) async fn draw_at(&self, draws: &[Draw<'_>]) -> Result<(u64, Vec<Drawn>), StoreError> {
        if draws.is_empty() {
            return Ok((0, Vec::new()));
        }
        let keys: Vec<String> = draws.iter().map(|draw| self.bucket_key(&draw.bucket)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let numbers = |draw: &Draw<'_>| {
            let Draw { bucket, lease, .. } = *draw;
            [bucket.interval, bucket.capacity(), draw.debt_owed(), lease.max(1).into(), draw.room_for_lease()]
        };
        let args: Vec<String> = draws.iter().flat_map(numbers).map(|number| number.to_string()).collect();
        let args: Vec<&[u8]> = args.iter().map(String::as_bytes).collect();
        let answer: Vec<u64> = self.link.run_script(&DRAW, &keys, &args, self.deadline()).await?;
        let [at, drawn @ ..] = answer.as_slice() else { return Err(StoreError::Unreadable) };
        if drawn.len() != draws.len() * 2 {
            return Err(StoreError::Unreadable);
        }
        let read = |pair: &[u64]| {
            let granted = u32::try_from(pair[0]).map_err(|_| StoreError::Unreadable)?;
            Ok(Drawn { granted, debt: pair[1] })
        };
        Ok((*at, drawn.chunks_exact(2).map(read).collect::<Result<_, _>>()?))
    }

    /// So many at a time that nobody else has to wait for long; each time for as long as a call may take.
    pub(in super::super) async fn give_back(&self, unused: &[(Bucket<'_>, u32)]) -> Result<(), StoreError> {
        for some in unused.chunks(AT_ONCE) {
            let keys: Vec<String> = some.iter().map(|(bucket, _)| self.bucket_key(bucket)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let numbers = |(bucket, cells): &(Bucket<'_>, u32)| [bucket.capacity(), bucket.debt_of(*cells)];
            let args: Vec<String> = some.iter().flat_map(numbers).map(|number| number.to_string()).collect();
            let args: Vec<&[u8]> = args.iter().map(String::as_bytes).collect();
            let _: u64 = self.link.run_script(&GIVE_BACK, &keys, &args, self.deadline()).await?;
        }
        Ok(())
    }

    /// The realm stands in literal braces: a cluster puts all its buckets into one slot by them.
    fn bucket_key(&self, bucket: &Bucket<'_>) -> String {
        format!("{}quota:{{{}}}:{}", self.prefix, bucket.realm, bucket.key)
    }
}

/// How many buckets one script gives cells back to.
const AT_ONCE: usize = 500;
