use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, Response};
use k8s_openapi::jiff::ToSpan;
use kube::client::Body;
use pretty_assertions::assert_eq;
use rstest::rstest;
use tokio::task::JoinHandle;
use tower_test::mock;

use super::*;

fn spec(holder: Option<&str>, seconds: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: Some(seconds),
        ..LeaseSpec::default()
    }
}

#[rstest]
#[case::no_lease(None, false, 0, Step::Acquire)]
#[case::released(Some(spec(None, 1)), false, 0, Step::Acquire)]
#[case::released_as_client_go_does(Some(spec(Some(""), 1)), false, 0, Step::Acquire)]
#[case::ours_after_a_restart(Some(spec(Some("me"), 15)), false, 0, Step::Renew)]
#[case::ours(Some(spec(Some("me"), 15)), true, 3, Step::Renew)]
#[case::of_another_and_fresh(Some(spec(Some("you"), 15)), false, 4, Step::Wait(Duration::from_secs(11)))]
#[case::of_another_and_old(Some(spec(Some("you"), 15)), false, 15, Step::Acquire)]
#[case::taken_from_us(Some(spec(Some("you"), 15)), true, 60, Step::Lost("you".to_owned()))]
#[case::deleted_while_we_lead(None, true, 0, Step::Acquire)]
fn a_candidate_acts_by_what_it_has_seen_of_the_lease(
    #[case] lease: Option<LeaseSpec>,
    #[case] leads: bool,
    #[case] seen_seconds_ago: u64,
    #[case] expected: Step,
) {
    let seen = Instant::now();
    let observed = lease.map(|spec| ObservedLease { spec, at: seen });
    let now = seen + Duration::from_secs(seen_seconds_ago);
    assert_eq!(decide(observed.as_ref(), "me", leads, now), expected);
}

#[test]
fn a_takeover_counts_as_a_transition_and_a_renewal_does_not() {
    let then = Timestamp::from_second(1_000).unwrap();
    let now = then + 5.seconds();
    let first = decide::next_spec(None, "a", &Step::Acquire, then, LEASE_DURATION);
    assert_eq!(first.lease_transitions, Some(0));
    let renewed = decide::next_spec(Some(&first), "a", &Step::Renew, now, LEASE_DURATION);
    assert_eq!(renewed.lease_transitions, Some(0));
    assert_eq!(renewed.acquire_time, first.acquire_time);
    assert_ne!(renewed.renew_time, first.renew_time);
    let taken = decide::next_spec(Some(&renewed), "b", &Step::Acquire, now, LEASE_DURATION);
    assert_eq!(taken.lease_transitions, Some(1));
    assert_ne!(taken.acquire_time, first.acquire_time);
}

/// One Lease behind the API's rules: optimistic concurrency, and a network that can be cut.
#[derive(Default)]
struct FakeApi {
    lease: Option<Lease>,
    version: u64,
}

impl FakeApi {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (u16, serde_json::Value) {
        let failure = |code: u16, reason: &str| {
            let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": reason, "reason": reason, "code": code});
            (code, status)
        };
        match (*method == Method::GET, &self.lease) {
            (true, None) => return failure(404, "NotFound"),
            (true, Some(lease)) => return (200, serde_json::to_value(lease).unwrap()),
            (false, _) => {}
        }
        let mut written: Lease = serde_json::from_slice(body).unwrap();
        let current = self
            .lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        match (*method == Method::POST, &current) {
            (true, Some(_)) => return failure(409, "AlreadyExists"),
            (false, known) if *known != written.metadata.resource_version => return failure(409, "Conflict"),
            _ => {}
        }
        self.version += 1;
        written.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(written.clone());
        (200, serde_json::to_value(written).unwrap())
    }
}

/// A client of the fake; each has its own network, which `cut` cuts.
fn connect(api: &Arc<Mutex<FakeApi>>, cut: &Arc<Mutex<bool>>) -> Client {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let (api, cut) = (Arc::clone(api), Arc::clone(cut));
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some((request, answer)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            if *cut.lock().unwrap() {
                // Not refused: nothing comes back, as behind a dead link.
                unanswered.push(answer);
                continue;
            }
            let (code, json) = api.lock().unwrap().answer(&parts.method, &body);
            let body = Body::from(serde_json::to_vec(&json).unwrap());
            answer.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    Client::new(service, "default")
}

fn holder(api: &Arc<Mutex<FakeApi>>) -> Option<String> {
    let api = api.lock().unwrap();
    api.lease.as_ref()?.spec.as_ref()?.holder_identity.clone()
}

struct Candidate {
    election: Election,
    cut: Arc<Mutex<bool>>,
}

fn candidate(api: &Arc<Mutex<FakeApi>>, identity: &str) -> Candidate {
    let cut = Arc::new(Mutex::new(false));
    Candidate {
        election: Election::new(connect(api, &cut), "system", identity),
        cut,
    }
}

fn keep(mut leader: Candidate) -> JoinHandle<(LostLease, Instant)> {
    tokio::spawn(async move { (leader.election.keep().await, Instant::now()) })
}

#[tokio::test(start_paused = true)]
async fn a_second_candidate_waits_until_the_first_releases() {
    let api = Arc::default();
    let (mut first, mut second) = (candidate(&api, "first"), candidate(&api, "second"));
    first.election.acquire().await;
    let standing_by = tokio::spawn(async move {
        second.election.acquire().await;
    });
    let kept = timeout(Duration::from_mins(2), first.election.keep()).await;
    assert!(kept.is_err(), "nothing takes the lease from a leader that renews");
    assert!(!standing_by.is_finished());

    first.election.release().await;
    assert_eq!(holder(&api), None);
    timeout(Duration::from_secs(5), standing_by).await.unwrap().unwrap();
    assert_eq!(holder(&api).as_deref(), Some("second"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_behind_a_dead_link_steps_down_before_another_takes_over() {
    let api = Arc::default();
    let (mut first, mut second) = (candidate(&api, "first"), candidate(&api, "second"));
    first.election.acquire().await;
    let first_cut = Arc::clone(&first.cut);
    let keeping = keep(first);
    let standing_by = tokio::spawn(async move {
        second.election.acquire().await;
        Instant::now()
    });
    sleep(Duration::from_mins(1)).await;
    *first_cut.lock().unwrap() = true;

    let (lost, stepped_down) = keeping.await.unwrap();
    assert!(matches!(lost, LostLease::NotRenewed), "{lost}");
    let taken_over = standing_by.await.unwrap();
    assert!(stepped_down < taken_over);
    assert!(
        taken_over - stepped_down >= Duration::from_secs(3),
        "too close: {:?}",
        taken_over - stepped_down
    );
    assert_eq!(holder(&api).as_deref(), Some("second"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_another_holds_knows_who() {
    let api: Arc<Mutex<FakeApi>> = Arc::default();
    let mut first = candidate(&api, "first");
    first.election.acquire().await;
    {
        let mut api = api.lock().unwrap();
        api.version += 1;
        let version = api.version.to_string();
        let lease = api.lease.as_mut().unwrap();
        lease.metadata.resource_version = Some(version);
        lease.spec = Some(spec(Some("second"), 15));
    }
    let lost = first.election.keep().await;
    assert!(
        matches!(&lost, LostLease::Taken { holder } if holder == "second"),
        "{lost}"
    );
    first.election.release().await;
    assert_eq!(
        holder(&api).as_deref(),
        Some("second"),
        "what is not ours is not released"
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_that_start_at_once_one_leads() {
    let api = Arc::default();
    let tasks: Vec<_> = ["first", "second"]
        .map(|name| {
            let mut candidate = candidate(&api, name);
            tokio::spawn(async move {
                let won = timeout(Duration::from_secs(10), candidate.election.acquire()).await;
                won.is_ok()
            })
        })
        .into();
    let mut leaders = 0;
    for task in tasks {
        leaders += i32::from(task.await.unwrap());
    }
    assert_eq!(leaders, 1);
}
