//! Bytes to the places of tokens. Strings, escapes and characters are checked here; the rest is grammar.

use super::block::{self, LEN, Path, Vectors};
use super::scan::Problem;
use super::text;

/// Most bytes looked at at once: they and their tokens stay in the nearest caches.
pub(super) const PIECE: usize = 16 << 10;

/// Room for the tokens of a piece, and for a block more so that writing them needs no question.
pub(super) const ROOM: usize = PIECE + LEN;

/// Finds the tokens of a text that comes in pieces.
///
/// Tokens are brackets, colons and commas; where a scalar, or what stands in the place of one, begins; and
/// the byte behind a string, whatever it is.
#[derive(Debug)]
pub(super) struct Lexer {
    path: Path,
    /// 1 if the next byte is escaped.
    escaped: u64,
    /// Which of the next four bytes must be hex digits.
    digits: u64,
    /// All ones in a string.
    in_text: u64,
    /// 1 behind a closing quote.
    behind_text: u64,
    /// 1 behind a byte of a scalar.
    in_scalar: u64,
    /// The character that the end of the last piece cut.
    character: Character,
}

/// The first bytes of a character.
#[derive(Debug, Clone, Copy, Default)]
struct Character {
    bytes: [u8; 4],
    len: usize,
}

/// What was found in a piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexed {
    /// How many tokens there are before the bad byte.
    pub(super) tokens: usize,
    /// The first byte that nothing can have there.
    pub(super) bad: Option<Bad>,
}

/// A byte that is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) problem: Problem,
}

impl Lexer {
    pub(super) fn new(path: Path) -> Self {
        Self {
            path,
            escaped: 0,
            digits: 0,
            in_text: 0,
            behind_text: 0,
            in_scalar: 0,
            character: Character::default(),
        }
    }

    /// Tells whether a string has begun whose token is still to come.
    pub(super) fn is_in_text(&self) -> bool {
        self.in_text | self.behind_text != 0
    }

    /// Takes in the next piece, of at most [`PIECE`] bytes, and writes where its tokens are.
    ///
    /// # Panics
    /// If `tokens` has less than [`ROOM`] places.
    pub(super) fn lex(&mut self, piece: &[u8], tokens: &mut [u16]) -> Lexed {
        match self.path {
            Path::Portable => self.blocks::<block::Quarters>(piece, tokens),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(detected) => detected.lex(self, piece, tokens),
        }
    }

    #[inline(always)]
    pub(super) fn blocks<V: Vectors>(&mut self, piece: &[u8], tokens: &mut [u16]) -> Lexed {
        let mut lexed = Lexed { tokens: 0, bad: None };
        let mut all = V::splat(0);
        let (blocks, rest) = piece.as_chunks();
        for (n, block) in blocks.iter().enumerate() {
            all = all.or(V::of(block));
            self.block(V::of(block), n * LEN, LEN, tokens, &mut lexed);
            if lexed.bad.is_some() {
                break;
            }
        }
        if lexed.bad.is_none() && !rest.is_empty() {
            // Blanks are nothing anywhere, so they fill the block up.
            let mut block = [b' '; LEN];
            block[..rest.len()].copy_from_slice(rest);
            all = all.or(V::of(&block));
            self.block(V::of(&block), piece.len() - rest.len(), rest.len(), tokens, &mut lexed);
        }
        // PHP writes ASCII, if nobody tells it otherwise.
        if all.bits() != 0 || self.character.len > 0 {
            self.check_characters(piece, tokens, &mut lexed);
        }
        lexed
    }

    /// Takes in the `len` bytes at `at`.
    #[inline(always)]
    fn block(&mut self, bytes: impl Vectors, at: usize, len: usize, tokens: &mut [u16], lexed: &mut Lexed) {
        let within = u64::MAX >> (LEN - len);
        let (escaped, escapes) = block::escapes(bytes.is(b'\\').bits(), self.escaped);
        self.escaped = escapes >> (len - 1) & 1;
        let quotes = bytes.is(b'"').bits() & !escaped;
        // From the opening quote to before the closing one.
        let text = block::between(quotes) ^ self.in_text;
        self.in_text = 0u64.wrapping_sub(text >> 63);

        let mut misspelt = 0;
        let escaped = escaped & text;
        if escaped | self.digits != 0 {
            let u = bytes.is(b'u').bits();
            let unicode = u128::from(escaped & u);
            let digits = u128::from(self.digits) | unicode << 1 | unicode << 2 | unicode << 3 | unicode << 4;
            self.digits = (digits >> len) as u64;
            misspelt = escaped & !(bytes.simple_escapes() | u) | digits as u64 & !bytes.hex_digits();
            misspelt &= within;
        }

        let control = bytes.at_most(0x1f).bits();
        let mut found = 0;
        // Most of a catalog is text.
        if text & !quotes != u64::MAX {
            let closing = quotes & !text;
            let outside = !(text | closing);
            let structural = bytes.structural() & outside;
            let mut scalars = outside & !structural;
            if scalars != 0 {
                scalars &= !bytes.is(b' ').bits();
                if scalars & control != 0 {
                    scalars &= !bytes.line_space();
                }
            }
            found = structural | closing << 1 | self.behind_text | scalars & !(scalars << 1 | self.in_scalar);
            found &= within;
            self.behind_text = closing >> (len - 1) & 1;
            self.in_scalar = scalars >> (len - 1) & 1;
        }

        let bad = control & text | misspelt;
        if bad != 0 {
            let n = bad.trailing_zeros();
            found &= (1 << n) - 1;
            let problem = if misspelt >> n & 1 == 1 { Problem::Escape } else { Problem::Control };
            lexed.bad = Some(Bad { at: at + n as usize, problem });
        }
        note(&mut tokens[lexed.tokens..], at, found);
        lexed.tokens += found.count_ones() as usize;
    }

    /// Finds the first byte that is not in its place in a character, unless another one is bad before.
    #[cold]
    fn check_characters(&mut self, piece: &[u8], tokens: &[u16], lexed: &mut Lexed) {
        let Some(at) = self.characters(piece) else { return };
        let is_first = lexed.bad.is_none_or(|bad| match bad.problem {
            // An escape has a say before the character.
            Problem::Escape => at < bad.at,
            _ => at <= bad.at,
        });
        if is_first {
            lexed.tokens = tokens[..lexed.tokens].partition_point(|token| usize::from(*token) < at);
            lexed.bad = Some(Bad { at, problem: Problem::Utf8 });
        }
    }

    /// Returns the first byte that is not in its place in a character (RFC 3629 §3).
    fn characters(&mut self, piece: &[u8]) -> Option<usize> {
        let mut begin = 0;
        let Character { bytes, len } = &mut self.character;
        while *len > 0 {
            bytes[*len] = *piece.get(begin)?;
            *len += 1;
            match std::str::from_utf8(&bytes[..*len]) {
                Ok(_) => *len = 0,
                Err(error) if error.error_len().is_some() => return Some(begin),
                Err(_) => {}
            }
            begin += 1;
        }
        let error = std::str::from_utf8(&piece[begin..]).err()?;
        let start = begin + error.valid_up_to();
        match error.error_len() {
            // A byte that begins nothing is wrong itself, else the one that does not go on.
            Some(len) if text::begins_character(piece[start]) => Some(start + len),
            Some(_) => Some(start),
            None => {
                *len = piece.len() - start;
                bytes[..*len].copy_from_slice(&piece[start..]);
                None
            }
        }
    }
}

/// Writes where the tokens `found` in the block at `at` are.
#[inline(always)]
fn note(room: &mut [u16], at: usize, mut found: u64) {
    let count = found.count_ones() as usize;
    let room = &mut room[..LEN];
    let mut next = || {
        let place = at + found.trailing_zeros() as usize;
        found &= found.wrapping_sub(1);
        place as u16
    };
    // Writing a few too many costs less than a loop whose end no processor can foresee.
    for place in &mut room[..4] {
        *place = next();
    }
    if count > 4 {
        for place in &mut room[4..8] {
            *place = next();
        }
    }
    if count > 8 {
        for place in &mut room[8..count] {
            *place = next();
        }
    }
}
