//! A shared quota while the store replaces a primary, watched by sentinels or in a cluster: never without a limit, never
//! closed, and exact again on the new primary (contract section 8).

use std::time::{Duration, Instant};

use crate::harness::cluster::ClusterSet;
use crate::harness::ensemble::Ensemble;
use crate::harness::pressure::Sharers;
use crate::harness::sentinel::SentinelSet;
use crate::harness::wait::{PATIENCE, eventually};

const RATE: f64 = 40.0;
const BURST: f64 = 40.0;

fn primary_dies(ensemble: &mut dyn Ensemble, victim: impl Fn(&dyn Ensemble) -> usize) {
    let quota = "rate = \"40/s\"\nburst = 40";
    let url = ensemble.url();
    let sharers = Sharers::start(2, quota, |builder| builder.store_with(&url, "budget = \"250ms\""));
    assert!(sharers.is_admitted(0), "so that the bucket is there");
    // Each gateway tells once a second that it lives, and hears how many do.
    std::thread::sleep(Duration::from_secs(3));
    let decided = || sharers.decided("admitted_on_share") + sharers.decided("refused_on_share");
    let begun = Instant::now();
    let (answers, over) = sharers.press(|| {
        std::thread::sleep(Duration::from_secs(1));
        let old = victim(ensemble);
        ensemble.servers_mut()[old].kill();
        let succession = ensemble.wait_for_successor(old);
        assert!(decided() > 0.5, "nothing was decided on a share");
        let mut known = decided();
        eventually("every gateway asks the new primary", PATIENCE, || {
            std::thread::sleep(Duration::from_millis(500));
            let before = std::mem::replace(&mut known, decided());
            (known - before < 0.5).then_some(())
        });
        eprintln!("replaced after {:?}, exact {:?} later", succession.promoted - begun, succession.promoted.elapsed());
        std::thread::sleep(Duration::from_secs(2));
        Instant::now()
    });
    let time = (over - begun).as_secs_f64();
    let admitted = f64::from(answers.admitted(None, begun, over));
    // A new primary may not have heard of what was spent last, and the set may choose twice: each time the burst again. Of
    // two gateways one may draw again while the other is on its share.
    let most = 3.0 * BURST + RATE * time + RATE / 2.0;
    eprintln!("{admitted} of at most {most} in {time} s");
    assert!(admitted <= most && admitted >= RATE * time * 0.7, "{admitted} of {most} in {time} s");
    let slice = Duration::from_millis(1500);
    for gateway in 0..2 {
        let mut from = begun;
        while from + slice < over {
            assert!(
                answers.admitted(Some(gateway), from, from + slice) > 0,
                "closed {:?} after the start",
                from - begun
            );
            from += slice;
        }
    }
}

#[test]
fn failover_by_sentinels_leaves_a_shared_quota_bounded_and_open() {
    primary_dies(&mut SentinelSet::start(), |set| set.primary());
}

#[test]
fn failover_in_a_cluster_leaves_a_shared_quota_bounded_and_open() {
    // The one that keeps the quota's slot.
    let keeper = |set: &dyn Ensemble| {
        let keeps = |place: &usize| {
            let server = &set.servers()[*place];
            server.info("role") == "master" && !server.keys_with("quota:{shop}").is_empty()
        };
        (0..set.servers().len()).find(keeps).expect("somebody keeps the quota")
    };
    primary_dies(&mut ClusterSet::start(), keeper);
}
