//! Small random number generator without a dependency, and random texts with the word frequencies of
//! language.

use super::words::SNIPPETS;

/// Number of phrases of a language, and of sentences that are common to all texts. With these, gzip
/// compresses a generated feed to a fifth, like the real one.
const PHRASES: usize = 400;
const SENTENCES: usize = 100;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Returns true with a probability of `per_mille` in a thousand.
    pub fn chance(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Returns one of the items, the nth about 1/n as often as the first (Zipf's law): all octaves are
    /// equally likely, and so are the items within one.
    pub fn zipf<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        loop {
            let octave = 1 << self.below(of.len().ilog2() as usize + 1);
            if let Some(thing) = of.get(octave - 1 + self.below(octave)) {
                return thing;
            }
        }
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }

    /// Returns eight hexadecimal digits.
    pub fn hex(&mut self) -> String {
        format!("{:08x}", self.next() >> 32)
    }

    /// Returns 32 hexadecimal digits, like an MD5 sum.
    pub fn md5(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }

    /// Returns a random UUID (RFC 9562 §5.4).
    pub fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }
}

/// Words and phrases of a language, the frequent ones first.
#[derive(Debug)]
pub struct Language {
    words: Vec<String>,
    /// Phrases and whole sentences that texts of one trade share.
    phrases: Vec<String>,
    sentences: Vec<String>,
    space: &'static str,
    stop: &'static str,
}

impl Language {
    /// Splits words at white space, the frequent ones first; `_` stands for a space within a word.
    pub fn new(random: &mut Random, words: &str, space: &'static str, stop: &'static str) -> Self {
        let words = words.split_whitespace().map(|word| word.replace('_', " ")).collect();
        let mut language = Self { words, phrases: Vec::new(), sentences: Vec::new(), space, stop };
        language.phrases = (0..PHRASES)
            .map(|_| {
                let words: Vec<_> =
                    (0..2 + random.below(4)).map(|_| random.zipf(&language.words).as_str()).collect();
                words.join(space)
            })
            .collect();
        language.sentences = (0..SENTENCES).map(|_| language.sentence(random, &[])).collect();
        language
    }

    /// Returns one of the words with a meaning of their own.
    pub fn rare(&self, random: &mut Random) -> &str {
        let rarer = &self.words[self.words.len() / 3..];
        &rarer[random.below(rarer.len())]
    }

    /// Returns a text's topic: `name` and some words that are repeated.
    pub fn topic(&self, random: &mut Random, name: &str) -> Vec<String> {
        let words = (0..12).map(|_| self.rare(random).to_owned());
        [name.to_owned()].into_iter().chain(words).collect()
    }

    /// Writes a sentence; some of its words are from `topic`.
    pub fn sentence(&self, random: &mut Random, topic: &[String]) -> String {
        if !self.sentences.is_empty() && random.chance(450) {
            return random.zipf(&self.sentences).clone();
        }
        let mut text = String::new();
        for nth in 0..3 + random.below(8) {
            let part = match random.below(1000) {
                0..100 if !topic.is_empty() => random.zipf(topic).clone(),
                100..550 if !self.phrases.is_empty() => random.zipf(&self.phrases).clone(),
                550..560 => random.below(1000).to_string(),
                560..565 => format!("{}.{}", random.below(20), random.below(60)),
                565..568 => SNIPPETS[random.below(SNIPPETS.len())].to_owned(),
                568..572 => format!("\"{}\"", random.zipf(&self.words)),
                572..576 => format!("({})", random.zipf(&self.words)),
                _ => random.zipf(&self.words).clone(),
            };
            if nth == 0 {
                let mut letters = part.chars();
                text.extend(letters.next().into_iter().flat_map(char::to_uppercase));
                text += letters.as_str();
            } else {
                text += if random.chance(60) && !self.space.is_empty() { ", " } else { self.space };
                text += &part;
            }
        }
        text + self.stop
    }
}
