//! A request that is to be explained, as `POST /explain` takes it and the verbs send it, and whom it comes from.
//!
//! Read by the admin listener, made from the command line by `explain` and from an access line by `why`. It knows no
//! directory: whoever has one looks the caller up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::directory::records::Credential;
use crate::policy::credential::Scheme;
use crate::policy::principal::{Account, Identity};
use crate::policy::rehearsal::Call;

/// The body of `POST /explain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// `ROLE:ACCOUNT`, `credential:ID` or `anonymous`.
    #[serde(rename = "as")]
    pub caller: String,
    /// Its name.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Values by name.
    #[serde(default)]
    pub headers: Fields,
    /// From where; loopback when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// `basic` or `token`; what the route takes when it is left out. A credential is `basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
}

/// Header fields; one that stands more than once has a list of values.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fields(BTreeMap<String, Values>);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// Nobody says.
    Anonymous,
    /// Whoever has the key of this API id.
    Credential(&'a str),
    /// An account in a role.
    Account {
        /// The role's name.
        role: &'a str,
        /// The account's id.
        id: &'a str,
    },
}

impl Fields {
    /// Adds a line.
    pub fn add(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        match self.0.get_mut(&name) {
            Some(Values::Several(values)) => values.push(value.to_owned()),
            Some(known) => {
                let first = std::mem::replace(known, Values::Several(Vec::new()));
                if let (Values::One(first), Values::Several(values)) = (first, known) {
                    values.extend([first, value.to_owned()]);
                }
            }
            None => {
                self.0.insert(name, Values::One(value.to_owned()));
            }
        }
    }

    /// Lower-case names and values, line by line.
    fn lines(&self) -> Vec<(String, String)> {
        let lines = self.0.iter().flat_map(|(name, values)| {
            let values = match values {
                Values::One(value) => std::slice::from_ref(value),
                Values::Several(values) => values.as_slice(),
            };
            values.iter().map(|value| (name.to_ascii_lowercase(), value.clone()))
        });
        lines.collect()
    }
}

impl Wanted {
    /// Who is said to call; `None` for a text that says nobody.
    #[must_use]
    pub fn who(&self) -> Option<Who<'_>> {
        match self.caller.split_once(':') {
            None => (self.caller == "anonymous").then_some(Who::Anonymous),
            Some(("credential", id)) => Some(Who::Credential(id)),
            Some((role, id)) => Some(Who::Account { role, id }),
        }
    }

    /// The call, without its caller.
    ///
    /// # Errors
    /// A scheme that is none, as a sentence.
    pub fn call(&self) -> Result<Call, String> {
        let mut call = Call::new(&self.method, &self.path);
        call.headers = self.headers.lines();
        call.client = self.client.unwrap_or(call.client);
        if let Some(name) = &self.scheme {
            call.scheme =
                Some(Scheme::parse(name).ok_or_else(|| format!("`{name}` is no scheme; write basic or token"))?);
        }
        Ok(call)
    }
}

/// Fills in who calls with the right key of a credential: what becomes of it in this realm at this time, in seconds since the
/// epoch. `account`: the credential's, `None` when it is gone.
pub fn judged_credential(
    call: &mut Call,
    credential: &Credential,
    account: Option<Arc<Account>>,
    realm: &str,
    now: i64,
) {
    call.scheme = Some(Scheme::Basic);
    call.credential = Some((*credential.id).into());
    // In the order in which a presented key is judged.
    call.flaw = if !credential.is_for(realm) {
        Some(Identity::Invalid("the credential is not for this realm"))
    } else if !credential.is_current(now) {
        Some(Identity::Expired("the credential is outside its validity period"))
    } else if account.is_none() {
        Some(Identity::Invalid("the credential's account is gone"))
    } else {
        None
    };
    call.caller = account;
}
