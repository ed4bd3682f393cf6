//! Bytes to tokens, as one bit a byte. Strings, escapes and characters are checked here; the rest is grammar.

use super::block::{self, BLOCK_LEN, Block, Bytes, Find, PrefixXor, Test, Vectors};
use super::problem::{Problem, ScanError};

/// Finds the tokens of a text that comes in blocks.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    /// 1 if the next byte is escaped.
    escaped: u64,
    /// Which of the next four bytes must be hex digits.
    digits: u64,
    /// All ones in a string.
    in_text: u64,
    /// 1 behind a byte of a scalar.
    in_scalar: u64,
    /// Which of the next three bytes must go on with a character.
    going_on: u64,
    /// The byte before, if it is not ASCII.
    last: u8,
}

/// Where the tokens of a block are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    /// Opening quotes.
    pub(super) opening: u64,
    /// Closing quotes.
    pub(super) closing: u64,
    /// `[` and `{`
    pub(super) open: u64,
    /// `]` and `}`
    pub(super) close: u64,
    pub(super) comma: u64,
    pub(super) colon: u64,
    /// First bytes of scalars, or of what stands in the place of one.
    pub(super) scalars: u64,
    /// In each of them that is no plain integer, the first byte that is no digit.
    pub(super) odd: u64,
    /// White space outside strings.
    pub(super) space: u64,
}

/// Where the strings of a block are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    /// Quotes that are not escaped.
    quotes: u64,
    /// Bytes of strings, opening quotes included.
    text: u64,
    backslash: u64,
    /// Bytes that are wrong in an escape.
    misspelt: u64,
    /// Bytes that are wrong in a character of a string. (Elsewhere, there can be none.)
    broken: u64,
    /// Control characters in strings.
    control: u64,
}

impl Lexer {
    /// Takes in the first `len` bytes of a block; blanks, which are nothing anywhere, fill it up.
    #[inline(always)]
    pub(super) fn text(
        &mut self,
        vectors: &Vectors<impl Find, impl PrefixXor>,
        block: &Block,
        len: usize,
    ) -> Text {
        let bytes = vectors.bytes(block);
        let (backslash, quote) = (bytes.is(b'\\'), bytes.is(b'"'));
        let (escaped, escapes) = block::escapes(backslash, self.escaped);
        self.escaped = escapes >> (len - 1) & 1;
        let quotes = quote & !escaped;
        let mut text = self.in_text;
        if quotes != 0 {
            // From the opening quote to before the closing one.
            text ^= (vectors.prefix_xor)(quotes);
            self.in_text = 0u64.wrapping_sub(text >> 63);
        }

        // PHP escapes every slash; the other escapes are rare.
        let rare = escaped & text & !(quote | backslash | bytes.find(Test::FrequentEscape));
        let mut misspelt = 0;
        if rare | self.digits != 0 {
            misspelt = self.misspelt(bytes, rare, len);
        }
        let (mut broken, mut control) = (0, 0);
        if bytes.find(Test::Printable) != u64::MAX || self.going_on != 0 {
            control = bytes.at_most(0x1f) & text;
            // PHP writes ASCII, if nobody tells it otherwise.
            if bytes.find(Test::NonAscii) | self.going_on != 0 {
                broken = self.broken(bytes, len) & (text | quotes);
                self.last = block[len - 1];
            }
        }
        Text { quotes, text, backslash, misspelt, broken, control }
    }

    /// Takes in the same block.
    #[inline(always)]
    pub(super) fn tokens(
        &mut self,
        vectors: &Vectors<impl Find, impl PrefixXor>,
        block: &Block,
        len: usize,
        text: &Text,
    ) -> Tokens {
        let bytes = vectors.bytes(block);
        let (opening, closing) = (text.quotes & text.text, text.quotes & !text.text);
        let outside = !(text.text | closing);
        let open = bytes.find(Test::IsWithBit5(b'{')) & outside;
        let close = bytes.find(Test::IsWithBit5(b'}')) & outside;
        let comma = bytes.is(b',') & outside;
        let colon = bytes.is(b':') & outside;
        let other = outside & !(open | close | comma | colon);
        let mut tokens = Tokens { opening, closing, open, close, comma, colon, scalars: 0, odd: 0, space: 0 };
        if other == 0 {
            self.in_scalar = 0;
            return tokens;
        }
        tokens.space = other & (bytes.is(b' ') | bytes.line_space());
        let all = other & !tokens.space;
        let starts = all & !(all << 1 | self.in_scalar);
        self.in_scalar = all >> (len - 1) & 1;
        if starts != 0 {
            let digits = bytes.find(Test::Digit) & all;
            // No leading zeros; and what the block's end cuts takes a closer look, too.
            let plain = digits & !(starts & bytes.is(b'0') & digits >> 1) & !(1 << (len - 1));
            // A start goes through all digits and ends on what is none.
            tokens.odd = starts.wrapping_add(plain) & !plain & all;
            tokens.scalars = starts;
        }
        tokens
    }

    /// Finds what is wrong in escapes, given the bytes behind backslashes.
    #[inline(always)]
    fn misspelt(&mut self, bytes: Bytes<'_, impl Find>, escaped: u64, len: usize) -> u64 {
        let u = bytes.is(b'u');
        // The four bits behind each; what begins within four bytes is wrong before it disturbs.
        let digits = (u128::from(escaped & u) * 0b1_1110) | u128::from(self.digits);
        self.digits = (digits >> len) as u64;
        let mut misspelt = escaped & !(bytes.escape_letters() | u);
        if digits != 0 {
            misspelt |= digits as u64 & !bytes.hex_digits();
        }
        misspelt & within(len)
    }

    /// Finds the bytes that are not in their place in a character (RFC 3629 §4).
    #[inline(always)]
    fn broken(&mut self, bytes: Bytes<'_, impl Find>, len: usize) -> u64 {
        let high = bytes.find(Test::NonAscii);
        let going_on = high & bytes.at_most(0xbf);
        let first = high & !going_on;
        let mut broken = first & bytes.at_most(0xc1);
        let long = first & !bytes.at_most(0xdf);
        let mut due = u128::from(first) << 1 | u128::from(self.going_on);
        if long != 0 || self.last >= 0xe0 {
            let four = first & !bytes.at_most(0xef);
            due |= u128::from(long) << 2 | u128::from(four) << 3;
            let (below_a0, below_90) = (bytes.at_most(0x9f), bytes.at_most(0x8f));
            // Spelt with more bytes than it takes, a surrogate, or beyond the last character.
            broken |= self.behind(bytes, 0xe0) & below_a0
                | self.behind(bytes, 0xed) & !below_a0
                | self.behind(bytes, 0xf0) & below_90
                | self.behind(bytes, 0xf4) & !below_90
                | four & !bytes.at_most(0xf4);
        }
        self.going_on = (due >> len) as u64;
        (broken | due as u64 ^ going_on) & within(len)
    }

    /// Finds the bytes behind each `byte`.
    #[inline(always)]
    fn behind(&self, bytes: Bytes<'_, impl Find>, byte: u8) -> u64 {
        bytes.is(byte) << 1 | u64::from(self.last == byte)
    }
}

impl Text {
    /// Tells whether there is nothing but the inside of a string.
    #[inline(always)]
    pub(super) fn is_all(&self) -> bool {
        self.text & !self.quotes == u64::MAX
    }

    /// Tells whether there are no escapes in the bytes of `bits`.
    #[inline(always)]
    pub(super) fn is_plain(&self, bits: u64) -> bool {
        self.backslash & bits == 0
    }

    /// Finds the bytes that nothing can have there.
    #[inline(always)]
    pub(super) fn bad(&self) -> u64 {
        self.misspelt | self.broken | self.control
    }

    /// Checks them, at `offset`.
    #[inline(always)]
    pub(super) fn check(&self, offset: usize) -> Result<(), ScanError> {
        match self.bad() {
            0 => Ok(()),
            bad => Err(self.error(offset, bad)),
        }
    }

    #[cold]
    fn error(self, offset: usize, bad: u64) -> ScanError {
        let problem = self.problem(bad & bad.wrapping_neg()).unwrap_or(Problem::Control);
        ScanError { offset: offset + bad.trailing_zeros() as usize, problem }
    }

    /// Says what is wrong with a byte that is `bad`.
    pub(super) fn problem(&self, bit: u64) -> Option<Problem> {
        [(self.misspelt, Problem::Escape), (self.broken, Problem::Utf8), (self.control, Problem::Control)]
            .into_iter()
            .find_map(|(bits, problem)| (bits & bit != 0).then_some(problem))
    }
}

impl Tokens {
    #[inline(always)]
    pub(super) fn brackets(&self) -> u64 {
        self.open | self.close
    }

    /// Returns all but the closing quotes.
    pub(super) fn all(&self) -> u64 {
        self.opening | self.brackets() | self.comma | self.colon | self.scalars
    }

    /// Returns what comes before `bit`, and blanks from there on.
    pub(super) fn before(&self, bit: u64) -> Self {
        let before = bit - 1;
        Self {
            opening: self.opening & before,
            closing: self.closing & before,
            open: self.open & before,
            close: self.close & before,
            comma: self.comma & before,
            colon: self.colon & before,
            scalars: self.scalars & before,
            odd: 0,
            space: self.space & before | !before,
        }
    }
}

/// Returns the bits of the first `len` bytes of a block.
fn within(len: usize) -> u64 {
    u64::MAX >> (BLOCK_LEN - len)
}
