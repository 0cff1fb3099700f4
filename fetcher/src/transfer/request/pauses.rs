//! Pauses that servers ask for, shared by all connections: what one is told to wait, all wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

/// Until when to leave which host alone.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<HashMap<String, Instant>>);

impl Pauses {
    /// Leaves a host alone for a while; a longer pause that was asked for before stays.
    pub(crate) fn pause(&self, url: &Url, pause: Duration) {
        let until = Instant::now() + pause;
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = pauses.entry(authority(url)).or_insert(until);
        *entry = until.max(*entry);
    }

    /// Waits as long as a host is to be left alone.
    pub(crate) async fn wait(&self, url: &Url) {
        // Asked again afterwards: the pause may have been prolonged while waiting for its end.
        while let Some(until) = self.until(url).filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }

    fn until(&self, url: &Url) -> Option<Instant> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&authority(url))
            .copied()
    }
}

fn authority(url: &Url) -> String {
    format!(
        "{}:{}",
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_holds_back_its_host_and_no_other_and_is_not_shortened() {
        let pauses = Pauses::default();
        let (slow, other) = (
            "https://slow.example/a".parse().unwrap(),
            "https://other.example/a".parse().unwrap(),
        );
        let begin = Instant::now();
        pauses.pause(&slow, Duration::from_secs(9));
        pauses.pause(&slow, Duration::from_secs(3));
        assert!(
            pauses.until(&"https://slow.example:443/b".parse().unwrap()).unwrap() >= begin + Duration::from_secs(9)
        );
        assert_eq!(pauses.until(&other), None);
    }
}
