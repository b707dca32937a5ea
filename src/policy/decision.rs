//! What the ladder says short of a permit: a denial, or a question.
//!
//! A denial is a value, not an error. What the client is told of it stands in `problem`; the private
//! cause goes to the log and nowhere else.

use super::method::MethodSet;
use super::quota::Stage;
use crate::reason::Reason;

/// The cause of a refusal for want of any credential; a log tells nobody by it.
pub const NO_CREDENTIAL: &str = "no Authorization";

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What the client is told.
    pub reason: Reason,
    /// What the operator is told; a fixed text, never the client's input.
    pub cause: &'static str,
    /// What would help the client, beyond the reason.
    pub hint: Hint,
}

/// A remedy that the policy itself holds; nothing here comes from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The reason says it all.
    None,
    /// The methods that the path has.
    Allow(MethodSet),
    /// The header that is missing.
    Header(Box<str>),
    /// The app types that the route takes.
    AppTypes(Box<[Box<str>]>),
    /// Seconds until another try can succeed; at least 1.
    RetryAfter(u32),
}

impl Denial {
    /// A refusal that needs no hint.
    #[must_use]
    pub const fn new(reason: Reason, cause: &'static str) -> Self {
        Self { reason, cause, hint: Hint::None }
    }
}

/// What the ladder has to know before it can go on. Each answer fills one empty field of the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is the presented API id locked out, from where it is presented?
    LockOut,
    /// Whose is the presented credential?
    Identity,
    /// Where does this account stand? The id keeps to the grammar of ids.
    Target(Box<str>),
    /// Have the quotas of this stage enough left? They are charged with it, all or none: [`Facts::charges`].
    ///
    /// [`Facts::charges`]: super::facts::Facts::charges
    Quota(Stage),
}
