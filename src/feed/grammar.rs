//! What may come behind what (RFC 8259 §2 to §5), for all tokens of a block at once.
//!
//! Let *marks* be commas and colons. Wherever they stand, a value begins right behind a mark or an opening
//! bracket and nowhere else; a mark or a closing bracket comes anywhere but there, save for the closing
//! bracket of something empty. What else there is to know depends on the brackets around: between two
//! of brackets and commas there is one colon in an object, behind a name, and none in an array.

use super::problem::Problem;
use super::tokens::Tokens;

/// What stands before a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grammar {
    /// 1 if the last token opens brackets.
    open: u64,
    /// 1 if the last token closes brackets.
    close: u64,
    /// 1 if the last token is a mark.
    mark: u64,
    /// 1 if there is a colon and neither bracket nor comma behind it.
    named: u64,
}

/// Which tokens may not be where they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrong {
    pub(super) anywhere: u64,
    pub(super) in_object: u64,
    pub(super) in_array: u64,
}

impl Grammar {
    pub(super) fn new() -> Self {
        Self { open: 0, close: 0, mark: 1, named: 0 }
    }

    /// Takes in the tokens of the next block.
    #[inline(always)]
    pub(super) fn block(&mut self, tokens: &Tokens) -> Wrong {
        let Tokens { opening, open, close, comma, colon, scalars, space, .. } = *tokens;
        let behind_open = behind(open, &mut self.open, space);
        let behind_close = behind(close, &mut self.close, space);
        let behind_mark = behind(comma | colon, &mut self.mark, space);
        let value = behind_open | behind_mark;

        // A colon turns what it is added to into zeros, up to the next bracket or comma, which becomes one. A
        // second colon stays.
        let ends = open | close | comma;
        let (named, over) = (!ends).overflowing_add(colon);
        let (named, over_too) = named.overflowing_add(self.named);
        self.named = u64::from(over | over_too);

        let anywhere = (opening | scalars | open) & !value
            | comma & value
            | colon & (value | behind_close | named)
            | close & behind_mark;
        let unnamed = open | comma & !behind_close | close & !(behind_close | behind_open);
        let in_object = unnamed & !named | scalars & named;
        Wrong { anywhere, in_object, in_array: colon }
    }

    /// Says what is expected in an object or an array.
    #[cold]
    pub(super) fn expected(&self, in_object: bool) -> Problem {
        let value = self.open | self.mark != 0;
        Problem::Expected(match (in_object, value) {
            (true, true) if self.open != 0 => "a member name or `}`",
            (true, true) if self.named == 0 => "a member name",
            (_, true) => "a value",
            (true, false) if self.named | self.close == 0 => "`:`",
            (true, false) => "`,` or `}`",
            (false, false) => "`,` or `]`",
        })
    }

    /// Tells whether a name, if this is in an object, is over or still being read.
    pub(super) fn is_at_name(&self) -> bool {
        self.open | self.mark | self.close | self.named == 0
    }
}

/// Returns the first bytes behind `tokens` that are no `space`; `carry` is 1 if one is still to come.
#[inline(always)]
fn behind(tokens: u64, carry: &mut u64, space: u64) -> u64 {
    let (next, over) = (tokens << 1 | *carry).overflowing_add(space);
    *carry = tokens >> 63 | u64::from(over);
    next & !space
}
