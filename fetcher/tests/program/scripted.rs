//! A server with scripted answers that records its requests.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, COOKIE, IF_MATCH, RANGE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::net::TcpListener;

/// A scripted answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    cut: Option<usize>,
    is_withheld: bool,
    ranges: Ranges,
}

/// How the server handles a requested range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    /// Sends the range with status 206.
    Sent,
    /// Sends the range with status 200, as ModelScope does.
    SentWithStatus200,
    /// Sends the whole body.
    Ignored,
}

/// A received request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedRequest {
    /// Method, path and query.
    pub(crate) line: String,
    /// The `Authorization` header.
    pub(crate) authorization: Option<String>,
    /// The `Cookie` header.
    pub(crate) cookie: Option<String>,
    /// The `If-Match` header.
    pub(crate) if_match: Option<String>,
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, VecDeque<Answer>>,
    requests: Vec<ReceivedRequest>,
}

/// The server, which stops with the runtime of the test.
#[derive(Clone)]
pub(crate) struct ScriptedServer {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
}

pub(crate) fn answer(status: u16) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Vec::new(),
        cut: None,
        is_withheld: false,
        ranges: Ranges::Sent,
    }
}

pub(crate) fn json(body: &str) -> Answer {
    answer(200)
        .header("content-type", "application/json")
        .body(body.as_bytes())
}

impl Answer {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers
            .insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// Announces the whole body and closes the connection after `bytes` of it.
    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Sends ranges with status 200; only `Content-Range` shows that they are ranges.
    pub(crate) fn with_status_200_for_ranges(mut self) -> Self {
        self.ranges = Ranges::SentWithStatus200;
        self
    }

    /// Sends the whole body for every requested range.
    pub(crate) fn without_ranges(mut self) -> Self {
        self.ranges = Ranges::Ignored;
        self
    }

    /// Never responds.
    pub(crate) fn withheld(mut self) -> Self {
        self.is_withheld = true;
        self
    }
}

impl ScriptedServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::<Mutex<Script>>::default();
        let router = Router::new().fallback(reply).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, script }
    }

    /// Sets the answers to a request such as `GET /path?query`, in order; the last one repeats.
    pub(crate) fn on(&self, line: &str, answers: impl IntoIterator<Item = Answer>) -> &Self {
        let mut script = self.script.lock().unwrap();
        script.answers.insert(line.to_owned(), answers.into_iter().collect());
        drop(script);
        self
    }

    /// The requests received so far.
    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.script.lock().unwrap().requests.clone()
    }

    /// How many times a request was received.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.requests().iter().filter(|request| request.line == line).count()
    }
}

async fn reply(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response<Body> {
    let target = request.uri().path_and_query().unwrap().as_str();
    let line = format!("{} {target}", request.method());
    let is_head = request.method() == Method::HEAD;
    let (parts, _) = request.into_parts();
    let header = |name| {
        parts
            .headers
            .get(name)
            .map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
    };
    let (authorization, cookie, range) = (header(AUTHORIZATION), header(COOKIE), header(RANGE));
    let answer = {
        let mut script = script.lock().unwrap();
        script.requests.push(ReceivedRequest {
            line: line.clone(),
            authorization,
            cookie,
            if_match: header(IF_MATCH),
        });
        match script.answers.get_mut(&line) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
    };
    let Some(answer) = answer else {
        return respond(&self::answer(404).body(format!("nothing scripted for {line}").as_bytes()));
    };
    if answer.is_withheld {
        std::future::pending::<()>().await;
    }
    if is_head {
        let mut response = respond(&answer);
        if answer.status.is_success() && !answer.headers.contains_key(CONTENT_LENGTH) {
            response.headers_mut().insert(CONTENT_LENGTH, answer.body.len().into());
        }
        return response;
    }
    match range {
        Some(range) if answer.status == StatusCode::OK && answer.ranges != Ranges::Ignored => {
            respond(&part(&answer, &range))
        }
        _ => respond(&answer),
    }
}

fn part(answer: &Answer, range: &str) -> Answer {
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let mut part = answer.clone();
    if answer.ranges == Ranges::Sent {
        part.status = StatusCode::PARTIAL_CONTENT;
    }
    part.body = answer.body[first..=last].to_vec();
    let content_range = format!("bytes {first}-{last}/{}", answer.body.len());
    part.headers
        .insert(CONTENT_RANGE, HeaderValue::from_str(&content_range).unwrap());
    part
}

fn respond(answer: &Answer) -> Response<Body> {
    let body = match answer.cut {
        None => Body::from(answer.body.clone()),
        Some(bytes) => {
            let sent = Ok(answer.body[..bytes].to_vec());
            let broken = Err(std::io::Error::other("cut by the script"));
            Body::from_stream(futures::stream::iter([sent, broken]))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers.clone();
    if answer.cut.is_some() {
        response.headers_mut().insert(CONTENT_LENGTH, answer.body.len().into());
    }
    response
}
