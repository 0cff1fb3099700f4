//! Measures the lower bounds of a fetch on this machine: the time to write the bytes durably, and the time to hash them
//! with the fetcher's implementation of SHA-256.
#![expect(clippy::print_stdout, reason = "the result goes to standard output")]

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Block sizes and thread counts to try for the write; the fastest is the limit.
const VARIANTS: [(usize, u64); 3] = [(1 << 20, 1), (8 << 20, 1), (1 << 20, 4)];

/// Alignment of address and length of a block for direct I/O.
const ALIGNMENT: usize = 4096;

/// Bytes hashed at once: a block of the fetcher, from memory larger than the processor's caches.
const HASHED_AT_ONCE: usize = 1 << 20;
const HASHED_MEMORY: usize = 64 << 20;

/// Prints as JSON the seconds to write (preallocated, `O_DIRECT`, synced) and to hash (SHA-256) a number of bytes.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// A folder on the disk to measure; the program removes the file that it writes there.
    folder: PathBuf,

    /// Number of bytes, rounded up to a multiple of 8 MiB.
    #[arg(value_parser = clap::value_parser!(u64).range(8 << 20..))]
    bytes: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let bytes = arguments.bytes.next_multiple_of(8 << 20);
    let path = arguments.folder.join("modelcache-test-limits.tmp");
    let written = VARIANTS.iter().map(|&(block, threads)| {
        let seconds = write(&path, bytes, block, threads);
        // Removes the file after a failure too.
        let _ = std::fs::remove_file(&path);
        let seconds = seconds.with_context(|| format!("failed to write {}", path.display()))?;
        Ok(json!({"block": block, "threads": threads, "seconds": seconds}))
    });
    let written = written.collect::<anyhow::Result<Vec<_>>>()?;
    println!(
        "{}",
        json!({"bytes": bytes, "write": written, "sha256_seconds": hash(bytes)})
    );
    Ok(())
}

fn write(path: &Path, bytes: u64, block: usize, threads: u64) -> anyhow::Result<f64> {
    let memory = noise(block + ALIGNMENT);
    let from = memory.as_ptr().align_offset(ALIGNMENT);
    let data = &memory[from..from + block];
    let direct = i32::try_from(OFlags::DIRECT.bits())?;
    let start = Instant::now();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(direct)
        .open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    let blocks = bytes / block as u64;
    let share = |thread: u64| -> std::io::Result<()> {
        for number in (thread..blocks).step_by(usize::try_from(threads).unwrap_or(1)) {
            file.write_all_at(data, number * block as u64)?;
        }
        Ok(())
    };
    let share = &share;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        all.into_iter().try_for_each(|one| {
            one.join()
                .unwrap_or_else(|_| Err(std::io::Error::other("a thread panicked")))
        })
    })?;
    file.sync_all()?;
    Ok(start.elapsed().as_secs_f64())
}

fn hash(bytes: u64) -> f64 {
    let memory = noise(HASHED_MEMORY);
    let start = Instant::now();
    let mut digest = Sha256::new();
    let blocks = usize::try_from(bytes).unwrap_or(usize::MAX) / HASHED_AT_ONCE;
    for block in memory.chunks(HASHED_AT_ONCE).cycle().take(blocks) {
        digest.update(block);
    }
    std::hint::black_box(digest.finalize());
    start.elapsed().as_secs_f64()
}

/// Pseudorandom bytes, which a disk cannot compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8))
        .flat_map(|_| next().to_le_bytes())
        .take(length)
        .collect()
}
