//! What happens in one simulation, made from a seed.

use std::fmt;
use std::time::Duration;

use super::model::List;
use super::shops::{HOSTS, Place};

/// Milliseconds. As code, it is written as it is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ms(pub(crate) u64);

impl Ms {
    pub(crate) fn time(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    /// Distinct queries that clients ask with.
    pub(crate) queries: u8,
    /// Shops beside the one at `/` that there may be.
    pub(crate) shops: u8,
    /// Bytes of the cache.
    pub(crate) cache_size: u64,
    /// True if there is a cache directory.
    pub(crate) has_disk: bool,
    pub(crate) steps: Vec<(Ms, Step)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Ask(Question),
    /// A client sends what is passed on.
    Pass(Upload),
    /// That many clients ask for keys of their own and hang up at once.
    Crowd(u16),
    /// That many clients ask for keys of their own and wait.
    Rush(u8),
    /// The whitelist's file says what these bits mean.
    Edit(u64),
    /// The whitelist's file is broken.
    BreakList,
    /// Something happens to the file of another shop.
    Shop(u8, FileChange),
    /// An operator has all files read.
    Reload,
    /// The upstream has another catalog.
    Publish,
    Upstream(Behaviour),
    /// Time jumps ahead.
    Jump(Ms),
    Disk(DiskBehaviour),
    /// A copy on disk is damaged.
    Damage(u8),
    /// Another process takes over.
    Restart,
}

/// What happens to the file of a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileChange {
    /// It says what these bits mean, and claims the hosts of these bits.
    Write(u64, u8),
    Break,
    Remove,
    /// It becomes that of another shop.
    Rename(u8),
}

/// A request of one client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) place: Place,
    pub(crate) categories: bool,
    pub(crate) query: u8,
    pub(crate) is_head: bool,
    /// Value of `Accept-Encoding`.
    pub(crate) accept: &'static str,
    /// True if it sends the validator of the last answer that had one.
    pub(crate) conditional: bool,
    /// Polls of the response's future after which the client hangs up.
    pub(crate) patience: Option<u8>,
    /// Pause before each frame of the body.
    pub(crate) pause: Ms,
    /// Frames after which the client hangs up.
    pub(crate) max_frames: Option<u8>,
}

/// A request of one client that is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upload {
    /// Length of its body.
    pub(crate) len: u16,
    /// Pause before each part of the body.
    pub(crate) pause: Ms,
    /// Polls of the response's future after which the client hangs up.
    pub(crate) patience: Option<u8>,
    /// Frames after which the client hangs up.
    pub(crate) max_frames: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Answers whole feeds, after this time and with this pause within the body.
    Good(Ms, Ms),
    /// Answers 304 where the validator fits, else as `Good`.
    Confirming,
    /// Never answers.
    Silent,
    /// Stops in the middle of the body.
    Stalls,
    /// Breaks off in the middle of the body.
    Cuts,
    /// Sends what is no feed.
    Garbage,
    /// Sends a feed that breaks the grammar after some elements.
    Spoiled,
    Status(u16, Option<u8>),
    /// Sends far fewer elements.
    Shrunken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskBehaviour {
    Works,
    CannotRead,
    CannotWrite,
    CannotClaim,
    Hangs,
}

impl Script {
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let steps = random.usize(10..60);
        let queries = if random.u8(0..4) == 0 { 1 } else { 3 };
        let shops = random.u8(0..=3);
        Self {
            seed,
            queries,
            shops,
            cache_size: if random.u8(0..5) == 0 { 12 << 10 } else { 64 << 20 },
            has_disk: random.bool(),
            steps: (0..steps).map(|_| (pause(&mut random), step(&mut random, queries, shops))).collect(),
        }
    }
}

impl Script {
    /// Returns true if nothing is ever evicted.
    fn has_large_cache(&self) -> bool {
        self.cache_size >= 1 << 20
    }

    /// Returns true if each copy is on disk in the end: fetches need not make room for each other, nor do copies that the
    /// disk cannot take just now, and no write fails, which is tried again with the next renewal only.
    pub(crate) fn saves_all(&self) -> bool {
        let fails = |step: &Step| matches!(step, Step::Disk(DiskBehaviour::CannotWrite) | Step::Damage(_));
        self.queries == 1 && self.has_large_cache() && !self.steps.iter().any(|(_, step)| fails(step))
    }

    /// Returns true if one process has one copy all the time, on a disk that works: it misses no change of the catalog.
    pub(crate) fn is_simple(&self) -> bool {
        let harms = |step: &Step| matches!(step, Step::Disk(_) | Step::Damage(_) | Step::Restart);
        self.queries == 1
            && self.has_disk
            && self.has_large_cache()
            && !self.steps.iter().any(|(_, step)| harms(step))
    }
}

/// Writes the script as a test for `found.rs`.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, queries, shops, cache_size, has_disk, steps } = self;
        writeln!(f, "#[test]\nfn name_what_was_wrong() {{\n    let steps = [")?;
        for step in steps {
            writeln!(f, "        {step:?},")?;
        }
        let fields = format!(
            "seed: {seed}, queries: {queries}, shops: {shops}, cache_size: {cache_size}, has_disk: {has_disk}"
        );
        write!(f, "    ];\n    check(Script {{ {fields}, steps: steps.into() }});\n}}")
    }
}

fn pause(random: &mut fastrand::Rng) -> Ms {
    Ms(match random.u8(0..4) {
        0 => 0,
        1 => random.u64(0..5),
        2 => random.u64(0..200),
        _ => random.u64(0..5000),
    })
}

fn step(random: &mut fastrand::Rng, queries: u8, shops: u8) -> Step {
    match random.u8(0..if shops == 0 { 20 } else { 25 }) {
        0..=8 => Step::Ask(question(random, queries, shops)),
        9 => Step::Pass(upload(random)),
        10 if queries == 1 => Step::Publish,
        10 if random.u8(0..4) == 0 => Step::Rush(random.u8(1..60)),
        10 => Step::Crowd(if random.u8(0..4) == 0 { 400 } else { random.u16(1..30) }),
        11 | 12 => Step::Edit(random.u64(..) & List::MASK),
        13 => {
            if random.bool() {
                Step::BreakList
            } else {
                Step::Edit(random.u64(..) & List::MASK)
            }
        }
        14 => Step::Publish,
        15 | 16 => Step::Upstream(behaviour(random)),
        17 => Step::Jump(Ms(1000
            * match random.u8(0..4) {
                0 => random.u64(0..60),
                1 => random.u64(0..1200),
                2 => random.u64(0..100_000),
                _ => random.u64(0..900_000),
            })),
        18 if random.u8(0..5) == 0 => Step::Damage(random.u8(..)),
        18 => Step::Disk(match random.u8(0..6) {
            0 => DiskBehaviour::CannotRead,
            1 => DiskBehaviour::CannotWrite,
            2 => DiskBehaviour::CannotClaim,
            3 => DiskBehaviour::Hangs,
            _ => DiskBehaviour::Works,
        }),
        19 => Step::Restart,
        20..=23 => Step::Shop(random.u8(0..shops), file_change(random, shops)),
        _ => Step::Reload,
    }
}

fn file_change(random: &mut fastrand::Rng, shops: u8) -> FileChange {
    match random.u8(0..8) {
        0..=3 => FileChange::Write(random.u64(..) & List::MASK, random.u8(0..1 << HOSTS)),
        4 => FileChange::Break,
        5 | 6 => FileChange::Remove,
        _ => FileChange::Rename(random.u8(0..shops)),
    }
}

/// Returns a place, now and then one that no file can have.
fn place(random: &mut fastrand::Rng, shops: u8) -> Place {
    if shops == 0 {
        return Place::default();
    }
    Place {
        prefix: random.bool().then(|| random.u8(0..=shops)),
        host: random.bool().then(|| random.u8(0..=HOSTS)),
    }
}

fn question(random: &mut fastrand::Rng, queries: u8, shops: u8) -> Question {
    let accepts = ["", "gzip", "zstd, br", "br;q=1, identity;q=0", "gzip, identity;q=0", "*"];
    let some = |random: &mut fastrand::Rng| (random.u8(0..4) == 0).then(|| random.u8(0..6));
    Question {
        place: place(random, shops),
        categories: random.u8(0..3) == 0,
        query: random.u8(0..queries),
        is_head: random.u8(0..8) == 0,
        accept: accepts[random.usize(0..accepts.len())],
        conditional: random.u8(0..3) == 0,
        patience: some(random),
        pause: Ms(if random.bool() { 0 } else { random.u64(0..3000) }),
        max_frames: some(random),
    }
}

fn upload(random: &mut fastrand::Rng) -> Upload {
    let some = |random: &mut fastrand::Rng| (random.u8(0..4) == 0).then(|| random.u8(0..6));
    Upload {
        len: if random.bool() { 0 } else { random.u16(0..2000) },
        pause: Ms(if random.bool() { random.u64(0..50) } else { random.u64(0..9000) }),
        patience: some(random),
        max_frames: some(random),
    }
}

fn behaviour(random: &mut fastrand::Rng) -> Behaviour {
    let millis = |random: &mut fastrand::Rng, most: u64| Ms(random.u64(0..most));
    match random.u8(0..16) {
        0..=5 => Behaviour::Good(millis(random, 2000), millis(random, 300)),
        6 => Behaviour::Good(millis(random, 70_000), millis(random, 9000)),
        7 | 8 => Behaviour::Confirming,
        9 => Behaviour::Silent,
        10 => Behaviour::Stalls,
        11 => Behaviour::Cuts,
        12 => Behaviour::Garbage,
        13 => Behaviour::Spoiled,
        14 => Behaviour::Status(
            [404, 429, 500, 503][random.usize(0..4)],
            random.bool().then(|| random.u8(0..100)),
        ),
        _ => Behaviour::Shrunken,
    }
}
