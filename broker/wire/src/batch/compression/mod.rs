//! The codecs of a batch's payload.
//!
//! Decompression is bounded: a batch of a megabyte can claim to hold gigabytes. The
//! bound is checked while the output grows, never after.

mod snappy;
mod zstandard;

use std::io::{self, Read, Write};

/// What a batch may hold when decompressed. Producers fill batches up to
/// `batch.size` times the compression ratio they see, so sixty times the default
/// `max.message.bytes` leaves room for anything but an attack.
pub const MAX_DECOMPRESSED_BYTES: u32 = 64 * 1024 * 1024;

/// How a payload is compressed; the numbers are those in a batch's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy in xerial's framing, as the Java client writes it.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in a batch's attributes.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// The codec of this number, if there is one.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A codec and how hard it tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// Gzip, level 1 to 9, or -1 for zlib's default.
    Gzip {
        /// `compression.gzip.level`.
        level: i32,
    },
    /// Snappy.
    Snappy,
    /// LZ4. Kafka's levels 1 to 17 choose among encoders; ours has one, and the level
    /// changes only how long compression takes, never what can read it.
    Lz4,
    /// Zstandard.
    Zstd {
        /// `compression.zstd.level`.
        level: i32,
    },
}

impl Compression {
    /// The codec without its level.
    #[must_use]
    pub const fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Gzip { .. } => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd { .. } => Codec::Zstd,
        }
    }

    /// A codec at its default level.
    #[must_use]
    pub const fn of(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip { level: -1 },
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd { level: 3 },
        }
    }
}

/// Why a payload cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The attributes name no codec.
    #[error("unknown codec {bits}")]
    UnknownCodec {
        /// The number in the attributes.
        bits: u8,
    },
    /// More data than the bound.
    #[error("batch holds more than {max} bytes of records")]
    TooLong {
        /// The bound.
        max: u32,
    },
    /// The data is not what the codec says.
    #[error("cannot decompress {codec:?} records")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What it said.
        source: io::Error,
    },
}

/// Decompresses a payload, at most `max_bytes` of it.
///
/// # Errors
/// If the data is not what the codec says, or longer than `max_bytes`.
pub fn decompress(codec: Codec, payload: &[u8], max_bytes: u32) -> Result<Vec<u8>, DecompressError> {
    let corrupt = |source| DecompressError::Corrupt { codec, source };
    match codec {
        Codec::None => bounded(payload, max_bytes).map_err(corrupt)?,
        Codec::Gzip => bounded(flate2::bufread::MultiGzDecoder::new(payload), max_bytes).map_err(corrupt)?,
        Codec::Snappy => snappy::decompress(payload, max_bytes).map_err(corrupt)?,
        Codec::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(payload), max_bytes).map_err(corrupt)?,
        Codec::Zstd => zstandard::decompress(payload, max_bytes).map_err(corrupt)?,
    }
    .ok_or(DecompressError::TooLong { max: max_bytes })
}

/// All that `reader` gives, or `None` once it is more than `max_bytes`.
fn bounded(reader: impl Read, max_bytes: u32) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    reader.take(u64::from(max_bytes) + 1).read_to_end(&mut out)?;
    Ok((out.len() <= max_bytes as usize).then_some(out))
}

/// Compresses a payload.
///
/// # Errors
/// If the codec refuses its level or runs out of memory.
pub fn compress(compression: Compression, payload: &[u8]) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(payload.to_vec()),
        Compression::Gzip { level } => {
            let level = u32::try_from(level).map_or_else(|_| flate2::Compression::default(), gzip_level);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(payload)?;
            encoder.finish()
        }
        Compression::Snappy => snappy::compress(payload),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(lz4_frame(), Vec::new());
            encoder.write_all(payload)?;
            Ok(encoder.finish()?)
        }
        Compression::Zstd { level } => zstd::bulk::compress(payload, level),
    }
}

/// Blocks of the Java client's size. Readers set a block aside before they read it, so
/// larger ones make small batches dear.
fn lz4_frame() -> lz4_flex::frame::FrameInfo {
    lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB)
}

fn gzip_level(level: u32) -> flate2::Compression {
    flate2::Compression::new(level.min(9))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..200_000u32).flat_map(|number| (number / 7).to_be_bytes()).collect()
    }

    #[test]
    fn every_codec_survives_the_round_trip() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_bits(codec.bits()), Some(codec));
            for payload in [Vec::new(), b"short".to_vec(), sample()] {
                let packed = compress(Compression::of(codec), &payload).unwrap();
                assert_eq!(decompress(codec, &packed, MAX_DECOMPRESSED_BYTES).unwrap(), payload, "{codec:?}");
            }
        }
        assert_eq!(Codec::from_bits(5), None);
    }

    #[test]
    fn levels_are_taken_and_still_read() {
        let payload = sample();
        for compression in [
            Compression::Gzip { level: 1 },
            Compression::Gzip { level: 9 },
            Compression::Gzip { level: -1 },
            Compression::Zstd { level: -7 },
            Compression::Zstd { level: 19 },
        ] {
            let packed = compress(compression, &payload).unwrap();
            assert!(packed.len() < payload.len());
            assert_eq!(decompress(compression.codec(), &packed, MAX_DECOMPRESSED_BYTES).unwrap(), payload);
        }
    }

    #[test]
    fn the_bound_holds_to_the_byte() {
        let payload = vec![0; 100_000];
        for codec in Codec::ALL {
            let packed = compress(Compression::of(codec), &payload).unwrap();
            assert_eq!(decompress(codec, &packed, 100_000).unwrap().len(), 100_000, "{codec:?}");
            let error = decompress(codec, &packed, 99_999).unwrap_err();
            assert!(matches!(error, DecompressError::TooLong { max: 99_999 }), "{codec:?}: {error}");
        }
    }

    #[test]
    fn raw_snappy_is_read_as_well_and_so_are_streams_put_end_to_end() {
        let raw = snap::raw::Encoder::new().compress_vec(b"no framing at all").unwrap();
        assert_eq!(decompress(Codec::Snappy, &raw, 100).unwrap(), b"no framing at all");
        let mut twice = compress(Compression::Snappy, b"one ").unwrap();
        twice.extend(compress(Compression::Snappy, b"two").unwrap());
        assert_eq!(decompress(Codec::Snappy, &twice, 100).unwrap(), b"one two");
    }

    #[test]
    fn a_snappy_length_beyond_what_its_input_can_hold_is_not_believed() {
        // A varint length of 64 MiB less one, and no data.
        let error = decompress(Codec::Snappy, &[0xff, 0xff, 0xff, 0x1f], MAX_DECOMPRESSED_BYTES).unwrap_err();
        assert!(matches!(error, DecompressError::Corrupt { codec: Codec::Snappy, .. }), "{error}");
    }

    #[test]
    fn garbage_and_truncation_are_errors() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let packed = compress(Compression::of(codec), &sample()).unwrap();
            assert!(
                decompress(codec, &packed[..packed.len() / 2], MAX_DECOMPRESSED_BYTES).is_err(),
                "{codec:?}"
            );
            assert!(decompress(codec, &[0x55; 40], MAX_DECOMPRESSED_BYTES).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn a_zstd_failure_leaves_nothing_behind_for_the_next_batch() {
        let good = compress(Compression::of(Codec::Zstd), &sample()).unwrap();
        let frames = [&good[..], &good[..]].concat();
        for bad in [&good[..good.len() / 2], &[0x55; 40], &good[..0]] {
            assert!(decompress(Codec::Zstd, bad, MAX_DECOMPRESSED_BYTES).is_err());
            assert_eq!(decompress(Codec::Zstd, &good, MAX_DECOMPRESSED_BYTES).unwrap(), sample());
            assert_eq!(decompress(Codec::Zstd, &frames, MAX_DECOMPRESSED_BYTES).unwrap(), sample().repeat(2));
        }
    }
}
