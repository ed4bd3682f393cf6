//! What may come behind what (RFC 8259 §2 to §5), as one table.

use super::scan::Problem;

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Only in the table: it takes a closer look, at a scalar, white space behind a string, or an error.
    Look,
    /// Only in the table: the innermost brackets close, and what is around them says.
    Leave,
    /// The opening bracket.
    Start,
    /// In an array: a value.
    Item,
    /// After `[`: a value or `]`.
    ItemOrEnd,
    /// In an array: `,` or `]`.
    ItemNext,
    /// After `,` in an object: a name.
    Name,
    /// After `{`: a name or `}`.
    NameOrEnd,
    /// After a name.
    Colon,
    /// In an object: a value.
    Value,
    /// In an object: `,` or `}`.
    ValueNext,
    /// After the array: nothing.
    Done,
}

/// An index into [`NEXT`] is the state, whether a string is right before the token, and its class.
const CLASS_BITS: usize = 3;
const TEXT: usize = 1 << CLASS_BITS;
const STATE_SHIFT: usize = CLASS_BITS + 1;

/// The tokens that the table knows, brackets last.
const CLASSES: [u8; 7] = [0, b':', b',', b'{', b'[', b'}', b']'];

/// The class of each byte; the first is that of all that have none.
static CLASS: [u8; 256] = {
    let mut classes = [0; 256];
    let mut n = 1;
    while n < CLASSES.len() {
        classes[CLASSES[n] as usize] = n as u8;
        n += 1;
    }
    classes
};

static NEXT: [State; 16 << STATE_SHIFT] = {
    let mut table = [State::Look; 16 << STATE_SHIFT];
    let mut n = 0;
    while n < RULES.len() {
        let (state, text, byte, next) = RULES[n];
        let text = if text { TEXT } else { 0 };
        table[(state as usize) << STATE_SHIFT | text | CLASS[byte as usize] as usize] = next;
        n += 1;
    }
    table
};

/// The state before, whether a string is right before the token, the token, and what comes next.
const RULES: [(State, bool, u8, State); 21] = {
    use State as S;
    [
        (S::Name, true, b':', S::Value),
        (S::NameOrEnd, true, b':', S::Value),
        (S::NameOrEnd, false, b'}', S::Leave),
        (S::Colon, false, b':', S::Value),
        (S::Value, true, b',', S::Name),
        (S::Value, true, b'}', S::Leave),
        (S::Value, false, b'{', S::NameOrEnd),
        (S::Value, false, b'[', S::ItemOrEnd),
        (S::ValueNext, false, b',', S::Name),
        (S::ValueNext, false, b'}', S::Leave),
        (S::Item, true, b',', S::Item),
        (S::Item, true, b']', S::Leave),
        (S::Item, false, b'{', S::NameOrEnd),
        (S::Item, false, b'[', S::ItemOrEnd),
        (S::ItemOrEnd, true, b',', S::Item),
        (S::ItemOrEnd, true, b']', S::Leave),
        (S::ItemOrEnd, false, b'{', S::NameOrEnd),
        (S::ItemOrEnd, false, b'[', S::ItemOrEnd),
        (S::ItemOrEnd, false, b']', S::Leave),
        (S::ItemNext, false, b',', S::Item),
        (S::ItemNext, false, b']', S::Leave),
    ]
};

/// Tells whether a token, if the table knows it, opens or closes brackets.
#[inline(always)]
pub(super) fn is_bracket(byte: u8) -> bool {
    CLASS[usize::from(byte)] > 2
}

impl State {
    /// Returns what comes behind a token that begins with `byte`.
    #[inline(always)]
    pub(super) fn next(self, byte: u8, behind_text: bool) -> Self {
        let class = usize::from(CLASS[usize::from(byte)]);
        NEXT[(self as usize) << STATE_SHIFT | if behind_text { TEXT } else { 0 } | class]
    }

    /// Returns the state behind a string or any other value, if there may be one.
    pub(super) fn behind_value(self) -> Option<Self> {
        match self {
            Self::Value => Some(Self::ValueNext),
            Self::Item | Self::ItemOrEnd => Some(Self::ItemNext),
            _ => None,
        }
    }

    /// Returns what is wrong with a token that may not come now.
    pub(super) fn unexpected(self) -> Problem {
        match self {
            Self::Start => Problem::NotAnArray,
            Self::Item | Self::ItemOrEnd | Self::Value => Problem::Expected("a value"),
            Self::ItemNext => Problem::Expected("`,` or `]`"),
            Self::Name => Problem::Expected("a member name"),
            Self::NameOrEnd => Problem::Expected("a member name or `}`"),
            Self::Colon => Problem::Expected("`:`"),
            Self::ValueNext => Problem::Expected("`,` or `}`"),
            Self::Done | Self::Look | Self::Leave => Problem::Trailing,
        }
    }
}
