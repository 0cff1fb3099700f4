//! Free space of a file system, and the error for a full one.

use std::io;
use std::path::Path;

/// Free bytes on the file system of a folder, for unprivileged users.
pub(crate) fn free(folder: &Path) -> io::Result<u64> {
    let statistics = rustix::fs::statvfs(folder)?;
    Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}

/// The error for a full disk, with the needed and the free bytes.
pub(crate) fn too_little(needed: u64, free: Option<u64>) -> io::Error {
    let free = free.map_or_else(|| "less".to_owned(), |free| format!("only {}", size(free)));
    let message = format!(
        "no space left: needs {} more, {free} is free; enlarge the volume or free space on it",
        size(needed)
    );
    io::Error::new(io::ErrorKind::StorageFull, message)
}

/// Formats bytes in the units of Kubernetes quantities.
fn size(bytes: u64) -> String {
    let (unit, divisor) = match bytes {
        0..0x10_0000 => ("Ki", 0x400_u64),
        0x10_0000..0x4000_0000 => ("Mi", 0x10_0000),
        _ => ("Gi", 0x4000_0000),
    };
    format!("{:.1}{unit}", bytes as f64 / divisor as f64)
}
