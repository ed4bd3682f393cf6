//! Checks the order of tokens (RFC 8259 §2 to §5), for all tokens of a block at once.
//!
//! *Marks* are commas and colons. A value or a name must follow each mark, may follow an opening bracket, and
//! may stand nowhere else. A mark or a closing bracket may follow anything else, and a closing bracket also
//! its opening one. The other rules depend on the innermost brackets: between two brackets or commas, an
//! object has one colon, behind the name, and an array has none.

use super::problem::Problem;
use super::tokens::Tokens;

/// Tokens before a block, as far as they matter for what may follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grammar {
    /// 1 if the last token is an opening bracket.
    open: u64,
    /// 1 if the last token is a closing bracket.
    close: u64,
    /// 1 if the last token is a mark.
    mark: u64,
    /// 1 if there was a colon and neither bracket nor comma since.
    named: u64,
}

/// Tokens that may not stand where they do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrong {
    /// Wrong in objects and in arrays.
    pub(super) anywhere: u64,
    /// Wrong if the innermost brackets are an object's.
    pub(super) in_object: u64,
    /// Wrong if they are an array's.
    pub(super) in_array: u64,
}

impl Grammar {
    pub(super) fn new() -> Self {
        Self { open: 0, close: 0, mark: 1, named: 0 }
    }

    /// Checks the tokens of the next block.
    #[inline(always)]
    pub(super) fn block(&mut self, tokens: &Tokens) -> Wrong {
        let Tokens { opening, open, close, comma, colon, scalars, space, .. } = *tokens;
        let behind_open = behind(open, &mut self.open, space);
        let behind_close = behind(close, &mut self.close, space);
        let behind_mark = behind(comma | colon, &mut self.mark, space);
        let value = behind_open | behind_mark;

        // Addition carries from a colon through all ones up to the next bracket or comma, and clears them; so
        // a bit of a bracket or comma is set in the sum if there is a colon before it, a bit of a colon if it
        // is the second one, and a bit of a scalar if there is no colon before it.
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

    /// Returns the error for a wrong token that comes next, in an object or an array.
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

    /// Returns true if, in an object, the last token is a name, complete or not.
    pub(super) fn is_at_name(&self) -> bool {
        self.open | self.mark | self.close | self.named == 0
    }
}

/// Returns the first byte behind each of `tokens` that is not `space`.
///
/// `carry` is 1 if the one for a token of an earlier block has not come yet; it is updated for the next
/// block.
#[inline(always)]
fn behind(tokens: u64, carry: &mut u64, space: u64) -> u64 {
    let (next, over) = (tokens << 1 | *carry).overflowing_add(space);
    *carry = tokens >> 63 | u64::from(over);
    next & !space
}
