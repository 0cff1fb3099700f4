//! The blocks of one active file: which are missing, in flight, arrived and written.

use std::ops::Range;

use super::OriginNumber;
use super::piece_length::Distance;
use super::read_ahead_control::ReadAheadControl;

/// The state of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    Missing,
    InFlight,
    /// Arrived and being written.
    Claimed,
    Written,
}

/// What one active file may use, in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) piece: u64,
    pub(super) window: u64,
    pub(super) memory: u64,
    pub(super) distance: Distance,
}

/// The blocks and origins of an active file.
#[derive(Debug)]
pub(super) struct FileBlocks {
    pub(super) blocks: Vec<Block>,
    /// The origins that offer it.
    pub(super) origins: Vec<OriginNumber>,
    /// Origins that offer it in one stream only. They are used when no other is left.
    pub(super) stream_origins: Vec<OriginNumber>,
    /// Number of blocks hashed, from the first on.
    pub(super) hashed: u64,
    /// Number of blocks in state `Missing`.
    pub(super) missing: u64,
    pub(super) pieces_in_flight: u64,
    pub(super) sequential: bool,
    pub(super) read_ahead: ReadAheadControl,
}

impl FileBlocks {
    /// A file without a written block. The caller sets those on disk, of which `hashed` are hashed.
    pub(super) fn new(origins: Vec<OriginNumber>, blocks: u64, hashed: u64) -> Self {
        Self {
            blocks: vec![Block::Missing; usize::try_from(blocks).unwrap_or(usize::MAX)],
            origins,
            stream_origins: Vec::new(),
            hashed,
            missing: blocks,
            pieces_in_flight: 0,
            sequential: false,
            read_ahead: ReadAheadControl::default(),
        }
    }

    /// Records that an origin no longer offers the file. Returns whether another one does.
    pub(super) fn withdraw(&mut self, origin: OriginNumber) -> bool {
        self.origins.retain(|offering| *offering != origin);
        self.stream_origins.retain(|offering| *offering != origin);
        if self.origins.is_empty()
            && let Some(stream) = self.stream_origins.pop()
        {
            self.origins.push(stream);
            self.sequential = true;
        }
        !self.origins.is_empty()
    }

    pub(super) fn is_large(&self) -> bool {
        self.blocks.len() > 1
    }

    pub(super) fn get(&self, block: u64) -> Option<Block> {
        self.blocks.get(usize::try_from(block).ok()?).copied()
    }

    pub(super) fn set(&mut self, block: u64, state: Block) {
        if let Some(entry) = usize::try_from(block).ok().and_then(|block| self.blocks.get_mut(block)) {
            self.missing -= u64::from(*entry == Block::Missing);
            self.missing += u64::from(state == Block::Missing);
            *entry = state;
        }
    }

    /// The range to request blocks from; `None` if no more pieces may be in flight.
    pub(super) fn window(&self, share: Share) -> Option<Range<u64>> {
        let allowed = if self.sequential { 1 } else { self.read_ahead.allowed() };
        if self.pieces_in_flight >= allowed {
            return None;
        }
        let count = self.blocks.len() as u64;
        if self.sequential {
            return Some(self.hashed..count);
        }
        let ahead = if self.read_ahead.is_memory_bound(share.distance, self.is_hash_behind()) {
            share.memory.clamp(1, share.window)
        } else {
            share.window
        };
        Some(self.hashed..count.min(self.hashed + ahead))
    }

    /// Whether the next block to hash is already written.
    pub(super) fn is_hash_behind(&self) -> bool {
        self.get(self.hashed) == Some(Block::Written)
    }

    pub(super) fn is_missing(&self, block: u64) -> bool {
        self.get(block) == Some(Block::Missing)
    }

    /// Whether the hash, or an idle connection, waits for a piece in flight. If the window is full because the hash is
    /// behind, a piece gains nothing by arriving sooner.
    pub(super) fn is_waited_for(&self) -> bool {
        self.missing == 0 || !self.is_hash_behind()
    }

    /// The missing blocks of the next piece that the hash reaches.
    pub(super) fn next(&self, share: Share) -> Option<Range<u64>> {
        let window = self.window(share)?;
        let start = window.clone().find(|block| self.is_missing(*block))?;
        // Pieces end at multiples of their length, so that holes left by an earlier run do not shift all others.
        let end = if self.sequential {
            window.end
        } else {
            // The window advances block by block: pieces that end with it would have one block each.
            let last = if share.distance == Distance::Far {
                self.blocks.len() as u64
            } else {
                window.end
            };
            last.min((start / share.piece + 1) * share.piece)
        };
        let end = (start..end).find(|block| !self.is_missing(*block)).unwrap_or(end);
        Some(start..end)
    }

    /// At most `longest` missing blocks at the end of the window: the hash reaches them last.
    pub(super) fn last(&self, share: Share, longest: u64) -> Option<Range<u64>> {
        let window = self.window(share)?;
        let end = window.clone().rev().find(|block| self.is_missing(*block))? + 1;
        let first = window.start.max(end.saturating_sub(longest));
        let start = (first..end).rev().take_while(|block| self.is_missing(*block)).last()?;
        Some(start..end)
    }
}
