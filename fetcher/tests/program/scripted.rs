//! A server that answers as it is told and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, COOKIE, IF_MATCH, RANGE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::net::TcpListener;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    cut: Option<usize>,
    never: bool,
    ranges: Ranges,
}

/// What becomes of a range that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    /// It is sent with status 206.
    Sent,
    /// It is sent with status 200, as ModelScope does.
    SentWithStatus200,
    /// The whole body is sent.
    Ignored,
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
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
    asked: Vec<Asked>,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
}

pub(crate) fn answer(status: u16) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Vec::new(),
        cut: None,
        never: false,
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

    /// Announces the whole body and closes the connection after so many bytes of it.
    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Sends ranges with status 200; only `Content-Range` tells.
    pub(crate) fn with_status_200_for_ranges(mut self) -> Self {
        self.ranges = Ranges::SentWithStatus200;
        self
    }

    /// Sends all of the body whatever range is asked for.
    pub(crate) fn without_ranges(mut self) -> Self {
        self.ranges = Ranges::Ignored;
        self
    }

    /// No answer at all.
    pub(crate) fn never(mut self) -> Self {
        self.never = true;
        self
    }
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::<Mutex<Script>>::default();
        let router = Router::new().fallback(reply).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, script }
    }

    /// Answers a request, given as `GET /path?query`, in this order; the last answer stays.
    pub(crate) fn on(&self, line: &str, answers: impl IntoIterator<Item = Answer>) -> &Self {
        let mut script = self.script.lock().unwrap();
        script.answers.insert(line.to_owned(), answers.into_iter().collect());
        drop(script);
        self
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }

    /// How often this was asked.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.asked().iter().filter(|asked| asked.line == line).count()
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
        script.asked.push(Asked {
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
    if answer.never {
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
