//! Redis servers that replace a primary of theirs by themselves, whether sentinels see to it or the servers of a cluster
//! do: what the tests of a failover need of either. `sentinel` and `cluster` are the two of them; which requests go on
//! meanwhile is `ledger`'s part.

use std::time::{Duration, Instant};

use crate::harness::redis::{RedisServer, Reply};
use crate::harness::wait::{PATIENCE, eventually};

/// How long a set may take to replace a primary.
pub(crate) const FAILOVER: Duration = Duration::from_secs(30);

/// Servers that keep copies of each other's data.
pub(crate) trait Ensemble: Sync {
    /// The url for `[store]`.
    fn url(&self) -> String;

    /// All that keep data, in the order in which they were started.
    fn servers(&self) -> &[RedisServer];

    /// The same.
    fn servers_mut(&mut self) -> &mut [RedisServer];

    /// The place of the primary that is to be taken away.
    fn primary(&self) -> usize;

    /// Whether the servers that stay can take every write while one is away: one of a cluster has no other replica.
    fn writes_without_it(&self) -> bool;

    /// Waits until the primary at `old` has a successor: when the first of those who know did, and when all did.
    fn wait_for_successor(&self, old: usize) -> Succession;

    /// Runs commands where their keys are, and waits until a replica has what they wrote.
    fn write(&self, commands: &[Vec<String>]);

    /// How many connections were made to each of those whom gateways ask for the primary, without the server at `old`.
    fn connections(&self, old: usize) -> Vec<u64>;

    /// The server that keeps a session now.
    fn keeper_of(&self, jti: &str) -> &RedisServer {
        let keeps = |server: &&RedisServer| server.info("role") == "master" && !server.keys_with(jti).is_empty();
        self.servers().iter().find(keeps).unwrap_or_else(|| panic!("nobody keeps {jti}"))
    }

    /// The place of the server at a port.
    fn place_of(&self, port: u16) -> usize {
        let place = self.servers().iter().position(|server| server.address().port() == port);
        place.unwrap_or_else(|| panic!("nobody is at port {port}"))
    }

    /// Waits until the server at `place` has all that its primary has.
    fn wait_until_in_step(&self, place: usize) {
        eventually("the server that was away is a replica in step", FAILOVER, || {
            let Reply::Text(state) = self.servers()[place].try_connect()?.ask(&["INFO", "replication"])? else {
                return None;
            };
            (state.contains("role:slave") && state.contains("master_link_status:up")).then_some(())
        });
    }
}

/// When a primary was replaced.
pub(crate) struct Succession {
    /// By the first who said so: the new primary itself.
    pub(crate) promoted: Instant,
    /// By all who are asked for the primary: from then on the set is whole, but for the one that is away.
    pub(crate) known: Instant,
}

/// Waits on each connection of a pipeline's writes until one replica has them.
pub(crate) fn await_replica(connection: &mut crate::harness::redis::RedisClient) {
    let patience = PATIENCE.as_millis().to_string();
    assert!(connection.command(&["WAIT", "1", &patience]).number() >= 1, "no replica has what was written");
}
