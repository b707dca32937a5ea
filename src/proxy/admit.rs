//! Stage 2: asks the ladder, finds out what it asks for, and asks again.
//!
//! It decides nothing. Each question fills another field of the facts, so the loop is bounded.

use std::time::Instant;

use super::Gateway;
use super::exchange::{Live, Notes, Spending};
use crate::directory::Unavailable;
use crate::limits::{Refused, Said, Taken};
use crate::policy::credential::Presented;
use crate::policy::decision::{Denial, Question};
use crate::policy::facts::{Facts, LockAnswer, RequestHead, TargetAnswer};
use crate::policy::ladder::{Decision, MAX_QUESTIONS, Permit, decide};
use crate::policy::principal::{Identity, Relation};
use crate::policy::quota::{Charges, QuotaAnswer, Stage};
use crate::policy::reach::reach;
use crate::policy::snapshot::{RealmIndex, Spot};
use crate::problem::envelope::{Challenge, Problem};
use crate::reason::Reason;
use crate::store::Patience;

/// The verdict on a request, with what became known on the way.
pub struct Verdict {
    /// The permit, or what the client is told and the private cause.
    pub outcome: Result<Permit, (Problem, &'static str)>,
    /// For the log.
    pub notes: Notes,
    /// What it is charged, and occupies.
    pub spending: Spending,
}

impl Gateway {
    /// Judges a request by a snapshot.
    pub(super) async fn admit(
        &self,
        head: &RequestHead<'_>,
        live: &Live,
        (arrived, patience): (Instant, &Patience),
    ) -> Verdict {
        let mut facts = Facts::new(head, &live.snapshot);
        let mut spending = Spending::default();
        let mut decision = decide(&facts);
        for _ in 0..MAX_QUESTIONS {
            match decision {
                Decision::Ask(question) => {
                    tracing::trace!(?question, "the ladder asks");
                    match question {
                        Question::Quota(stage) => {
                            self.spend(stage, &mut facts, live, (arrived, patience), &mut spending).await
                        }
                        Question::LockOut | Question::Identity | Question::Target(_) => {
                            self.find_out(question, &mut facts, patience).await;
                        }
                    }
                }
                Decision::Permit(_) | Decision::Deny(_) => break,
            }
            decision = decide(&facts);
        }
        let mut notes = notes(&facts, &decision);
        notes.quota = facts.refused_quota();
        notes.disagreement = self.disagreement(&facts, &decision, live);
        let outcome = match decision {
            Decision::Permit(permit) => Ok(permit),
            Decision::Deny(denial) => Err(refusal(&facts, denial)),
            Decision::Ask(_) => Err(refusal(&facts, Denial::new(Reason::Internal, "the ladder asked once too often"))),
        };
        Verdict { outcome, notes, spending }
    }

    /// Charges a stage, and notes the answer among the facts. Both stages are charged as of the request's arrival, however
    /// long was waited in between: that is when its client kept, or did not keep, to its pace.
    async fn spend(
        &self,
        stage: Stage,
        facts: &mut Facts<'_>,
        live: &Live,
        when: (Instant, &Patience),
        spending: &mut Spending,
    ) {
        let (Some((realm, _)), Some(charges)) = (facts.place.realm, facts.charges(stage)) else { return };
        let answer = self.charge(realm, &charges, live, when, spending).await;
        match stage {
            Stage::Arrival => facts.arrival = Some(answer),
            Stage::Permitted => facts.quota = Some(answer),
        }
    }

    /// Takes all charges or none, as of a moment.
    pub(super) async fn charge(
        &self,
        realm: RealmIndex,
        charges: &Charges<'_>,
        live: &Live,
        (moment, patience): (Instant, &Patience),
        spending: &mut Spending,
    ) -> QuotaAnswer {
        let note = |quota, said: Said| live.meters.record_quota(realm, quota, (said as usize, said.name()));
        match self.limits.take(charges, moment, patience, note).await {
            Taken::All { reading, running } => {
                spending.note(reading);
                spending.running.join(running);
                QuotaAnswer::Admitted
            }
            Taken::Nothing(refused) => {
                let Refused { quota, retry_after, reading } = refused.after(spending.reading);
                // What refuses is what the client is told of, however little else is left; a quota of running requests has
                // nothing to tell.
                spending.reading = reading.or(spending.reading);
                QuotaAnswer::Refused { quota, retry_after }
            }
        }
    }

    async fn find_out(&self, question: Question, facts: &mut Facts<'_>, patience: &Patience) {
        match question {
            Question::LockOut => {
                facts.lock = Some(match &facts.head.presented {
                    Presented::Basic(key) => self.resolver.lockout().judge(key, facts.head.client, patience).await,
                    Presented::Nothing | Presented::Unreadable(..) | Presented::Token(_) => LockAnswer::Open,
                });
            }
            Question::Identity => {
                let realm = facts.place.realm.map_or("", |(_, realm)| &realm.name);
                let head = facts.head;
                facts.identity = Some(self.resolver.resolve(&head.presented, realm, head.client, patience).await);
            }
            // Answered by `spend`, which has to remember what was taken.
            Question::Quota(_) => {}
            Question::Target(id) => {
                facts.target = Some(match self.resolver.directory().account(&id).await {
                    Ok(Some(account)) => TargetAnswer::Known(account),
                    Ok(None) => TargetAnswer::Unknown,
                    Err(Unavailable(cause)) => TargetAnswer::Unavailable(cause),
                });
            }
        }
    }
}

/// What a denial says to the client; also used by the edge, which has no facts but a faulty head.
#[must_use]
pub fn refusal(facts: &Facts<'_>, denial: Denial) -> (Problem, &'static str) {
    let realm = facts.place.realm.map_or_else(|| "".into(), |(_, realm)| realm.name.clone());
    let challenge = Challenge { realm, presented: facts.head.presented.scheme() };
    (Problem { reason: denial.reason, hint: denial.hint, challenge }, denial.cause)
}

/// What became known of a request.
pub(super) fn notes(facts: &Facts<'_>, decision: &Decision) -> Notes {
    let mut notes = Notes { realm: facts.place.realm.map(|(index, _)| index), ..Notes::default() };
    if let Spot::Route(index, ..) = facts.place.spot {
        notes.route = Some(index);
    }
    if let Some(Identity::Valid(principal) | Identity::Suspended(principal)) = &facts.identity {
        notes.role = facts.place.realm.and_then(|(_, realm)| realm.role(principal.account.lineage.role()));
        notes.principal = Some(principal.clone());
    }
    match decision {
        Decision::Permit(permit) => {
            notes.scope = permit.scope();
            notes.target = permit.target().map(Into::into);
            notes.relation = permit.relation();
        }
        Decision::Deny(denial) if denial.reason == Reason::ScopeForbidden => {
            notes.relation = Relation::Unknown;
            if let Ok(reach) = reach(facts) {
                notes.scope = Some(reach.scope);
                notes.target = reach.target.map(|target| target.into_owned().into());
                notes.relation = reach.relation;
            }
        }
        Decision::Deny(_) | Decision::Ask(_) => {}
    }
    notes
}
