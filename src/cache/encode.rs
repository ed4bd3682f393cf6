//! Content codings of what leaves (RFC 9110 §8.4.1).

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A view is compressed once and served thousands of times, off the threads that serve, so some twenty
/// milliseconds a megabyte are well spent. These are the levels of `benches/encodings.rs` at which the next
/// one would pay back only after ten thousand answers and more.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 9;
const BROTLI_QUALITY: u32 = 6;
/// log2 of brotli's window, 4 MiB: what browsers' decoders take, and more than a feed's repetitions need.
const BROTLI_WINDOW: u32 = 22;
/// The encoder's buffer.
const BUFFER: usize = 64 << 10;

/// A coding that views are stored in. In the order of preference where a client likes them equally: the
/// cheapest to decode first, for all three come out at about the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
}

impl Encoding {
    /// All of them, in order of preference.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Gzip, Self::Brotli];

    /// Returns its name in header fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }

    /// Compresses a body; the same bytes always give the same bytes.
    ///
    /// Takes some ten milliseconds a megabyte, so it is not for an async thread.
    pub fn encode(self, body: &[u8]) -> Bytes {
        let encoded = match self {
            Self::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
            Self::Brotli => {
                let mut encoder =
                    brotli::CompressorWriter::new(Vec::new(), BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                encoder.write_all(body).map(|()| encoder.into_inner())
            }
        };
        encoded.expect("writing to memory does not fail").into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Decoder;
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let sample = include_bytes!("../../assets/sample/packages.json");
        for body in [b"".as_slice(), b"[]", sample] {
            for encoding in Encoding::ALL {
                let encoded = encoding.encode(body);
                assert_eq!(encoded, encoding.encode(body), "{encoding:?} is not deterministic");
                let mut decoder = Decoder::new(Some(encoding.name()), u64::MAX).expect("a known coding");
                decoder.push(encoded).expect("a good coding");
                decoder.end();
                let (mut decoded, mut room) = (Vec::new(), [0; 1000]);
                while let Some(piece) = decoder.read(&mut room).expect("a good coding") {
                    decoded.extend_from_slice(piece);
                }
                assert!(decoded == body, "{encoding:?}");
            }
        }
    }
}
