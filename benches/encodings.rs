//! Costs and savings of each level of each content coding, on a filtered feed of the vendor's shape.
//!
//! A view is encoded once in the background and served many times. The table at the end is for choosing
//! the levels: bytes of a response against the median time on one core.

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

#[path = "../tests/support/feeds.rs"]
mod feeds;

use feeds::{Feed, Shape};

/// What `Accept-Encoding` can ask for.
#[derive(Debug, Clone, Copy)]
enum Coding {
    Gzip,
    Zstd,
    Brotli,
}

const LEVELS: &[(Coding, &[u32])] = &[
    (Coding::Gzip, &[1, 4, 6, 9]),
    (Coding::Zstd, &[1, 3, 6, 9, 12, 19]),
    (Coding::Brotli, &[1, 4, 5, 6, 9, 11]),
];

/// Window of brotli, 4 MiB: the default of its tools, and more than the feed.
const BROTLI_WINDOW_LOG: i32 = 22;

/// Output buffer of brotli's writer and reader.
const BUFFER: usize = 16 << 10;

impl Coding {
    fn encode(self, level: u32, plain: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
                encoder.write_all(plain).expect("a write");
                encoder.finish().expect("an end")
            }
            Self::Zstd => zstd::bulk::compress(plain, level as i32).expect("zstd"),
            Self::Brotli => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: level as i32,
                    lgwin: BROTLI_WINDOW_LOG,
                    size_hint: plain.len(),
                    ..Default::default()
                };
                // In one write: `BrotliCompress` reads 4 KB at a time, which low levels make blocks of.
                let mut encoder = brotli::CompressorWriter::with_params(Vec::new(), BUFFER, &params);
                encoder.write_all(plain).expect("a write");
                encoder.into_inner()
            }
        }
    }

    fn decode(self, encoded: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match self {
            Self::Gzip => MultiGzDecoder::new(encoded).read_to_end(&mut plain),
            Self::Zstd => zstd::stream::read::Decoder::new(encoded).expect("zstd").read_to_end(&mut plain),
            Self::Brotli => brotli::Decompressor::new(encoded, BUFFER).read_to_end(&mut plain),
        }
        .expect("what was encoded");
        plain
    }
}

fn encodings(criterion: &mut Criterion) {
    let shown = Feed::new(Shape::VENDOR).expected(|code| matches!(code, "wp-toolkit" | "docker"));
    let plain = shown.as_bytes();
    let mut table =
        format!("{:8} {:>5} {:>9} {:>7} {:>10}\n", "coding", "level", "bytes", "ratio", "median ms");
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes(plain.len() as u64));
    for &(coding, levels) in LEVELS {
        for &level in levels {
            let encoded = coding.encode(level, plain);
            assert!(coding.decode(&encoded) == plain, "{coding:?} {level} lost something");
            let mut times = Vec::new();
            group.bench_function(BenchmarkId::new(format!("{coding:?}"), level), |bencher| {
                bencher.iter_custom(|count| {
                    let start = times.len();
                    for _ in 0..count {
                        let begin = Instant::now();
                        black_box(coding.encode(level, black_box(plain)));
                        times.push(begin.elapsed());
                    }
                    times[start..].iter().sum()
                });
            });
            times.sort_unstable();
            let Some(median) = times.get(times.len() / 2) else { continue };
            table += &format!(
                "{:8} {level:>5} {:>9} {:>6.2} {:>10.1}\n",
                format!("{coding:?}"),
                encoded.len(),
                plain.len() as f64 / encoded.len() as f64,
                median.as_secs_f64() * 1e3,
            );
        }
    }
    group.finish();
    println!("{} bytes are shown\n{table}", plain.len());
}

criterion_group!(benches, encodings);
criterion_main!(benches);
