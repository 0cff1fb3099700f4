//! What bounds the schedule, and what there is to request.

/// Limits of pieces and read-ahead, in blocks unless a field says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Length of a piece. It may change from one piece to the next.
    pub(crate) piece: u64,
    /// Length of the shortest pieces, which are cut when little is missing.
    pub(crate) shortest: u64,
    /// Number of pieces in flight.
    pub(crate) connections: u64,
    /// Number of files of more than one block that are requested at the same time: the oldest ones that miss blocks.
    pub(crate) files: usize,
    /// How far pieces may run ahead of the hash while it waits for the source.
    pub(crate) window: u64,
    /// The same for far sources, whose pieces are long and arrive concurrently.
    pub(crate) far_window: u64,
    /// How far pieces of all files together may run ahead and stay in memory. It applies while the source waits for the hash,
    /// or is near and fast: a block further ahead would have to be read back.
    pub(crate) memory: u64,
    /// Whether our own bandwidth cap may be what slows pieces down.
    pub(crate) is_capped: bool,
}

/// Which files there are to request from an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// The origin offers at least one active file.
    pub(crate) is_any: bool,
    /// The origin offers an active file that no other origin offers.
    pub(crate) is_exclusive: bool,
}
