//! The tar in an archive, whatever it is compressed with: its first bytes say that, not its media type.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::disk::page_cache::forget;

/// Bytes read from the disk at once.
const BUFFER: usize = 256 << 10;

/// Bytes that may stay in the page cache, which is charged to us.
const CACHED: u64 = 8 << 20;

/// What a frame of zstd may want to look back on, and so the memory it takes: more than its levels up to 19 do.
const LARGEST_WINDOW: u64 = 64 << 20;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A tar, decompressed as it is read.
pub(super) fn tar_of(archive: File) -> io::Result<Box<dyn Read>> {
    decoded(BufReader::with_capacity(
        BUFFER,
        Uncached {
            file: archive,
            read: 0,
            cached: 0,
        },
    ))
}

/// What was packed, whatever it was packed with.
fn decoded<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let begin = reader.fill_buf()?;
    Ok(if begin.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(reader))
    } else if begin.starts_with(ZSTD) {
        Box::new(Zstd::new(reader))
    } else {
        Box::new(reader)
    })
}

/// A file that does not stay in the page cache once it was read.
struct Uncached {
    file: File,
    read: u64,
    cached: u64,
}

impl Read for Uncached {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        if self.read - self.cached >= CACHED {
            forget(&self.file, self.cached, self.read - self.cached);
            self.cached = self.read;
        }
        Ok(read)
    }
}

/// One frame of zstd after another, as `zstd` and `pzstd` write them.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        Self {
            source,
            decoder,
            is_in_frame: false,
        }
    }

    /// Begins the next frame of content; says whether there is one.
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

/// Some bytes, decompressed as they are read; for the fuzz targets.
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
