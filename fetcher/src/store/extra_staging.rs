//! What else is staged in the revision that the engine fills.

/// What others do in the staging that the engine fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtraStaging {
    /// Bytes that they need on the volume.
    pub(crate) bytes: u64,
    /// Whether they stage anything: then the revision is staged as a whole.
    pub(crate) is_staged: bool,
}
