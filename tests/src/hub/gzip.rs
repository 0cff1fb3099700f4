//! Gzip encoding without compression, to test clients that take the encoded length for the real one.

const STORED_BLOCK: usize = 0xffff;

pub(crate) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut rest = bytes;
    loop {
        let (block, tail) = rest.split_at(rest.len().min(STORED_BLOCK));
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(tail.is_empty()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    out.extend(crc32(bytes).to_le_bytes());
    // The trailer holds the length modulo 2^32.
    out.extend(
        u32::try_from(bytes.len() & 0xffff_ffff)
            .unwrap_or_default()
            .to_le_bytes(),
    );
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(&stored(b"123456789")[24..], [0x26, 0x39, 0xf4, 0xcb, 9, 0, 0, 0]);
    }
}
