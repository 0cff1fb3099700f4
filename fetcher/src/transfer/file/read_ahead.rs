//! Reads back what left memory before the hash came to it, while the hash is busy with what comes before.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::buffers::{Buffer, Buffers};
use crate::disk::block_file::Disk;

/// A block, and the memory for it.
#[derive(Debug)]
struct Order {
    offset: u64,
    length: usize,
    buffer: Buffer,
}

/// A thread that reads one block after the other.
#[derive(Debug)]
struct Reader {
    orders: Sender<Order>,
    done: Receiver<io::Result<Buffer>>,
    is_free: bool,
}

/// Blocks of one file that are read in the order they are asked for.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    disk: Arc<Disk>,
    buffers: Arc<Buffers>,
    /// Started when they are needed: most files are never read back.
    readers: Vec<Reader>,
    /// Blocks that are being read, each with its reader.
    under_way: VecDeque<(u64, usize)>,
}

impl ReadAhead {
    pub(crate) fn new(disk: Arc<Disk>, buffers: Arc<Buffers>) -> Self {
        Self {
            disk,
            buffers,
            readers: Vec::new(),
            under_way: VecDeque::new(),
        }
    }

    /// Whether a block was asked for.
    pub(crate) fn has(&self, block: u64) -> bool {
        self.under_way.iter().any(|(asked, _)| *asked == block)
    }

    /// Asks for a block, if there is memory for it: there is when enough of those before were taken, of all files.
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
        let order = Order { offset, length, buffer };
        if let Some(reader) = self.readers.get_mut(number)
            && reader.orders.send(order).is_ok()
        {
            reader.is_free = false;
            self.under_way.push_back((block, number));
        }
        Ok(true)
    }

    /// Waits for a block that was asked for.
    pub(crate) fn take(&mut self, block: u64) -> Option<io::Result<Buffer>> {
        let place = self.under_way.iter().position(|(asked, _)| *asked == block)?;
        let (_, number) = self.under_way.remove(place)?;
        let reader = self.readers.get_mut(number)?;
        let done = reader.done.recv().ok()?;
        reader.is_free = true;
        Some(done)
    }

    /// Forgets what was asked for.
    pub(crate) fn clear(&mut self) {
        while let Some((block, _)) = self.under_way.front() {
            drop(self.take(*block));
        }
    }
}

fn start(disk: Arc<Disk>) -> io::Result<Reader> {
    let (orders, ordered) = channel::<Order>();
    let (tell, done) = channel();
    std::thread::Builder::new().name("read".to_owned()).spawn(move || {
        for mut order in ordered {
            let read = disk.read(order.buffer.fill(order.length), order.offset);
            if tell.send(read.map(|()| order.buffer)).is_err() {
                return;
            }
        }
    })?;
    Ok(Reader {
        orders,
        done,
        is_free: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_side_by_side_and_taken_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::open(&folder.path().join("file"), false).unwrap());
        for block in 0..6 {
            disk.write(&[block; 10], u64::from(block) * 10).unwrap();
        }
        let mut ahead = ReadAhead::new(disk, Buffers::new(10, 1, 0));
        for block in 0..6 {
            let is_asked = ahead.ask(block, block * 10, 10).unwrap();
            assert_eq!(is_asked, block < 4, "so many are read at the same time");
        }
        let mut bytes = |block| ahead.take(block).map(|read| read.unwrap().bytes().to_vec());
        assert_eq!(bytes(2), Some(vec![2; 10]));
        assert_eq!(bytes(0), Some(vec![0; 10]));
        assert_eq!(bytes(0), None, "it was taken");
        assert_eq!(bytes(5), None, "it was one too many");
        assert!(ahead.ask(5, 50, 10).unwrap());
        assert!(ahead.has(5) && ahead.has(3));
        ahead.clear();
        assert!(!ahead.has(5) && !ahead.has(3));
    }

    #[test]
    fn what_cannot_be_read_is_told_to_who_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::open(&folder.path().join("file"), false).unwrap());
        let mut ahead = ReadAhead::new(disk, Buffers::new(10, 1, 0));
        ahead.ask(0, 0, 10).unwrap();
        let error = ahead.take(0).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
