//! `modelcache-operator probe URL`: the chart's test, in an image without shell and curl.

use std::time::Duration;

use anyhow::Context as _;

/// A Service's name and endpoints can lag behind the pod's readiness.
const PROBE_TRIES: u32 = 10;

const PROBE_PAUSE: Duration = Duration::from_secs(1);

const PROBE_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The URL to probe; `None` when the command line starts the operator.
pub(crate) fn requested(arguments: impl IntoIterator<Item = String>) -> Option<String> {
    let mut arguments = arguments.into_iter().skip(1);
    (arguments.next()? == "probe").then(|| arguments.next())?
}

/// Succeeds once the URL returns 200.
pub(crate) async fn run(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PROBE_CALL_TIMEOUT)
        .build()
        .context("failed to build the HTTP client")?;
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match client.get(url).send().await {
            Ok(answer) if answer.status().is_success() => {
                tracing::info!(url, "probe succeeded");
                return Ok(());
            }
            Ok(answer) => anyhow::anyhow!("response status {}", answer.status()),
            Err(error) => error.into(),
        };
        if tries == PROBE_TRIES {
            return Err(error).with_context(|| format!("{url} is not ready after {PROBE_TRIES} tries"));
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn only_the_first_word_asks_for_a_probe() {
        assert_eq!(
            requested(arguments(&["modelcache-operator", "probe", "http://a/readyz"])).as_deref(),
            Some("http://a/readyz")
        );
        assert_eq!(
            requested(arguments(&["modelcache-operator", "--fetcher-image=probe"])),
            None
        );
        assert_eq!(requested(arguments(&["modelcache-operator", "probe"])), None);
        assert_eq!(requested(arguments(&["modelcache-operator"])), None);
    }
}
