//! Writes the feeds that `benches/peers/run` serves into a directory: `cargo run --example feeds -- DIR`.

use std::path::PathBuf;
use std::{env, fs};

#[path = "../tests/support/feeds.rs"]
mod feeds;

use feeds::{Feed, Shape};

fn main() -> std::io::Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).expect("a directory"));
    fs::create_dir_all(&directory)?;
    let shapes = [("0.4", Shape::SMALL), ("2.3", Shape::VENDOR), ("20", Shape::LARGE), ("111", Shape::HUGE)];
    for (name, shape) in shapes {
        fs::write(directory.join(format!("{name}.json")), Feed::new(shape).json)?;
    }
    Ok(())
}
