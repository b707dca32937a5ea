//! Which server the sentinels call the primary. `keeper` asks on every loss, once a second, and when a call wants to know
//! (`primacy`); whether the named server really is one is for the keeper to find out.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, cmd};
use tokio::time::timeout;

use super::address::elsewhere;
use super::error::{StoreError, StoreUrlError, judge};
use super::tls::Certificates;

/// Host and port, as the sentinels write them.
type Address = (String, u16);

/// The sentinels of one primary.
pub(super) struct Sentinels {
    /// Under which they know the primary.
    pub(super) name: String,
    clients: Vec<Client>,
    /// How to reach a server they name, but for its address.
    login: ConnectionInfo,
    certificates: Certificates,
}

impl Sentinels {
    pub(super) fn new(
        sentinels: Vec<ConnectionInfo>,
        name: String,
        login: ConnectionInfo,
        certificates: Certificates,
    ) -> Result<Self, StoreUrlError> {
        let clients: Result<Vec<_>, _> = sentinels.into_iter().map(|sentinel| certificates.client(sentinel)).collect();
        Ok(Self { name, clients: clients?, login, certificates })
    }

    /// The addresses they name, that with the most votes first.
    ///
    /// # Errors
    /// None named any: what the last of them said.
    pub(super) async fn named(&self) -> Result<Vec<Address>, StoreError> {
        let mut votes = self.votes().await?;
        votes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(votes.into_iter().map(|(address, _)| address).collect())
    }

    /// The address that more than half of them name.
    pub(super) async fn elected(&self) -> Option<Address> {
        let votes = self.votes().await.ok()?;
        votes.into_iter().find(|(_, count)| count * 2 > self.clients.len()).map(|(address, _)| address)
    }

    /// Ends as soon as more than half agree: one that hangs then costs nothing.
    async fn votes(&self) -> Result<Vec<(Address, usize)>, StoreError> {
        let mut answers: FuturesUnordered<_> = self.clients.iter().map(|client| self.ask(client)).collect();
        let mut votes: Vec<(Address, usize)> = Vec::new();
        let mut told = StoreError::Unreachable;
        while let Some(answer) = answers.next().await {
            let address = match answer {
                Ok(address) => address,
                Err(why) => {
                    told = why;
                    continue;
                }
            };
            let place = votes.iter().position(|(known, _)| *known == address).unwrap_or_else(|| {
                votes.push((address, 0));
                votes.len() - 1
            });
            votes[place].1 += 1;
            if votes[place].1 * 2 > self.clients.len() {
                break;
            }
        }
        if votes.is_empty() { Err(told) } else { Ok(votes) }
    }

    /// A client for a server they named.
    pub(super) fn client(&self, host: &str, port: u16) -> Result<Client, StoreError> {
        self.certificates.client(elsewhere(&self.login, host, port)).map_err(|_| StoreError::Unreachable)
    }

    async fn ask(&self, sentinel: &Client) -> Result<Address, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let question = async {
            let mut connection = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
            cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name).query_async(&mut connection).await
        };
        match timeout(ANSWER_WITHIN, question).await {
            Ok(Ok(Some(address))) => Ok(address),
            // It knows no primary of that name.
            Ok(Ok(None)) => Err(StoreError::Unreachable),
            Ok(Err(error)) => Err(judge(&error).0),
            Err(_elapsed) => Err(StoreError::TimedOut),
        }
    }
}

/// For connecting, login and the answer together.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
