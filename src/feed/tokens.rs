//! Finds the tokens of a block, one bit a byte, and checks the inside of strings: escapes, control characters
//! and UTF-8. The order of tokens is checked by [`super::grammar`].

use super::block::{self, BLOCK_LEN, Block, Bytes, Find, PrefixXor, Test, Vectors};
use super::problem::{Problem, ScanError};

/// What the lexer carries from one block to the next.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    /// 1 if the next byte is escaped by a backslash.
    escaped: u64,
    /// Those of the next four bytes that must be hex digits.
    digits: u64,
    /// All ones if the next byte is in a string.
    in_string: u64,
    /// 1 if the last byte belongs to a scalar.
    in_scalar: u64,
    /// Those of the next three bytes that must continue a UTF-8 sequence.
    continuations: u64,
    /// Last byte of the last block that had non-ASCII bytes; it counts only while it can be part of a
    /// sequence.
    last: u8,
}

/// Tokens of a block, one bit a byte.
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
    /// First bytes of scalars: numbers, literals and everything unknown.
    pub(super) scalars: u64,
    /// In each scalar that is not a plain integer, the first byte that is not a digit.
    pub(super) odd: u64,
    /// White space outside strings.
    pub(super) space: u64,
}

/// Strings of a block, one bit a byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strings {
    /// Quotes that are not escaped.
    quotes: u64,
    /// Bytes of strings including the opening quotes, without the closing ones.
    inside: u64,
    backslash: u64,
    /// Bytes that make an escape invalid.
    bad_escape: u64,
    /// Bytes that make UTF-8 invalid in a string. (Outside strings every non-ASCII byte is wrong anyway.)
    bad_utf8: u64,
    /// Control characters in strings.
    control: u64,
}

impl Lexer {
    /// Finds the strings in the next block, of which `len` bytes are input and the rest are blanks.
    #[inline(always)]
    pub(super) fn strings(
        &mut self,
        vectors: &Vectors<impl Find, impl PrefixXor>,
        block: &Block,
        len: usize,
    ) -> Strings {
        let bytes = vectors.bytes(block);
        let (backslash, quote) = (bytes.is(b'\\'), bytes.is(b'"'));
        let (escaped, escapes) = block::escapes(backslash, self.escaped);
        self.escaped = escapes >> (len - 1) & 1;
        let quotes = quote & !escaped;
        let mut inside = self.in_string;
        if quotes != 0 {
            inside ^= (vectors.prefix_xor)(quotes);
            self.in_string = 0u64.wrapping_sub(inside >> 63);
        }

        // Escapes other than the frequent ones are rare, so their check is skipped in most blocks.
        let rare = escaped & inside & !(quote | backslash | bytes.find(Test::FrequentEscape));
        let mut bad_escape = 0;
        if rare | self.digits != 0 {
            bad_escape = self.find_bad_escapes(bytes, rare, len);
        }
        let (mut bad_utf8, mut control) = (0, 0);
        if bytes.find(Test::Printable) != u64::MAX || self.continuations != 0 {
            control = bytes.at_most(0x1f) & inside;
            // PHP writes plain ASCII by default.
            if bytes.find(Test::NonAscii) | self.continuations != 0 {
                bad_utf8 = self.find_bad_utf8(bytes, len) & (inside | quotes);
                self.last = block[len - 1];
            }
        }
        Strings { quotes, inside, backslash, bad_escape, bad_utf8, control }
    }

    /// Finds the tokens in the block that [`Lexer::strings`] was called with.
    #[inline(always)]
    pub(super) fn tokens(
        &mut self,
        vectors: &Vectors<impl Find, impl PrefixXor>,
        block: &Block,
        len: usize,
        strings: &Strings,
    ) -> Tokens {
        let bytes = vectors.bytes(block);
        let (opening, closing) = (strings.quotes & strings.inside, strings.quotes & !strings.inside);
        let outside = !(strings.inside | closing);
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
            // Excluded are leading zeros, and a number at the block's end, since more of it may come.
            let plain = digits & !(starts & bytes.is(b'0') & digits >> 1) & !(1 << (len - 1));
            // The addition carries from the start through all digits to the first byte that is none.
            tokens.odd = starts.wrapping_add(plain) & !plain & all;
            tokens.scalars = starts;
        }
        tokens
    }

    /// Finds the bytes that make an escape invalid; `escaped` are those directly behind a backslash.
    #[inline(always)]
    fn find_bad_escapes(&mut self, bytes: Bytes<'_, impl Find>, escaped: u64, len: usize) -> u64 {
        let u = bytes.is(b'u');
        // The four bits behind each `u`. If two overlap, the product is wrong only behind the first `u`'s
        // digits, among which the second `u` is an error already.
        let digits = (u128::from(escaped & u) * 0b1_1110) | u128::from(self.digits);
        self.digits = (digits >> len) as u64;
        let mut bad_escape = escaped & !(bytes.escape_letters() | u);
        if digits != 0 {
            bad_escape |= digits as u64 & !bytes.hex_digits();
        }
        bad_escape & within(len)
    }

    /// Finds the bytes that make UTF-8 invalid (RFC 3629 §4).
    #[inline(always)]
    fn find_bad_utf8(&mut self, bytes: Bytes<'_, impl Find>, len: usize) -> u64 {
        let high = bytes.find(Test::NonAscii);
        let continuing = high & bytes.at_most(0xbf);
        let first = high & !continuing;
        let mut bad_utf8 = first & bytes.at_most(0xc1);
        let long = first & !bytes.at_most(0xdf);
        let mut due = u128::from(first) << 1 | u128::from(self.continuations);
        if long != 0 || self.last >= 0xe0 {
            let four = first & !bytes.at_most(0xef);
            due |= u128::from(long) << 2 | u128::from(four) << 3;
            let (below_a0, below_90) = (bytes.at_most(0x9f), bytes.at_most(0x8f));
            // Overlong forms, surrogates, and code points above U+10FFFF.
            bad_utf8 |= self.behind(bytes, 0xe0) & below_a0
                | self.behind(bytes, 0xed) & !below_a0
                | self.behind(bytes, 0xf0) & below_90
                | self.behind(bytes, 0xf4) & !below_90
                | four & !bytes.at_most(0xf4);
        }
        self.continuations = (due >> len) as u64;
        (bad_utf8 | due as u64 ^ continuing) & within(len)
    }

    /// Finds the bytes directly behind each `byte`.
    #[inline(always)]
    fn behind(&self, bytes: Bytes<'_, impl Find>, byte: u8) -> u64 {
        bytes.is(byte) << 1 | u64::from(self.last == byte)
    }
}

impl Strings {
    /// Returns true if the whole block is inside a string.
    #[inline(always)]
    pub(super) fn is_all(&self) -> bool {
        self.inside & !self.quotes == u64::MAX
    }

    /// Returns true if none of the bytes of `bits` is a backslash.
    #[inline(always)]
    pub(super) fn is_plain(&self, bits: u64) -> bool {
        self.backslash & bits == 0
    }

    /// Returns the bytes that are wrong wherever the string stands.
    #[inline(always)]
    pub(super) fn bad(&self) -> u64 {
        self.bad_escape | self.bad_utf8 | self.control
    }

    /// Returns an error for the first wrong byte of this block, which stands at `offset`.
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

    /// Returns the reason why a byte is `bad`, if it is.
    pub(super) fn problem(&self, bit: u64) -> Option<Problem> {
        [(self.bad_escape, Problem::Escape), (self.bad_utf8, Problem::Utf8), (self.control, Problem::Control)]
            .into_iter()
            .find_map(|(bits, problem)| (bits & bit != 0).then_some(problem))
    }
}

impl Tokens {
    #[inline(always)]
    pub(super) fn brackets(&self) -> u64 {
        self.open | self.close
    }

    /// Returns all tokens but the closing quotes.
    pub(super) fn all(&self) -> u64 {
        self.opening | self.brackets() | self.comma | self.colon | self.scalars
    }

    /// Returns the tokens before `bit`, with blanks from there on.
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
