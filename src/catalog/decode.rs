//! Content codings of the upstream's answers, undone chunk by chunk (RFC 9110 §8.4).

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use zstd::stream::{raw, zio};

/// What the upstream is asked for; everything here is understood below.
pub(super) const ACCEPT_ENCODING: &str = "zstd, br, gzip";

/// Output buffer of the brotli and zstd decoders.
const BUFFER: usize = 16 << 10;

/// Largest window a zstd encoder may ask of us, 8 MiB: what RFC 9659 §3 grants over HTTP.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A decoder of one body; it refuses to grow beyond its limit.
pub(super) enum Decoder {
    /// Nothing to undo.
    Identity(Sink),
    /// RFC 1952.
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// RFC 7932.
    Brotli(Box<brotli::DecompressorWriter<Sink>>),
    /// RFC 8878.
    Zstd(Box<zio::Writer<Sink, raw::Decoder<'static>>>),
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It decodes to more than the limit.
    TooLarge,
    /// Its coding is broken or cut off.
    Corrupt,
}

/// Where decoded bytes wait to be taken.
pub(super) struct Sink {
    bytes: Vec<u8>,
    /// How many more bytes the body may have.
    left: u64,
}

impl Decoder {
    /// Makes a decoder for the value of a `Content-Encoding` field, for at most `limit` decoded bytes.
    ///
    /// Returns nothing if the coding is not one that was asked for.
    pub(super) fn new(coding: Option<&str>, limit: u64) -> Option<Self> {
        let sink = Sink { bytes: Vec::new(), left: limit };
        Some(match coding.map(|coding| coding.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Self::Identity(sink),
            Some("gzip" | "x-gzip") => Self::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Some("br") => Self::Brotli(Box::new(brotli::DecompressorWriter::new(sink, BUFFER))),
            Some("zstd") => {
                let mut decoder = raw::Decoder::new().ok()?;
                decoder.set_parameter(raw::DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                Self::Zstd(Box::new(zio::Writer::new(sink, decoder)))
            }
            Some(_) => return None,
        })
    }

    /// Decodes the next bytes and returns what they yield.
    ///
    /// # Errors
    /// Ends the body; the decoder must not be used again.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let result = match self {
            Self::Identity(sink) => sink.write_all(chunk),
            Self::Gzip(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
            Self::Brotli(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
            Self::Zstd(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
        };
        self.yielded(result)
    }

    /// Ends the body and returns what was left.
    ///
    /// # Errors
    /// If the coding is not complete.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, DecodeError> {
        let result = match self {
            Self::Identity(_) => Ok(()),
            Self::Gzip(ref mut decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => {
                return match decoder.into_inner() {
                    Ok(sink) => Ok(sink.bytes),
                    Err(_) => Err(DecodeError::Corrupt),
                };
            }
            Self::Zstd(ref mut decoder) => decoder.finish(),
        };
        self.yielded(result)
    }

    fn yielded(&mut self, result: io::Result<()>) -> Result<Vec<u8>, DecodeError> {
        let sink = match self {
            Self::Identity(sink) => sink,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.writer_mut(),
        };
        match result {
            Ok(()) => Ok(std::mem::take(&mut sink.bytes)),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(DecodeError::TooLarge),
            Err(_) => Err(DecodeError::Corrupt),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn encode(coding: &str, bytes: &[u8]) -> Vec<u8> {
        match coding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).expect("a write");
                encoder.finish().expect("an end")
            }
            "br" => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 3, 22);
                encoder.write_all(bytes).expect("a write");
                encoder.into_inner()
            }
            "zstd" => zstd::encode_all(bytes, 3).expect("zstd"),
            _ => bytes.to_vec(),
        }
    }

    fn decode(coding: &str, bytes: &[u8], chunk: usize, limit: u64) -> Result<Vec<u8>, DecodeError> {
        let mut decoder = Decoder::new(Some(coding), limit).expect("a known coding");
        let mut out = Vec::new();
        for chunk in bytes.chunks(chunk) {
            out.extend(decoder.push(chunk)?);
        }
        out.extend(decoder.finish()?);
        Ok(out)
    }

    const CODINGS: [&str; 4] = ["identity", "gzip", "br", "zstd"];

    #[test]
    fn undoes_each_coding_at_any_chunking() {
        let plain: Vec<u8> = (0..200_000u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
        for coding in CODINGS {
            let encoded = encode(coding, &plain);
            for chunk in [1, 7, 1000, usize::MAX] {
                let decoded = decode(coding, &encoded, chunk, plain.len() as u64);
                assert!(decoded.as_deref() == Ok(&plain), "{coding} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn refuses_more_than_the_limit() {
        let plain = vec![b' '; 10_000_000];
        for coding in CODINGS {
            let result = decode(coding, &encode(coding, &plain), 1000, plain.len() as u64 - 1);
            assert_eq!(result.expect_err(coding), DecodeError::TooLarge, "{coding}");
        }
    }

    #[test]
    fn refuses_what_is_cut_off_or_damaged() {
        let plain: Vec<u8> = (0..50_000u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
        for coding in &CODINGS[1..] {
            let encoded = encode(coding, &plain);
            for cut in [1, 5, encoded.len() / 2, encoded.len() - 1] {
                let result = decode(coding, &encoded[..cut], 1000, u64::MAX);
                assert_eq!(result.expect_err(coding), DecodeError::Corrupt, "{coding} cut at {cut}");
            }
            let result = decode(coding, &plain, 1000, u64::MAX);
            assert_eq!(result.expect_err(coding), DecodeError::Corrupt, "{coding}");
        }
    }

    #[test]
    fn knows_what_it_was_asked_for() {
        assert!(Decoder::new(None, 1).is_some());
        assert!(Decoder::new(Some(" GZip "), 1).is_some());
        assert!(Decoder::new(Some("deflate"), 1).is_none());
        assert!(Decoder::new(Some("gzip, br"), 1).is_none());
    }
}
