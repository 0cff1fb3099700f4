use modelcache_crds::report::FailureClass;
use pretty_assertions::assert_eq;
use proptest::prelude::*;

use super::simulation::{Simulation, failure, is, simple_spec};
use crate::reconcile::facts::FetcherPod;

/// What may happen next.
#[derive(Clone, Debug)]
enum Happening {
    Reconcile,
    /// The operator is killed after this many actions, before the status is written.
    Killed(usize),
    PodsStart,
    PodsSucceed,
    PodsFail(FailureClass),
    PodsKilled,
    Collected,
    /// The Job controller falls behind, or catches up.
    JobControllerLags(bool),
    Time(i64),
    Revision(&'static str),
    RetryAsked(u8),
    ClaimDeleted,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Reconcile),
        4 => (0usize..4).prop_map(Happening::Killed),
        4 => Just(Happening::PodsStart),
        3 => Just(Happening::PodsSucceed),
        1 => prop::sample::select(FailureClass::ALL.to_vec()).prop_map(Happening::PodsFail),
        1 => Just(Happening::PodsKilled),
        2 => Just(Happening::Collected),
        2 => any::<bool>().prop_map(Happening::JobControllerLags),
        3 => (1i64..900).prop_map(Happening::Time),
        1 => prop::sample::select(vec!["one", "two", "three"]).prop_map(Happening::Revision),
        1 => (0u8..4).prop_map(Happening::RetryAsked),
        1 => Just(Happening::ClaimDeleted),
    ]
}

fn happen(cluster: &mut Simulation, happening: &Happening) {
    match happening {
        Happening::Reconcile => {
            cluster.reconcile();
            assert_published_is_there(cluster);
        }
        Happening::Killed(actions) => cluster.reconcile_until_killed(*actions),
        Happening::PodsStart => cluster.start_pods(),
        Happening::PodsSucceed => cluster.succeed(),
        Happening::PodsFail(class) => cluster.fail(&failure(*class)),
        Happening::PodsKilled => cluster.kill_pods(),
        Happening::Collected => cluster.collect(),
        Happening::JobControllerLags(lags) => {
            cluster.is_lagging = *lags;
            if !lags {
                cluster.finish_jobs();
            }
        }
        Happening::Time(seconds) => cluster.pass(*seconds),
        Happening::Revision(revision) => cluster.change_spec(&simple_spec(revision)),
        Happening::RetryAsked(value) => cluster.cache.retry = Some(value.to_string()),
        Happening::ClaimDeleted => {
            // As in a cluster, it goes once no pod that has not ended uses it.
            if cluster.observed.pods.iter().all(FetcherPod::is_over) {
                cluster.observed.claim = None;
                // Time stamps have whole seconds.
                cluster.pass(1);
            }
        }
    }
}

/// Status never shows a published digest other than the one a pod would read.
fn assert_published_is_there(cluster: &Simulation) {
    if let (Some(published), Some(uid)) = (&cluster.status.published_digest, &cluster.status.claim_uid) {
        assert_eq!(cluster.content.get(uid), Some(published));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn killed_between_any_two_steps_it_ends_with_one_published_result_and_one_writer_at_a_time(
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut cluster = Simulation::new(&simple_spec("one"));
        for happening in &happenings {
            happen(&mut cluster, happening);
        }
        // A permanent failure on the way is lifted as a person would.
        cluster.cache.retry = Some("at last".to_owned());
        cluster.settle();
        let wanted = format!("sha256:{}", cluster.cache.source.kind().revision().unwrap());
        assert_eq!(cluster.ready(), is("True", "Ready"));
        assert_eq!(cluster.status.published_digest.as_ref(), Some(&wanted));
        assert_published_is_there(&cluster);
        assert!(cluster.observed.jobs.is_empty(), "{:?}", cluster.observed.jobs);
        let rest = cluster.status.clone();
        assert!(cluster.reconcile().actions.is_empty());
        assert_eq!(cluster.status, rest);
    }
}
