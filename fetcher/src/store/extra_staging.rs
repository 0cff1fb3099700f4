//! What other parts of the fetcher stage into the same revision as the engine.

/// What another part of the fetcher stages into the same revision as the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtraStaging {
    /// Bytes that it needs on the volume.
    pub(crate) bytes: u64,
    /// Whether it stages files; then the engine stages the revision as a whole.
    pub(crate) is_staged: bool,
}
