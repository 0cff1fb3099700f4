//! Where a real server of the tests may listen.

/// A port that nobody listens on, for servers that want to be told one.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}
