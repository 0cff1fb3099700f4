//! The sources and the program against scripted and real servers: requests sent, and how each response is handled.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod archives;
mod certificates;
mod command_line;
mod conversation;
mod encrypted;
mod formats;
mod layouts;
mod local;
mod mirror_quirks;
mod mirrors;
mod model_scope;
mod oras;
mod plain_http;
mod port;
mod proxy;
mod registry;
mod registry_tokens;
mod s3;
mod s3_gateway;
mod s3_trouble;
mod scripted;
