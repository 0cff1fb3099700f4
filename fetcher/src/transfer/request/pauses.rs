//! Pauses that servers ask for. All connections keep the pause that one of them was asked for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

/// Until when requests to each host pause.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<HashMap<String, Instant>>);

impl Pauses {
    /// Pauses requests to a host. An earlier, longer pause stays.
    pub(crate) fn pause(&self, url: &Url, pause: Duration) {
        let until = Instant::now() + pause;
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = pauses.entry(authority(url)).or_insert(until);
        *entry = until.max(*entry);
    }

    /// Waits until the pause of a host ends.
    pub(crate) async fn wait(&self, url: &Url) {
        // Checked again afterwards, because the pause may be extended during the wait.
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
    fn a_pause_applies_only_to_its_host_and_is_not_shortened() {
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
