//! A test server of generated files, the source that locates them, and a fetch from it.

mod body;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use modelcache_fetcher::http::location::HttpLocation;
use modelcache_fetcher::http::redact::SecretUrl;
use modelcache_fetcher::http::retry::Policy;
use modelcache_fetcher::model::digest::ContentDigest;
use modelcache_fetcher::model::error::{FetchError, SourceError};
use modelcache_fetcher::model::path::FilePath;
use modelcache_fetcher::model::remote_file::RemoteFile;
use modelcache_fetcher::observe::progress::{Progress, Snapshot};
use modelcache_fetcher::source::{Listing, Location, Source};
use modelcache_fetcher::store::Store;
use modelcache_fetcher::transfer::{self, FetchRequest, Origin, Outcome, RangeClient, Settings};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use self::body::{Counts, End, body};

pub(crate) const BLOCK: u64 = 4096;
pub(crate) const PIECE: u64 = 4 * BLOCK;

/// A range request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct RangeRequest {
    /// Number over all files, from 0.
    pub(crate) number: u64,
    /// Number of the located address that the request used.
    pub(crate) address: u64,
    /// Number of response bodies in progress at its arrival.
    pub(crate) active_bodies: u64,
    /// Client end of its connection.
    pub(crate) peer: SocketAddr,
    pub(crate) path: String,
    pub(crate) range: Range<u64>,
    pub(crate) headers: HeaderMap,
}

/// A scripted response.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The right range with status 206.
    Right,
    /// The right range with status 200, like ModelScope.
    RangeWith200,
    /// The whole file, whatever the range.
    Whole,
    /// The right range, cut after some bytes.
    CutAfter(u64),
    /// The right range, stalled after some bytes.
    StallAfter(u64),
    /// Another range of the same length, with its own Content-Range.
    Shifted,
    /// An HTML page with status 200.
    ErrorPage,
    /// An HTML page as long as the file.
    PageOfFileLength,
    /// An HTML page as long as the range.
    PageOfRangeLength,
    /// The right range, labelled as gzip.
    Compressed,
    /// The right range with one flipped bit.
    Flipped,
    /// As many bytes as requested, but the first half twice.
    Repeated,
    /// The right range, followed by more bytes.
    Longer,
    /// The right range, truncated in correct framing.
    Shorter(u64),
    /// The right range in chunks of the given size, with a pause before each.
    Slow(u64, Duration),
    /// A status with headers and an empty body.
    Status(u16, Vec<(&'static str, String)>),
}

type Behaviour = Arc<dyn Fn(&RangeRequest) -> Answer + Send + Sync>;

/// A running server; dropping it stops it.
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    pub(crate) files: Vec<RemoteFile>,
    contents: Arc<BTreeMap<String, Bytes>>,
    requests: Arc<Mutex<Vec<RangeRequest>>>,
    counts: Counts,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reproducible pseudorandom bytes.
pub(crate) fn bytes(seed: u64, size: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next)
        .take(usize::try_from(size).unwrap())
        .collect::<Vec<_>>()
        .into()
}

pub(crate) fn remote(path: &str, content: &[u8]) -> RemoteFile {
    RemoteFile {
        path: FilePath::parse(path).unwrap(),
        size: content.len() as u64,
        digest: ContentDigest::Sha256(Sha256::digest(content).into()),
    }
}

impl Hub {
    /// Serves generated files of these names and sizes. `behaviour` chooses the response to each request.
    pub(crate) async fn serve(
        files: &[(&str, u64)],
        behaviour: impl Fn(&RangeRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let named: Vec<_> = (1..)
            .zip(files)
            .map(|(seed, (path, size))| (*path, bytes(seed, *size)))
            .collect();
        Self::serve_contents(&named, behaviour).await
    }

    /// Serves these files. `behaviour` chooses the response to each request.
    pub(crate) async fn serve_contents(
        files: &[(&str, Bytes)],
        behaviour: impl Fn(&RangeRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let contents: Arc<BTreeMap<String, Bytes>> = Arc::new(
            files
                .iter()
                .map(|(path, content)| ((*path).to_owned(), content.clone()))
                .collect(),
        );
        let requests = Arc::new(Mutex::new(Vec::new()));
        let counts = Counts::default();
        let behaviour: Behaviour = Arc::new(behaviour);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback({
            let (contents, requests, counts) = (Arc::clone(&contents), Arc::clone(&requests), counts.clone());
            move |request: Request| {
                let answer = respond(&contents, &requests, &counts, &behaviour, &request);
                async move { Ok::<_, Infallible>(answer) }
            }
        });
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        let files = files.iter().map(|(path, content)| remote(path, content)).collect();
        Self {
            address,
            files,
            contents,
            requests,
            counts,
            task,
        }
    }

    pub(crate) fn content(&self, path: &str) -> &[u8] {
        &self.contents[path]
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<RangeRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Body bytes written to the network so far.
    pub(crate) fn served(&self) -> u64 {
        self.counts.served.load(Ordering::Relaxed)
    }

    pub(crate) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

fn respond(
    contents: &BTreeMap<String, Bytes>,
    log: &Mutex<Vec<RangeRequest>>,
    counts: &Counts,
    behaviour: &Behaviour,
    request: &Request,
) -> Response<Body> {
    // The first segment is the number of the located address.
    let (address, path) = request.uri().path().trim_start_matches('/').split_once('/').unwrap();
    let path = path.to_owned();
    let content = contents[&path].clone();
    let size = content.len() as u64;
    let range = request.headers()[header::RANGE]
        .to_str()
        .unwrap()
        .strip_prefix("bytes=")
        .unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let range = first.parse().unwrap()..last.parse::<u64>().unwrap() + 1;
    let received = {
        let mut log = log.lock().unwrap();
        let received = RangeRequest {
            number: log.len() as u64,
            address: address.parse().unwrap(),
            active_bodies: counts.active_bodies.load(Ordering::Relaxed),
            peer: request.extensions().get::<ConnectInfo<SocketAddr>>().unwrap().0,
            path,
            range: range.clone(),
            headers: request.headers().clone(),
        };
        log.push(received.clone());
        received
    };
    if received.range.end > size {
        // Some test redirects to another, shorter file.
        return Response::builder().status(416).body(Body::empty()).unwrap();
    }
    let part =
        |range: &Range<u64>| content.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
    let content_range = |range: &Range<u64>| format!("bytes {}-{}/{size}", range.start, range.end - 1);
    let length = range.end - range.start;
    let builder = Response::builder().status(StatusCode::PARTIAL_CONTENT);
    let ranged = builder
        .header(header::CONTENT_RANGE, content_range(&range))
        .header(header::CONTENT_LENGTH, length);
    // Without Content-Length, so that only the end of the body shows the length.
    let chunked = |bytes: Vec<u8>| {
        Response::builder()
            .status(206)
            .header(header::CONTENT_RANGE, content_range(&range))
            .body(body(bytes.into(), counts, End::Proper))
    };
    match behaviour(&received) {
        Answer::Right => ranged.body(body(part(&range), counts, End::Proper)),
        Answer::RangeWith200 => ranged.status(200).body(body(part(&range), counts, End::Proper)),
        Answer::Whole => {
            Response::builder()
                .header(header::CONTENT_LENGTH, size)
                .body(body(content.clone(), counts, End::Proper))
        }
        Answer::CutAfter(bytes) => {
            let kept = part(&range).slice(..usize::try_from(bytes.min(length)).unwrap());
            ranged.body(body(kept, counts, End::Cut))
        }
        Answer::StallAfter(bytes) => {
            let kept = part(&range).slice(..usize::try_from(bytes.min(length)).unwrap());
            ranged.body(body(kept, counts, End::Stall))
        }
        Answer::Shifted => {
            // A whole file has no other range of its length; its shifted range keeps the start.
            let start = if range.end < size {
                range.start + 1
            } else {
                range.start.saturating_sub(1)
            };
            let shifted = start..start + length;
            Response::builder()
                .status(206)
                .header(header::CONTENT_RANGE, content_range(&shifted))
                .body(body(part(&shifted), counts, End::Proper))
        }
        Answer::ErrorPage => page(28, counts),
        Answer::PageOfFileLength => page(size, counts),
        Answer::PageOfRangeLength => page(length, counts),
        Answer::Repeated => {
            let half = part(&(range.start..range.start + length / 2));
            let mut repeated = [half.clone(), half].concat();
            repeated.resize(usize::try_from(length).unwrap(), 0);
            chunked(repeated)
        }
        Answer::Longer => chunked([&part(&range)[..], b"and more"].concat()),
        Answer::Shorter(bytes) => chunked(part(&range)[..usize::try_from(bytes.min(length)).unwrap()].to_vec()),
        Answer::Compressed => {
            ranged
                .header(header::CONTENT_ENCODING, "gzip")
                .body(body(part(&range), counts, End::Proper))
        }
        Answer::Flipped => {
            let mut flipped = part(&range).to_vec();
            flipped[0] ^= 1;
            ranged.body(body(flipped.into(), counts, End::Proper))
        }
        Answer::Slow(bytes, pause) => ranged.body(body(part(&range), counts, End::Trickle(bytes, pause))),
        Answer::Status(status, headers) => Ok(refusal(status, headers)),
    }
    .unwrap()
}

fn page(length: u64, counts: &Counts) -> axum::http::Result<Response<Body>> {
    let mut page = b"<html>try again later</html>".to_vec();
    page.resize(usize::try_from(length).unwrap(), b' ');
    Response::builder()
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .header(header::CONTENT_LENGTH, length)
        .body(body(page.into(), counts, End::Proper))
}

fn refusal(status: u16, headers: Vec<(&'static str, String)>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_str(&value).unwrap();
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}

/// Source that locates the files of a hub, at a new address each time.
pub(crate) struct HubSource {
    pub(crate) address: SocketAddr,
    pub(crate) headers: HeaderMap,
    pub(crate) located: AtomicU64,
}

impl HubSource {
    pub(crate) fn new(address: std::net::SocketAddr) -> Self {
        Self {
            address,
            headers: HeaderMap::new(),
            located: AtomicU64::new(0),
        }
    }

    pub(crate) fn with_token(address: std::net::SocketAddr) -> Self {
        let token = HeaderValue::from_static("Bearer secret");
        Self {
            headers: HeaderMap::from_iter([(header::AUTHORIZATION, token)]),
            ..Self::new(address)
        }
    }
}

#[async_trait]
impl Source for HubSource {
    async fn list(&self) -> Result<Listing, SourceError> {
        unreachable!("the tests pass the files to the engine")
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        let count = self.located.fetch_add(1, Ordering::Relaxed);
        let url = format!("http://{}/{count}/{}?signature=secret", self.address, file.path);
        Ok(Location::Http(HttpLocation {
            url: SecretUrl::new(url.parse().unwrap()),
            headers: self.headers.clone(),
            expires: None,
        }))
    }
}

/// An origin for a second hub.
pub(crate) fn mirror(name: &str, hub: &Hub) -> Origin {
    Origin {
        name: name.to_owned(),
        source: Arc::new(HubSource::new(hub.address)),
        revision: "its own".to_owned(),
        files: hub.files.clone(),
    }
}

/// Settings with small pieces and short waits, for fast tests.
pub(crate) fn settings() -> Settings {
    Settings {
        connections: 4,
        parallel_files: 2,
        files_ahead: 0,
        stall_timeout: Duration::from_millis(400),
        retry: Policy {
            base: Duration::from_millis(1),
            ..Policy::default()
        },
        piece_bytes: PIECE,
        block_bytes: BLOCK,
        window_bytes: 8 * PIECE,
        far_window_bytes: 8 * PIECE,
        unsynced_bytes: 16 * BLOCK,
        sync_interval: Duration::from_millis(50),
        seed: 7,
        ..Settings::default()
    }
}

/// A fetch of all files of a hub into a folder.
pub(crate) struct Fetch {
    pub(crate) settings: Settings,
    pub(crate) source: Arc<HubSource>,
    /// Further origins.
    pub(crate) mirrors: Vec<Origin>,
    pub(crate) stop: CancellationToken,
    pub(crate) progress: Progress,
}

impl Fetch {
    pub(crate) fn from(hub: &Hub) -> Self {
        Self::through(HubSource::new(hub.address))
    }

    pub(crate) fn through(source: HubSource) -> Self {
        Self {
            settings: settings(),
            source: Arc::new(source),
            mirrors: Vec::new(),
            stop: CancellationToken::new(),
            progress: Progress::default(),
        }
    }

    pub(crate) async fn run(&self, files: &[RemoteFile], store: &Store, revision: &str) -> Result<Outcome, FetchError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .build()
            .unwrap();
        let source: Arc<dyn Source> = Arc::clone(&self.source) as _;
        let mut origins = vec![Origin {
            name: "hub".to_owned(),
            source,
            revision: revision.to_owned(),
            files: files.to_vec(),
        }];
        origins.extend(self.mirrors.iter().cloned());
        let client = RangeClient::new(client);
        let stop = self.stop.clone();
        transfer::fetch(FetchRequest {
            files,
            revision,
            origins,
            client,
            store,
            settings: &self.settings,
            progress: &self.progress,
            stop,
        })
        .await
    }

    pub(crate) fn counted(&self) -> Snapshot {
        self.progress.snapshot()
    }
}

/// Fetches and publishes all files, and checks every published byte and the counts.
pub(crate) async fn fetch_and_check(hub: &Hub, fetch: &Fetch) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let outcome = fetch.run(&hub.files, &store, "abc").await.unwrap();
    store.publish("abc", &hub.files, "hub").unwrap();
    check(hub, folder.path());
    let counted = fetch.counted();
    assert_eq!(counted.bytes_verified, hub.size());
    assert_eq!(counted.bytes_fetched(), hub.size());
    assert_eq!(counted.files_done, hub.files.len() as u64);
    outcome
}

/// Checks that the published files are equal to those of the hub.
pub(crate) fn check(hub: &Hub, root: &Path) {
    for file in &hub.files {
        let published = std::fs::read(root.join("current").join(file.path.as_str())).unwrap();
        assert!(published == hub.content(file.path.as_str()), "{} differs", file.path);
    }
}
