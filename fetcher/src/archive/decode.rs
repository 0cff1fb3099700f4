//! Decompresses an archive. Its first bytes decide on the compression, not its media type.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::disk::page_cache::forget;

/// Bytes that are read from disk at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Maximum number of bytes that stay in the page cache, which counts as memory of the process.
const MAX_CACHED_BYTES: u64 = 8 << 20;

/// Maximum window of a zstd frame, and so its memory; levels up to 19 need less.
const MAX_ZSTD_WINDOW_BYTES: u64 = 64 << 20;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A reader of the decompressed tar in an archive.
pub(super) fn tar_of(archive: File) -> io::Result<Box<dyn Read>> {
    decoded(BufReader::with_capacity(
        BUFFER_BYTES,
        Uncached {
            file: archive,
            read: 0,
            cached: 0,
        },
    ))
}

/// A reader of the decompressed bytes; bytes without a known magic are not compressed.
fn decoded<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let begin = reader.fill_buf()?;
    Ok(if begin.starts_with(GZIP_MAGIC) {
        Box::new(MultiGzDecoder::new(reader))
    } else if begin.starts_with(ZSTD_MAGIC) {
        Box::new(Zstd::new(reader))
    } else {
        Box::new(reader)
    })
}

/// A file whose bytes are dropped from the page cache after they are read.
struct Uncached {
    file: File,
    read: u64,
    cached: u64,
}

impl Read for Uncached {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        if self.read - self.cached >= MAX_CACHED_BYTES {
            forget(&self.file, self.cached, self.read - self.cached);
            self.cached = self.read;
        }
        Ok(read)
    }
}

/// A decoder of all zstd frames in a stream: `pzstd` writes several.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_ZSTD_WINDOW_BYTES);
        Self {
            source,
            decoder,
            is_in_frame: false,
        }
    }

    /// Starts the next frame of content and returns whether there is one.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_in_frame && !self.begin_frame()? {
                return Ok(0);
            }
            self.is_in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.is_in_frame = false;
        }
    }
}

/// A reader of the decompressed tar in these bytes; for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn tar_in(bytes: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    decoded(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    fn decoded(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        file.seek(SeekFrom::Start(0))?;
        let mut text = Vec::new();
        tar_of(file)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn the_first_bytes_say_how_it_is_packed() {
        let text: Vec<u8> = (0..=250).cycle().take(300_000).collect();
        assert!(decoded(&text).unwrap() == text);
        assert!(decoded(&gzip(&text)).unwrap() == text);
        assert!(decoded(&zstd(&text)).unwrap() == text);
    }

    #[test]
    fn what_was_packed_in_parts_is_one_text() {
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
        let zstd = [zstd(b"one "), skippable, zstd(b"two")].concat();
        assert_eq!(decoded(&zstd).unwrap(), b"one two");
        let gzip = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decoded(&gzip).unwrap(), b"one two");
    }

    #[test]
    fn what_is_cut_or_damaged_is_an_error() {
        let text = [7; 5000];
        for packed in [gzip(&text), zstd(&text)] {
            assert!(decoded(&packed[..packed.len() - 5]).is_err());
            assert!(decoded(&packed[..6]).is_err());
        }
        let mut damaged = gzip(&text);
        let last = damaged.len() - 5;
        damaged[last] ^= 1;
        assert!(decoded(&damaged).is_err());
    }
}
