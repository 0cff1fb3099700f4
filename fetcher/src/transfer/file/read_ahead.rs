//! Reads evicted blocks back from disk, while the hash is busy with earlier ones.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::buffers::{Buffer, Buffers};
use crate::disk::block_file::Disk;

/// A block to read, and the memory for it.
#[derive(Debug)]
struct ReadRequest {
    offset: u64,
    length: usize,
    buffer: Buffer,
}

/// A thread that reads one block after another.
#[derive(Debug)]
struct Reader {
    requests: Sender<ReadRequest>,
    done: Receiver<io::Result<Buffer>>,
    is_free: bool,
}

/// Reads blocks of one file concurrently.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    disk: Arc<Disk>,
    buffers: Arc<Buffers>,
    /// Started when needed, because most files are never read back.
    readers: Vec<Reader>,
    /// Requested blocks that were not taken yet, each with the index of its reader.
    in_flight: VecDeque<(u64, usize)>,
}

impl ReadAhead {
    pub(crate) fn new(disk: Arc<Disk>, buffers: Arc<Buffers>) -> Self {
        Self {
            disk,
            buffers,
            readers: Vec::new(),
            in_flight: VecDeque::new(),
        }
    }

    /// Whether a block was requested and not taken yet.
    pub(crate) fn has(&self, block: u64) -> bool {
        self.in_flight.iter().any(|(asked, _)| *asked == block)
    }

    /// Requests a block. Returns false if all spare buffers are in use, over all files.
    pub(crate) fn ask(&mut self, block: u64, offset: u64, length: usize) -> io::Result<bool> {
        let Some(buffer) = self.buffers.spare() else {
            return Ok(false);
        };
        let free = self.readers.iter().position(|reader| reader.is_free);
        let number = if let Some(number) = free {
            number
        } else {
            self.readers.push(start(Arc::clone(&self.disk))?);
            self.readers.len() - 1
        };
        let request = ReadRequest { offset, length, buffer };
        if let Some(reader) = self.readers.get_mut(number)
            && reader.requests.send(request).is_ok()
        {
            reader.is_free = false;
            self.in_flight.push_back((block, number));
        }
        Ok(true)
    }

    /// Waits for a block that was requested; `None` if it was not.
    pub(crate) fn take(&mut self, block: u64) -> Option<io::Result<Buffer>> {
        let place = self.in_flight.iter().position(|(asked, _)| *asked == block)?;
        let (_, number) = self.in_flight.remove(place)?;
        let reader = self.readers.get_mut(number)?;
        let done = reader.done.recv().ok()?;
        reader.is_free = true;
        Some(done)
    }

    /// Discards all requested blocks.
    pub(crate) fn clear(&mut self) {
        while let Some((block, _)) = self.in_flight.front() {
            drop(self.take(*block));
        }
    }
}

fn start(disk: Arc<Disk>) -> io::Result<Reader> {
    let (requests, received) = channel::<ReadRequest>();
    let (results, done) = channel();
    std::thread::Builder::new().name("read".to_owned()).spawn(move || {
        for mut request in received {
            let read = disk.read(request.buffer.fill(request.length), request.offset);
            if results.send(read.map(|()| request.buffer)).is_err() {
                return;
            }
        }
    })?;
    Ok(Reader {
        requests,
        done,
        is_free: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_concurrently_and_taken_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::open(&folder.path().join("file"), false).unwrap());
        for block in 0..6 {
            disk.write(&[block; 10], u64::from(block) * 10).unwrap();
        }
        let mut ahead = ReadAhead::new(disk, Buffers::new(10, 1, 0));
        for block in 0..6 {
            let is_asked = ahead.ask(block, block * 10, 10).unwrap();
            assert_eq!(is_asked, block < 4, "four are read at the same time");
        }
        let mut bytes = |block| ahead.take(block).map(|read| read.unwrap().bytes().to_vec());
        assert_eq!(bytes(2), Some(vec![2; 10]));
        assert_eq!(bytes(0), Some(vec![0; 10]));
        assert_eq!(bytes(0), None, "it was taken already");
        assert_eq!(bytes(5), None, "it was not requested");
        assert!(ahead.ask(5, 50, 10).unwrap());
        assert!(ahead.has(5) && ahead.has(3));
        ahead.clear();
        assert!(!ahead.has(5) && !ahead.has(3));
    }

    #[test]
    fn a_read_error_is_returned_by_take() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::open(&folder.path().join("file"), false).unwrap());
        let mut ahead = ReadAhead::new(disk, Buffers::new(10, 1, 0));
        ahead.ask(0, 0, 10).unwrap();
        let error = ahead.take(0).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
