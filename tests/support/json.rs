//! JSON as PHP's `json_encode` writes it by default.

use std::fmt::Write;

/// JSON document that is being written; commas are added automatically.
#[derive(Debug, Default)]
pub struct Json {
    /// Text written so far.
    pub text: String,
}

impl Json {
    /// Writes a comma if a value stands before.
    pub fn separate(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(['[', '{', ':', ',']) {
            self.text.push(',');
        }
    }

    pub fn open(&mut self, bracket: char) -> &mut Self {
        self.separate();
        self.text.push(bracket);
        self
    }

    pub fn close(&mut self, bracket: char) -> &mut Self {
        self.text.push(bracket);
        self
    }

    /// Writes the name of a member; its value must follow.
    pub fn member(&mut self, name: &str) -> &mut Self {
        self.string(name);
        self.text.push(':');
        self
    }

    /// Writes a value that is given as JSON.
    pub fn raw(&mut self, value: &str) -> &mut Self {
        self.separate();
        self.text.push_str(value);
        self
    }

    pub fn string(&mut self, value: &str) -> &mut Self {
        self.separate();
        self.text.push('"');
        for letter in value.chars() {
            match letter {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '/' => self.text.push_str("\\/"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                ' '..='\u{7f}' => self.text.push(letter),
                _ => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        write!(self.text, "\\u{unit:04x}").expect("a String takes all");
                    }
                }
            }
        }
        self.text.push('"');
        self
    }
}

/// Estimates how many bytes a text takes in a document.
pub fn escaped_len(text: &str) -> usize {
    text.chars().map(|letter| if letter.is_ascii() { 1 } else { 6 * letter.len_utf16() }).sum()
}
