//! Content codings of the upstream's answers, undone piece by piece (RFC 9110 §8.4).

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use zstd::stream::{raw, zio};

/// Codings that the upstream is asked for: those that [`Decoder`] knows.
pub(super) const ACCEPT_ENCODING: &str = "zstd, br, gzip";

/// DecoderInput buffer of the brotli decoder.
const BUFFER: usize = 16 << 10;

/// Largest window a zstd encoder may ask of us, 8 MiB: what RFC 9659 §3 grants over HTTP.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a brotli stream begins, but for the first bit from above, that has a window of up to 1 GiB instead of
/// 16 MiB. RFC 7932 §9.1 reserves it; the decoder would take it.
const LARGE_WINDOW: u8 = 0x11;

/// A decoder of one body; it yields no more at once than it is given room for, and refuses more than its
/// limit in all.
///
/// SECURITY: a few bytes of a bomb decode to megabytes. Only a reader that takes them in small pieces has a
/// bound on memory and on the time for which it holds a thread.
pub(super) struct Decoder {
    coding: Coding,
    begun: bool,
    /// Bytes that may still come.
    left: u64,
}

enum Coding {
    /// No coding.
    Identity(DecoderInput),
    /// RFC 1952.
    Gzip(Box<MultiGzDecoder<DecoderInput>>),
    /// RFC 7932.
    Brotli(Box<brotli::Decompressor<DecoderInput>>),
    /// RFC 8878.
    Zstd(Box<zio::Reader<DecoderInput, raw::Decoder<'static>>>),
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It decodes to more than the limit.
    TooLarge,
    /// Its coding is broken or cut off.
    Corrupt,
}

/// What has arrived and is not decoded yet. A read of nothing would block, until the body has ended.
#[derive(Default)]
struct DecoderInput {
    bytes: Bytes,
    ended: bool,
}

impl Decoder {
    /// Makes a decoder for the value of a `Content-Encoding` field, for at most `limit` decoded bytes.
    ///
    /// Returns `None` for a coding that was not asked for.
    pub(super) fn new(coding: Option<&str>, limit: u64) -> Option<Self> {
        let input = DecoderInput::default();
        let codings = coding.unwrap_or_default().to_ascii_lowercase();
        // Some servers list what they did not do.
        let mut codings =
            codings.split(',').map(str::trim).filter(|name| !matches!(*name, "" | "identity" | "none"));
        let (coding, None) = (codings.next(), codings.next()) else { return None };
        let coding = match coding {
            None => Coding::Identity(input),
            Some("gzip" | "x-gzip") => Coding::Gzip(Box::new(MultiGzDecoder::new(input))),
            Some("br") => Coding::Brotli(Box::new(brotli::Decompressor::new(input, BUFFER))),
            Some("zstd") => {
                let mut decoder = raw::Decoder::new().ok()?;
                decoder.set_parameter(raw::DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                Coding::Zstd(Box::new(zio::Reader::new(input, decoder)))
            }
            Some(_) => return None,
        };
        Some(Self { coding, begun: false, left: limit })
    }

    /// Takes the next bytes of the body. Those before must have been decoded.
    ///
    /// # Errors
    /// As for [`Decoder::read`].
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<(), DecodeError> {
        let first = bytes.first().filter(|_| !self.begun);
        let large = first.is_some_and(|first| first & 0x7f == LARGE_WINDOW);
        if large && matches!(self.coding, Coding::Brotli(_)) {
            return Err(DecodeError::Corrupt);
        }
        self.begun |= first.is_some();
        self.input().bytes = bytes;
        Ok(())
    }

    /// Records the end of the body.
    pub(super) fn end(&mut self) {
        self.input().ended = true;
    }

    /// Decodes into `room` and returns what part of it that filled; nothing if that takes more bytes, or at
    /// the end.
    ///
    /// # Errors
    /// Ends the body; the decoder must not be used again.
    pub(super) fn read<'a>(&mut self, room: &'a mut [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        let read = match &mut self.coding {
            Coding::Identity(input) => input.read(room),
            Coding::Gzip(decoder) => decoder.read(room),
            Coding::Brotli(decoder) => decoder.read(room),
            Coding::Zstd(decoder) => decoder.read(room),
        };
        match read {
            // Brotli's decoder takes the end of its stream for the end of the body.
            Ok(0) if self.input().bytes.is_empty() => Ok(None),
            Ok(0) => Err(DecodeError::Corrupt),
            Ok(len) => {
                self.left = self.left.checked_sub(len as u64).ok_or(DecodeError::TooLarge)?;
                Ok(Some(&room[..len]))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(DecodeError::Corrupt),
        }
    }

    fn input(&mut self) -> &mut DecoderInput {
        match &mut self.coding {
            Coding::Identity(input) => input,
            Coding::Gzip(decoder) => decoder.get_mut(),
            Coding::Brotli(decoder) => decoder.get_mut(),
            Coding::Zstd(decoder) => decoder.reader_mut(),
        }
    }
}

impl BufRead for DecoderInput {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.bytes.is_empty() && !self.ended {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(&self.bytes),
        }
    }

    fn consume(&mut self, len: usize) {
        self.bytes.advance(len);
    }
}

impl Read for DecoderInput {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(room)?;
        self.consume(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
            decoder.push(Bytes::copy_from_slice(chunk))?;
            while let Some(piece) = decoder.read(&mut [0; 1000])? {
                out.extend_from_slice(piece);
            }
        }
        decoder.end();
        while let Some(piece) = decoder.read(&mut [0; 1000])? {
            out.extend_from_slice(piece);
        }
        Ok(out)
    }

    /// Four bytes each: more than the decoders' buffers hold.
    const NUMBERS: u32 = 5_000;

    const CODINGS: [&str; 4] = ["identity", "gzip", "br", "zstd"];

    #[test]
    fn undoes_each_coding_at_any_chunking() {
        let plain: Vec<u8> = (0..NUMBERS).flat_map(|n| (n % 977).to_le_bytes()).collect();
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
        let plain = vec![b' '; 300_000];
        for coding in CODINGS {
            let result = decode(coding, &encode(coding, &plain), 1000, plain.len() as u64 - 1);
            assert_eq!(result.expect_err(coding), DecodeError::TooLarge, "{coding}");
        }
    }

    #[test]
    fn refuses_what_is_cut_off_or_damaged() {
        let plain: Vec<u8> = (0..NUMBERS).flat_map(|n| (n % 977).to_le_bytes()).collect();
        for coding in &CODINGS[1..] {
            let encoded = encode(coding, &plain);
            for cut in [1, 5, encoded.len() / 2, encoded.len() - 1] {
                let result = decode(coding, &encoded[..cut], 1000, u64::MAX);
                assert_eq!(result.expect_err(coding), DecodeError::Corrupt, "{coding} cut at {cut}");
            }
            for damaged in [plain.clone(), [encoded.as_slice(), b"trailing"].concat()] {
                for chunk in [1000, encoded.len(), usize::MAX] {
                    let result = decode(coding, &damaged, chunk, u64::MAX);
                    assert_eq!(result.expect_err(coding), DecodeError::Corrupt, "{coding}");
                }
            }
        }
    }

    #[test]
    fn yields_no_more_than_there_is_room_for() {
        // In one piece, so that all of it is there to be decoded at once.
        let plain = vec![b' '; 300_000];
        for coding in CODINGS {
            let mut decoder = Decoder::new(Some(coding), u64::MAX).expect("a known coding");
            decoder.push(encode(coding, &plain).into()).expect("a good coding");
            let mut room = [0; 100];
            let mut left = plain.len();
            while let Some(piece) = decoder.read(&mut room).expect("a good coding") {
                assert!(!piece.is_empty(), "{coding}");
                left -= piece.len();
            }
            assert_eq!(left, 0, "{coding}");
        }
    }

    #[test]
    fn refuses_windows_beyond_those_of_http() {
        let plain = vec![b' '; 1000];
        let parameters =
            brotli::enc::BrotliEncoderParams { large_window: true, lgwin: 28, ..Default::default() };
        let mut encoded = Vec::new();
        brotli::BrotliCompress(&mut plain.as_slice(), &mut encoded, &parameters).expect("brotli");
        assert_eq!(decode("br", &encoded, 1, u64::MAX).expect_err("brotli"), DecodeError::Corrupt);
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("zstd");
        encoder.window_log(ZSTD_WINDOW_LOG + 1).expect("a window");
        encoder.write_all(&plain).expect("a write");
        let encoded = encoder.finish().expect("an end");
        assert_eq!(decode("zstd", &encoded, 1000, u64::MAX).expect_err("zstd"), DecodeError::Corrupt);
    }

    #[test]
    fn knows_what_it_was_asked_for() {
        assert!(Decoder::new(None, 1).is_some());
        assert!(Decoder::new(Some(" GZip "), 1).is_some());
        assert!(Decoder::new(Some("deflate"), 1).is_none());
        assert!(Decoder::new(Some("gzip, br"), 1).is_none());
    }
}
