//! Room on the host's disk, which nothing the server keeps for a sandbox may use up.

use std::io;
use std::path::Path;

/// Whether less than so many bytes are free where this path is.
pub(super) fn is_scarce(path: &Path, floor: u64) -> io::Result<bool> {
    let space = rustix::fs::statvfs(path)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize) < floor)
}
