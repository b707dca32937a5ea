//! Requests that run at once: bounded, and free again however they end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{Fixture, SECOND, index, quota, rate};
use crate::limits::{Refused, Running, Standing, Taken};
use crate::policy::quota::{Limit, Quota, Subject};

const CUSTOMER: Subject<'static> = Subject::Account("cus-1");

fn begin(fixture: &Fixture, uploads: &Quota) -> Option<Running> {
    match fixture.take(&[(uploads, CUSTOMER)]) {
        Taken::All { reading, running } => {
            assert_eq!(reading, None, "clients are not told of what runs");
            Some(running)
        }
        Taken::Nothing(Refused { retry_after, reading, .. }) => {
            assert_eq!((retry_after, reading), (1, None));
            None
        }
    }
}

fn free(fixture: &Fixture, uploads: &Quota) -> u32 {
    fixture.peek(&[(uploads, CUSTOMER)])[0].remaining
}

#[test]
fn as_many_run_as_may_and_one_that_ends_makes_room_for_one() {
    let (fixture, uploads) = (Fixture::new(), quota(1, Limit::InFlight(3)));
    let mut running: Vec<Running> = (0..3).map(|_| begin(&fixture, &uploads).unwrap()).collect();
    assert!(begin(&fixture, &uploads).is_none());
    assert!(fixture.is_taken(&[(&uploads, Subject::Account("cus-2"))]), "others have room of their own");
    drop(running.pop());
    running.push(begin(&fixture, &uploads).unwrap());
    assert!(begin(&fixture, &uploads).is_none());
    let (mut joined, rest) = (Running::default(), running);
    rest.into_iter().for_each(|one| joined.join(one));
    assert_eq!(free(&fixture, &uploads), 0);
    drop(joined);
    assert_eq!(free(&fixture, &uploads), 3);
}

#[test]
fn a_request_that_panics_is_over() {
    let (fixture, uploads) = (Fixture::new(), quota(1, Limit::InFlight(1)));
    let request = || {
        let _running = begin(&fixture, &uploads).unwrap();
        assert_eq!(free(&fixture, &uploads), 0);
        std::panic::resume_unwind(Box::new("a bug"));
    };
    assert!(catch_unwind(AssertUnwindSafe(request)).is_err());
    assert_eq!(free(&fixture, &uploads), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_leaves_is_over() {
    let (fixture, uploads) = (Fixture::new(), quota(1, Limit::InFlight(1)));
    let request = async {
        let _running = begin(&fixture, &uploads).unwrap();
        std::future::pending::<()>().await;
    };
    {
        let mut request = std::pin::pin!(request);
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut request).await.is_err());
        assert_eq!(free(&fixture, &uploads), 0, "it still runs");
    }
    assert_eq!(free(&fixture, &uploads), 1);
}

#[test]
fn who_may_not_run_pays_no_rate_and_who_has_no_rate_left_occupies_nothing() {
    let fixture = Fixture::new();
    let (uploads, calls) = (quota(1, Limit::InFlight(1)), quota(2, Limit::Rate(rate(SECOND, 2))));
    let wanted = [(&calls, CUSTOMER), (&uploads, CUSTOMER)];
    let Taken::All { running, .. } = fixture.take(&wanted) else { panic!("refused") };
    for _ in 0..5 {
        assert!(!fixture.is_taken(&wanted));
    }
    assert_eq!(fixture.peek(&wanted)[0].remaining, 1);
    drop(running);
    assert!(fixture.is_taken(&wanted));
    assert!(!fixture.is_taken(&wanted));
    assert_eq!(free(&fixture, &uploads), 1);
}

#[test]
fn of_several_that_are_full_the_first_is_named_to_who_asks_and_to_who_only_looks() {
    let fixture = Fixture::new();
    let full: Vec<Quota> = (1..=3).map(|mark| quota(mark, Limit::InFlight(1))).collect();
    let wanted: Vec<_> = full.iter().map(|quota| (quota, CUSTOMER)).collect();
    let Taken::All { running, .. } = fixture.take(&wanted) else { panic!("nothing runs") };
    let Taken::Nothing(Refused { quota, .. }) = fixture.take(&wanted) else { panic!("all are full") };
    assert_eq!(quota, index(&full[0]));
    assert_eq!(Standing::refusing(&fixture.peek(&wanted)).map(|standing| standing.quota), Some(quota));
    drop(running);
    assert_eq!(Standing::refusing(&fixture.peek(&wanted)), None);
}

#[test]
fn memory_is_bounded_by_what_runs() {
    let (fixture, uploads) = (Fixture::new(), quota(1, Limit::InFlight(1)));
    let ids: Vec<String> = (0..20_000).map(|id| format!("cus-{id}")).collect();
    let begin = |id| match fixture.take(&[(&uploads, Subject::Account(id))]) {
        Taken::All { running, .. } => running,
        Taken::Nothing(_) => panic!("{id} was refused"),
    };
    let running: Vec<Running> = ids.iter().map(|id| begin(id)).collect();
    let most = fixture.limits.in_flight.size();
    drop(running);
    let left = fixture.limits.in_flight.size();
    assert!(left < most / 8, "{left} of {most} bytes");
}
